"""Decodes JPEG 2000 at a half, a quarter or an eighth of its size, if the model's frame needs no more.

JPEG 2000 stores a picture as a small one and the missing detail, level by level (ISO/IEC 15444-1, Annex F). Omitting
the last levels saves most of the work: nine tenths for 2,048 x 2,048 pixels at level 2. The small picture is filtered
differently from ours (`comit_ray.data.images.frame`), so frames differ by about half a grey level; therefore
`--decode.reduce` is off by default.

Pillow decodes it through OpenJPEG. Cases that it is known to decode wrongly, or to refuse, are left to full decoding:
signed values, pictures with another depth than the header states, and sizes for which it raises.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from comit_ray.data.images.codestream import Codestream
from comit_ray.data.images.frame import LONGEST_SIDE

MOST_LEVELS = 3
"""Most levels to omit; a picture with no further levels gains nothing, and OpenJPEG refuses it."""


def level_of(height: int, width: int) -> int:
    """Returns how often both sides can be halved with the longest still at least `LONGEST_SIDE`; 0: not at all."""
    level = 0
    while level < MOST_LEVELS and max(height, width) >> (level + 1) >= LONGEST_SIDE:
        level += 1
    return level


def decode_reduced(frame: bytes, stream: Codestream, bits_stored: int, signed: bool) -> NDArray[np.uint16] | None:
    """Returns stored values of the small picture; None if the whole picture must be decoded.

    Args:
        frame: the compressed picture.
        stream: the stream's own header.
        bits_stored: bits that the DICOM header states.
        signed: whether the DICOM header declares signed values.

    Returns:
        Values (height / 2**level, width / 2**level), rounded up.
    """
    level = level_of(stream.height, stream.width)
    if not level or signed or stream.signed or stream.components != 1 or stream.precision != bits_stored:
        return None
    try:
        with Image.open(io.BytesIO(frame), formats=["JPEG2000"]) as image:
            if image.mode not in ("L", "I;16"):
                return None
            picture: Any = image  # only JPEG 2000 images have `reduce`
            picture.reduce = level
            image.load()
            depth = 8 if image.mode == "L" else 16
            values_HW = np.array(image).astype(np.uint16)
    except (OSError, ValueError):
        return None
    if values_HW.shape != (-(-stream.height >> level), -(-stream.width >> level)):
        return None
    values_HW >>= depth - stream.precision  # Pillow moves values of fewer bits to the top of 8 or 16
    return np.minimum(values_HW, np.uint16(2**bits_stored - 1))  # the small picture may overshoot
