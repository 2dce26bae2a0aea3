"""A mask image's bytes -> 0, 1 and `IGNORE`: the one reading of grey levels that every mask image goes through."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from comit_ray.config.data_config import DecodeLimits
from comit_ray.data.images.radiograph import library_edge
from comit_ray.errors import DecodeError, ManifestError
from comit_ray.storage.file_reader import FileReader, FileRef

IGNORE = 255
"""Value of a pixel that no loss and no metric counts."""

MAX_PIXELS = DecodeLimits().max_pixels
"""Rows times columns of the largest mask that is decoded or drawn."""

Mask = npt.NDArray[np.uint8]

# between them: ignore; soft edges of resized masks are ignored, not guessed
_BACKGROUND_UP_TO, _INSIDE_FROM = 63, 192
_IGNORE_LEVELS = range(120, 137)  # 127 and 128 with the noise of JPEG


def read_mask_image(file: FileRef, reader: FileReader) -> Mask:
    """A mask image as uint8 (height, width) of its own size: 0 outside, 1 inside, `IGNORE`.

    Grey levels are 0 background, 255 inside, 127 or 128 ignore; an image of 0 and 1 is taken too.

    Raises:
        ManifestError: if it cannot be read, is too large, or is a label map (1 right lung, 2 left lung): its labels
            are below every level that means inside, and all of them would be background.
    """
    try:
        data = reader.read(file)
    except DecodeError as error:
        raise ManifestError(f"cannot read the mask {file}: {error}") from error
    try:
        with library_edge(), Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            grey_HW = np.asarray(image.convert("L")) if width * height <= MAX_PIXELS else None
    except DecodeError as error:
        raise ManifestError(f"expected a mask image at {file}, got {len(data)} bytes: {error.detail}") from error
    if grey_HW is None:
        raise ManifestError(f"expected at most {MAX_PIXELS} pixels in the mask {file}, got {height} x {width}")
    return _levels(grey_HW, file)


def _levels(grey_HW: Mask, file: FileRef) -> Mask:
    highest = int(grey_HW.max(initial=0))
    if highest == 1:
        return grey_HW
    if 1 < highest < _INSIDE_FROM and highest not in _IGNORE_LEVELS:
        levels = np.unique(grey_HW)
        came = f"{', '.join(map(str, levels[:8]))}{', ...' if len(levels) > 8 else ''}"
        raise ManifestError(
            f"expected 0 and 255, or 0 and 1, and 127 or 128 for ignore in the mask {file}, got values {came}: write "
            "one mask with 255 inside from the labels that belong to it"
        )
    mask = np.full(grey_HW.shape, IGNORE, np.uint8)
    mask[grey_HW <= _BACKGROUND_UP_TO] = 0
    mask[grey_HW >= _INSIDE_FROM] = 1
    return mask
