"""Changes the appearance of training images at random, so that a network cannot tell hospitals apart by it.

A network may learn which source an image comes from, by its contrast, sharpness, borders or printed letters, instead of
the disease. Each change makes one of these properties useless for that. What the image shows of the patient stays. The
draw depends only on seed, epoch, image and copy. It is made on the host together with the batches.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from comit_ray.config.train_config import AppearanceName

Frame = npt.NDArray[np.uint8]
"""(H, W) grey values; air is dark and bone is bright."""
Lungs = npt.NDArray[np.uint8] | None
"""(H, W) annotated lungs: 1, 0, or 255 for unknown; None without annotation."""
Draw = np.random.Generator

WORDS = ("L", "R", "PA", "AP", "AP ERECT", "SUPINE", "PORTABLE", "MOBILE", "12:30")
"""Words that are printed on radiographs."""
LUNG_MARGIN = 0.04  # margin around annotated lungs, as a share of the frame's side


def vary_appearance(
    frame_HW: Frame, lungs_HW: Lungs, names: Sequence[AppearanceName], chance: float, key: Sequence[int]
) -> Frame:
    """Applies each of `names` to the frame or not, in the order of `AppearanceName`.

    Args:
        frame_HW: uint8 (H, W).
        lungs_HW: annotated lungs of the frame; without them, `surroundings` leaves the frame unchanged.
        names: changes that may be applied.
        chance: probability (0 to 1) of each change.
        key: whole numbers that decide the draw: seed, epoch, index of the image and of its copy.
    """
    generator = np.random.default_rng([*key, STREAM])
    for name in CHANGES:
        # Drawn for every change, requested or not, so that one more at the end does not alter the draws of the others.
        drawn, own = generator.random(), generator.spawn(1)[0]
        if name in names and drawn < chance:
            frame_HW = CHANGES[name](frame_HW, lungs_HW, own)
    return frame_HW


def _surroundings(frame_HW: Frame, lungs_HW: Lungs, draw: Draw) -> Frame:
    """Sets everything except the lungs and a margin to one random grey value."""
    if lungs_HW is None or not (lungs_HW == 1).any():
        return frame_HW
    size = 2 * max(1, round(LUNG_MARGIN * min(frame_HW.shape))) + 1
    wide = Image.fromarray((lungs_HW == 1).astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(size))
    return np.where(np.asarray(wide) > 0, frame_HW, np.uint8(draw.integers(0, 128)))


def _resolution(frame_HW: Frame, lungs_HW: Lungs, draw: Draw) -> Frame:
    """Samples the frame down to 0.4 to 0.9 of its sides, and up again."""
    height, width = frame_HW.shape
    share = draw.uniform(0.4, 0.9)
    small = Image.fromarray(frame_HW).resize((round(width * share), round(height * share)), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def _blur(frame_HW: Frame, lungs_HW: Lungs, draw: Draw) -> Frame:
    """Blurs the frame, or sharpens it by an unsharp mask, with a Gaussian of 0.3 to 1.2 pixels."""
    radius = draw.uniform(0.3, 1.2)
    kernel = ImageFilter.GaussianBlur(radius) if draw.random() < 0.5 else ImageFilter.UnsharpMask(radius, 150, 0)
    return np.asarray(Image.fromarray(frame_HW).filter(kernel))


def _gamma(frame_HW: Frame, lungs_HW: Lungs, draw: Draw) -> Frame:
    """Raises grey values, as shares of white, to a power of 0.5 to 2."""
    return _grey((np.arange(256) / 255) ** np.exp(draw.uniform(-0.7, 0.7)) * 255)[frame_HW]


def _contrast(frame_HW: Frame, lungs_HW: Lungs, draw: Draw) -> Frame:
    """Multiplies distances from the mean by 0.5 to 1.6, and shifts all values by up to 40 grey values."""
    mean, factor, shift = float(frame_HW.mean()), np.exp(draw.uniform(-0.7, 0.47)), draw.uniform(-40, 40)
    return _grey((np.arange(256) - mean) * factor + mean + shift)[frame_HW]


def _noise(frame_HW: Frame, lungs_HW: Lungs, draw: Draw) -> Frame:
    """Adds normal noise with a standard deviation of 1 to 12 grey values."""
    return _grey(frame_HW + draw.normal(0, draw.uniform(1, 12), frame_HW.shape))


def _jpeg(frame_HW: Frame, lungs_HW: Lungs, draw: Draw) -> Frame:
    """Compresses the frame as JPEG with a quality of 20 to 90."""
    packed = BytesIO()
    Image.fromarray(frame_HW).save(packed, "JPEG", quality=int(draw.integers(20, 91)))
    return np.asarray(Image.open(packed))


def _collimation(frame_HW: Frame, lungs_HW: Lungs, draw: Draw) -> Frame:
    """Blackens the outermost pixels of each side independently, up to a tenth of the frame."""
    return _framed(frame_HW, draw, 0.10, 0)


def _border(frame_HW: Frame, lungs_HW: Lungs, draw: Draw) -> Frame:
    """Draws a narrow border of one random grey value on each side independently, up to 4% of the frame."""
    return _framed(frame_HW, draw, 0.04, int(draw.integers(0, 256)))


def _text(frame_HW: Frame, lungs_HW: Lungs, draw: Draw) -> Frame:
    """Prints one to three words or markers near a corner, bright or dark, some with a box around them."""
    image = Image.fromarray(frame_HW)
    pen, (width, height) = ImageDraw.Draw(image), image.size
    for _ in range(draw.integers(1, 4)):
        grey = int(draw.integers(200, 256)) if draw.random() < 0.8 else int(draw.integers(0, 40))
        word = WORDS[draw.integers(len(WORDS))] if draw.random() < 0.8 else ""
        font = ImageFont.load_default(size=height * draw.uniform(0.05, 0.10))
        side = draw.uniform(0.04, 0.10) * height
        _, _, wide, high = pen.textbbox((0, 0), word, font=font) if word else (0, 0, side, side)
        left = draw.uniform(0, 0.12) * width
        top = draw.uniform(0, 0.15) * height
        left = left if draw.random() < 0.5 else width - left - wide
        top = top if draw.random() < 0.5 else height - top - high
        if word:
            pen.text((left, top), word, fill=grey, font=font)
        if not word or draw.random() < 0.2:
            pen.rectangle((left, top, left + wide, top + high), fill=None if word else grey, outline=grey)
    return np.asarray(image)


def _framed(frame_HW: Frame, draw: Draw, most: float, grey: int) -> Frame:
    height, width = frame_HW.shape
    sides = draw.uniform(0, most, 4) * (draw.random(4) < 0.6)
    top, bottom, left, right = np.rint(sides * [height, height, width, width]).astype(int)
    found = np.full_like(frame_HW, grey)
    found[top : height - bottom, left : width - right] = frame_HW[top : height - bottom, left : width - right]
    return found


def _grey(values: npt.NDArray[np.float64]) -> Frame:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


CHANGES: dict[AppearanceName, Callable[[Frame, Lungs, Draw], Frame]] = {
    "surroundings": _surroundings,
    "resolution": _resolution,
    "blur": _blur,
    "gamma": _gamma,
    "contrast": _contrast,
    "noise": _noise,
    "collimation": _collimation,
    "border": _border,
    "text": _text,
    "jpeg": _jpeg,
}
"""All changes in the order in which they are applied: the patient first, then the machine, then the file."""

STREAM = 10
"""Number of this stream of draws; the moves of `augmentation` have another. Another number changes every training."""

assert tuple(CHANGES) == get_args(AppearanceName), "each change that can be asked for is here, in its order"
