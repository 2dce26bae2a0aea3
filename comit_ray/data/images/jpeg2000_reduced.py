"""Decodes JPEG 2000 at a half, a quarter or an eighth of its size, where the model's frame needs no more.

JPEG 2000 stores a picture as a small one and what it lacks, level by level (ISO/IEC 15444-1, Annex F). Without the last
levels most of the work is saved: of 2,048 x 2,048 pixels at level 2, nine tenths. The small picture is filtered
otherwise than ours (`comit_ray.data.images.frame`), so frames differ by about half a grey level: `--decode.reduce` is
off by default.

Pillow does it, through OpenJPEG. What it is known to do wrong, or to refuse, is left to the whole decoding: signed
values, pictures of other depths than the header states, and sizes for which it raises.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from comit_ray.data.images.codestream import Codestream
from comit_ray.data.images.frame import LONGEST_SIDE

MOST_LEVELS = 3
"""Of a picture without more levels nothing is gained, and OpenJPEG refuses."""


def level_of(height: int, width: int) -> int:
    """How often both sides can be halved with the longest still at least `LONGEST_SIDE`; 0: the whole is needed."""
    level = 0
    while level < MOST_LEVELS and max(height, width) >> (level + 1) >= LONGEST_SIDE:
        level += 1
    return level


def decode_reduced(frame: bytes, stream: Codestream, bits_stored: int, signed: bool) -> NDArray[np.uint16] | None:
    """Stored values of the small picture; None where the whole is to be decoded.

    Args:
        frame: the compressed picture.
        stream: what it says of itself.
        bits_stored: that the header states.
        signed: whether the header says that values are.

    Returns:
        (height / 2**level, width / 2**level), rounded up.
    """
    level = level_of(stream.height, stream.width)
    if not level or signed or stream.signed or stream.components != 1 or stream.precision != bits_stored:
        return None
    try:
        with Image.open(io.BytesIO(frame), formats=["JPEG2000"]) as image:
            if image.mode not in ("L", "I;16"):
                return None
            picture: Any = image  # reduce is of JPEG 2000 alone
            picture.reduce = level
            image.load()
            depth = 8 if image.mode == "L" else 16
            values_HW = np.array(image).astype(np.uint16)
    except (OSError, ValueError):
        return None
    if values_HW.shape != (-(-stream.height >> level), -(-stream.width >> level)):
        return None
    values_HW >>= depth - stream.precision  # Pillow moves a picture of fewer bits to the top of 8 or 16
    return np.minimum(values_HW, np.uint16(2**bits_stored - 1))  # the small picture may overshoot
