"""JPEG 2000 at a part of its size: the same values but for a filter, and what is left to the whole decoding."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.codestream import inspect
from comit_ray.data.images.frame import LONGEST_SIDE, to_frame
from comit_ray.data.images.jpeg2000_reduced import decode_reduced, level_of
from comit_ray.data.images.load import decode

FRAME = FrameConfig(size=224)


def picture(height: int = 1100, width: int = 1050) -> np.ndarray:
    """16 bits, smooth, with values up to the highest."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.sin(rows / 40) * np.cos(columns / 55)
    return ((waves + 1) * 32_767.5).astype(np.uint16)


def coded(pixels_HW: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels_HW).save(stream, "JPEG2000", no_jp2=True, irreversible=False)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("height", "width", "level"),
    [(512, 512, 0), (1023, 900, 0), (1024, 10, 1), (2047, 2000, 1), (2500, 2048, 2), (4096, 3000, 3), (9999, 9999, 3)],
)
def test_the_longest_side_keeps_what_the_frame_needs(height: int, width: int, level: int) -> None:
    assert level_of(height, width) == level
    assert level == 0 or max(height, width) >> level >= LONGEST_SIDE


def test_the_small_picture_shows_what_the_large_one_shows() -> None:
    pixels_HW = picture()
    data = coded(pixels_HW)
    found = decode_reduced(data, inspect(data), 16, signed=False)
    assert found is not None
    assert found.shape == (550, 525)
    means_HW = pixels_HW.reshape(550, 2, 525, 2).mean(axis=(1, 3))
    assert np.abs(found - means_HW).mean() < 0.01 * 65_535


@pytest.mark.parametrize(("bits", "signed"), [(12, False), (16, True)])
def test_what_is_not_as_the_header_says_is_decoded_whole(bits: int, signed: bool) -> None:
    data = coded(picture())
    assert decode_reduced(data, inspect(data), bits, signed) is None


def test_what_is_small_or_broken_is_decoded_whole() -> None:
    small = coded(picture(500, 400))
    assert decode_reduced(small, inspect(small), 16, signed=False) is None
    data = coded(picture())
    assert decode_reduced(data[: len(data) // 3], inspect(data), 16, signed=False) is None


def test_a_real_radiograph_keeps_its_size_and_almost_its_frame(cxr: Path) -> None:
    data = (cxr / "dicom" / "RG1_J2KI.dcm").read_bytes()
    whole, reduced = (decode(data, DecodeLimits(reduce=on)) for on in (False, True))
    assert reduced.applied == ("reduced", *whole.applied)
    assert (reduced.height, reduced.width) == (whole.height, whole.width)
    assert reduced.pixels_HW.shape == (978, 921)
    apart = np.abs(to_frame(whole.pixels_HW, FRAME).astype(int) - to_frame(reduced.pixels_HW, FRAME))
    assert apart.mean() < 0.5
    assert apart.max() < 25


def test_what_is_off_is_no_part_of_a_runs_question() -> None:
    """A run that was begun before there was the option goes on."""
    assert "reduce" not in DecodeLimits().question()
    assert DecodeLimits(reduce=True).question()["reduce"] is True
