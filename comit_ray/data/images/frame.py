"""Resamples a radiograph into the frame of the model; `prepare`, `train` and `screen` all use this function.

    original -> shrink: longest side at most 512 px -> the model's frame: stretched, or letterboxed on black
             -> grey values equalised, if the frame says so

Both steps use Pillow's triangle filter (`BILINEAR`, which widens with the reduction and so does not alias), in its
8-bit fixed-point arithmetic. `shrink` leaves small images alone, so a stored, shrunken image and its original give
the same frame, bit for bit.

The module also computes statistics of a frame's pixels that depend on how it was made: brightness, contrast, black,
white.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from PIL import Image

from comit_ray.config.image_config import FrameConfig
from comit_ray.data.images.equalise import equalise_histogram, equalise_tiles

LONGEST_SIDE = 512
"""Length in pixels of the longest side after `shrink`."""


@dataclass(frozen=True)
class FrameMap:
    """Where pixels of the original lie in the frame: frame_row = top + row * rows_per_pixel, and the same for columns.

    Coordinates refer to pixel edges: pixel 0 spans 0 to 1, and its centre is 0.5.
    """

    fit: str
    top: float
    left: float
    rows_per_pixel: float
    columns_per_pixel: float


@dataclass(frozen=True)
class _Content:
    """The rectangle of the frame that the radiograph fills, in frame pixels."""

    top: int
    left: int
    height: int
    width: int


def shrink(pixels_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the radiograph with its longest side at most 512 px and its aspect ratio kept; small ones unchanged."""
    height, width = pixels_HW.shape
    if max(height, width) <= LONGEST_SIDE:
        return pixels_HW
    return _resample(pixels_HW, *_shrunken(height, width))


def to_frame(pixels_HW: NDArray[np.uint8], frame: FrameConfig) -> NDArray[np.uint8]:
    """Returns the radiograph in the model's frame, uint8 (size, size), equalised if it says so; borders are black."""
    height, width = pixels_HW.shape
    content = _content(height, width, frame)
    inside = _resample(shrink(pixels_HW), content.height, content.width)
    if frame.equalise != "none":
        inside = equalise_histogram(inside) if frame.equalise == "histogram" else equalise_tiles(inside)
    framed = np.zeros((frame.size, frame.size), np.uint8)
    framed[content.top : content.top + content.height, content.left : content.left + content.width] = inside
    return framed


def mask_to_frame(mask_HW: NDArray[np.uint8], frame: FrameConfig) -> NDArray[np.uint8]:
    """Returns a mask of the original's size in the model's frame, uint8 (size, size).

    Every frame pixel takes the value of the mask pixel under its centre, so values are never mixed. Letterbox borders
    are 0 (background).
    """
    height, width = mask_HW.shape
    content = _content(height, width, frame)
    # The centre of row r is (r + 1/2) * height / content.height; integers avoid any rounding.
    rows = (2 * np.arange(content.height) + 1) * height // (2 * content.height)
    columns = (2 * np.arange(content.width) + 1) * width // (2 * content.width)
    framed = np.zeros((frame.size, frame.size), np.uint8)
    framed[content.top : content.top + content.height, content.left : content.left + content.width] = mask_HW[
        np.ix_(rows, columns)
    ]
    return framed


def frame_map(height: int, width: int, frame: FrameConfig) -> FrameMap:
    """Returns how `to_frame` and `mask_to_frame` place an original of height x width pixels."""
    content = _content(height, width, frame)
    return FrameMap(
        fit=frame.fit,
        top=float(content.top),
        left=float(content.left),
        rows_per_pixel=content.height / height,
        columns_per_pixel=content.width / width,
    )


def _shrunken(height: int, width: int) -> tuple[int, int]:
    longest = max(height, width)
    if longest <= LONGEST_SIDE:
        return height, width
    return max(1, round(height * LONGEST_SIDE / longest)), max(1, round(width * LONGEST_SIDE / longest))


def _content(height: int, width: int, frame: FrameConfig) -> _Content:
    """Returns the filled rectangle, by the shrunken size, so that a shrunken copy fills the same rectangle."""
    if frame.fit == "stretch":
        return _Content(0, 0, frame.size, frame.size)
    height, width = _shrunken(height, width)
    scale = frame.size / max(height, width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    return _Content((frame.size - rows) // 2, (frame.size - columns) // 2, rows, columns)


def _resample(pixels_HW: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    assert pixels_HW.dtype == np.uint8, pixels_HW.dtype
    image = Image.fromarray(np.ascontiguousarray(pixels_HW))
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR))


STATISTICS = ("pixel_mean", "pixel_sd", "pixel_black", "pixel_white")
"""Mean and standard deviation of the grey values, and the shares of black and of white pixels."""

WHITE = 255


def statistics(frames_BHW: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """Returns `STATISTICS` of each frame, (B,) each: fractions (0..1) of white or of the frame.

    Args:
        frames_BHW: radiographs in the model's frame, padding included.
    """
    pixels_BN = frames_BHW.reshape(len(frames_BHW), -1)
    found = {
        "pixel_mean": pixels_BN.mean(axis=1) / WHITE,
        "pixel_sd": pixels_BN.std(axis=1) / WHITE,
        "pixel_black": (pixels_BN == 0).mean(axis=1),
        "pixel_white": (pixels_BN == WHITE).mean(axis=1),
    }
    return {name: values.astype(np.float32) for name, values in found.items()}
