"""Altered copies of a radiograph: what stays, what goes, and what cannot be made."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comit_ray.config.image_config import FrameConfig
from comit_ray.data.images.frame import to_frame
from comit_ray.screening import variants

SIZE = 96
LUNGS = np.zeros((SIZE, SIZE), bool)
LUNGS[30:70, 15:40] = LUNGS[30:70, 60:85] = True


@pytest.fixture
def frames(cxr: Path) -> np.ndarray:
    """Two real radiographs."""
    files = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:2]
    whole = [np.asarray(Image.open(file).convert("L")) for file in files]
    return np.stack([to_frame(one, FrameConfig(size=SIZE)) for one in whole])


def test_only_the_lungs_stay(frames: np.ndarray) -> None:
    found = variants.alter(frames, np.stack([LUNGS, LUNGS]), variants.LUNGS_ONLY)
    assert (found[:, LUNGS] == frames[:, LUNGS]).all()
    assert not found[:, ~LUNGS].any()


def test_lungs_go_with_their_outline(frames: np.ndarray) -> None:
    found = variants.alter(frames, np.stack([LUNGS, LUNGS]), variants.LUNGS_REMOVED)
    assert not found[:, LUNGS].any()
    assert not found[:, 25:30, 20:35].any(), "5 px of 96 around"
    assert not found[:, 35:65, 40:60].any(), "and what lies between them"
    assert (found[:, :20] == frames[:, :20]).all()
    assert (found[:, :, :10] == frames[:, :, :10]).all()


def test_borders_go_and_the_rest_stays_where_it_is(frames: np.ndarray) -> None:
    marked = frames.copy()
    marked[:, :10, :10] = 255  # a mark in the corner
    found = variants.alter(marked, None, variants.BORDERS_CROPPED)
    assert found.shape == frames.shape
    assert (found == variants.alter(frames, None, variants.BORDERS_CROPPED)).all()
    assert (found[:, 10:86, 10:86] == frames[:, 10:86, 10:86]).all()
    found[:, 10:86, 10:86] = 0
    assert not found.any()


def test_too_little_lung_is_none() -> None:
    little = np.zeros((SIZE, SIZE), bool)
    little[:10, :10] = True
    assert variants.has_lungs(np.stack([LUNGS, little, np.zeros_like(LUNGS)])).tolist() == [True, False, False]


def test_what_cannot_be_made_is_an_error(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match="variant lungs_only needs lungs, got none"):
        variants.alter(frames, None, variants.LUNGS_ONLY)
    with pytest.raises(ValueError, match="got 'full'"):
        variants.alter(frames, np.stack([LUNGS, LUNGS]), "full")
    assert variants.needs_lungs(variants.LUNGS_REMOVED)
    assert not variants.needs_lungs(variants.BORDERS_CROPPED)
