from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.frame import LONGEST_SIDE, frame_map, mask_to_frame, shrink, to_frame
from comit_ray.data.images.load import decode

FRAMES = [FrameConfig(size=size, fit=fit) for size in (64, 224, 640) for fit in ("stretch", "letterbox")]
SHAPES = st.tuples(st.integers(1, 900), st.integers(1, 900))


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width)).astype(np.uint8)


def test_shrink_bounds_the_longest_side_and_leaves_the_rest_alone() -> None:
    assert shrink(noise(1955, 1841)).shape == (512, 482)
    assert shrink(noise(600, 3)).shape == (512, 3)
    small = noise(512, 300)
    assert shrink(small) is small


@pytest.mark.parametrize("frame", FRAMES, ids=str)
@given(shape=SHAPES)
def test_a_shrunken_copy_gives_the_frame_of_its_original(frame: FrameConfig, shape: tuple[int, int]) -> None:
    original = noise(*shape)
    framed = to_frame(original, frame)
    assert framed.shape == (frame.size, frame.size)
    assert framed.dtype == np.uint8
    assert np.array_equal(to_frame(shrink(original), frame), framed)


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_real_radiographs_too(frame: FrameConfig, cxr: Path) -> None:
    pixels = decode((cxr / "dicom" / "RG1_J2KI.dcm").read_bytes(), DecodeLimits()).pixels_HW
    assert np.array_equal(to_frame(shrink(pixels), frame), to_frame(pixels, frame))


def test_letterbox_keeps_the_aspect_on_black() -> None:
    frame = FrameConfig(size=64, fit="letterbox")
    framed = to_frame(np.full((100, 200), 255, np.uint8), frame)
    assert np.array_equal(np.flatnonzero(framed.any(axis=1)), np.arange(16, 48))
    assert framed[16:48].min() == 255
    placed = frame_map(100, 200, frame)
    assert (placed.fit, placed.top, placed.left) == ("letterbox", 16, 0)
    assert (placed.rows_per_pixel, placed.columns_per_pixel) == (0.32, 0.32)


def test_stretch_fills_the_frame() -> None:
    placed = frame_map(448, 112, FrameConfig(size=224))
    assert (placed.top, placed.left, placed.rows_per_pixel, placed.columns_per_pixel) == (0, 0, 0.5, 2)


@pytest.mark.parametrize("frame", FRAMES, ids=str)
@given(shape=SHAPES)
def test_masks_follow_the_map_and_invent_nothing(frame: FrameConfig, shape: tuple[int, int]) -> None:
    height, width = shape
    mask = np.random.default_rng(height + width).choice(np.array([1, 255], np.uint8), shape)
    framed = mask_to_frame(mask, frame)
    placed = frame_map(height, width, frame)
    for row, column in np.random.default_rng(1).integers(0, frame.size, (50, 2)):
        y = (row + 0.5 - placed.top) / placed.rows_per_pixel
        x = (column + 0.5 - placed.left) / placed.columns_per_pixel
        if min(abs(y - round(y)), abs(x - round(x))) < 1e-6:
            continue  # on the border of two pixels: either is right in floating point
        inside = 0 <= y < height and 0 <= x < width
        assert framed[row, column] == (mask[int(y), int(x)] if inside else 0)


def test_a_mask_and_its_radiograph_stay_on_each_other() -> None:
    for frame in FRAMES:
        square = np.zeros((700, 900), np.uint8)
        square[200:400, 300:650] = 1
        image, mask = to_frame(square * 255, frame), mask_to_frame(square, frame)
        assert np.mean((image > 127) != (mask == 1)) < 0.01
        assert abs(float(image.mean()) / 255 - float(mask.mean())) < 0.01


def test_longest_side_is_the_prepared_size() -> None:
    assert LONGEST_SIDE == 512
