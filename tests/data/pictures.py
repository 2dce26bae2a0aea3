"""Pictures that several tests compare: smooth random ones, real radiographs, and altered copies."""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import decode

Picture = NDArray[np.uint8]


def random_picture(seed: int, height: int = 150, width: int = 120) -> Picture:
    """Blobs of several sizes, as different from those of another seed as two pictures can be."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    blobs = sum(gaussian_filter(noise, size) * size for size in (2, 5, 12))
    low, high = blobs.min(), blobs.max()
    return np.rint((blobs - low) / (high - low) * 255).astype(np.uint8)


@cache
def radiograph(path: Path) -> Picture:
    """A real one, decoded once a session."""
    return decode(path.read_bytes(), DecodeLimits()).pixels_HW


def jpeg(picture: Picture, quality: int = 50) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def resized(picture: Picture, height: int = 299, width: int = 299) -> Picture:
    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def cropped(picture: Picture, top: float, bottom: float, left: float, right: float) -> Picture:
    """Without these fractions of height and width."""
    height, width = picture.shape
    rows = slice(round(height * top), height - round(height * bottom))
    return np.ascontiguousarray(picture[rows, round(width * left) : width - round(width * right)])


def gamma(picture: Picture, exponent: float) -> Picture:
    return np.rint(255 * (picture / 255.0) ** exponent).astype(np.uint8)


def with_text(picture: Picture) -> Picture:
    """A white label in one corner and words in another, as burned in by a console."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    height, width = picture.shape
    draw.rectangle((4, 4, width // 4, height // 16), fill=255)
    draw.text((6, 6), "AP SUPINE", fill=0)
    draw.text((int(width * 0.8), int(height * 0.9)), "L PORTABLE", fill=255)
    return np.array(image)


def letterboxed(picture: Picture) -> Picture:
    """In the middle of a black square a little larger than it."""
    height, width = picture.shape
    side = round(max(height, width) * 1.1)
    square = np.zeros((side, side), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


SAME: dict[str, Callable[[Picture], Picture]] = {
    "JPEG at quality 30": lambda picture: jpeg(picture, 30),
    "299 x 299": resized,
    "224 x 224, JPEG": lambda picture: jpeg(resized(picture, 224, 224), 75),
    "gamma 0.6": lambda picture: gamma(picture, 0.6),
    "gamma 1.6": lambda picture: gamma(picture, 1.6),
    "text": with_text,
    "1% cropped on each side": lambda picture: cropped(picture, 0.01, 0.01, 0.01, 0.01),
}
"""Copies of the picture itself."""

NEAR: dict[str, Callable[[Picture], Picture]] = {
    "2% cropped on each side": lambda picture: cropped(picture, 0.02, 0.02, 0.02, 0.02),
    "4% cropped above and below": lambda picture: cropped(picture, 0.04, 0.04, 0, 0),
    "3% cropped below": lambda picture: cropped(picture, 0, 0.03, 0, 0),
    "2% cropped, gamma, 299 x 299, JPEG": lambda p: jpeg(resized(gamma(cropped(p, 0.02, 0.02, 0.02, 0.02), 1.3)), 60),
    "letterboxed": letterboxed,
}
"""Copies that may count as near, but must be found."""
