"""Masks: from a reference in the manifest to the model's frame, into 1-bit PNG, and back to the original's pixels.

A reference is the URI of a mask image (0 background, 255 inside, 127 or 128 ignore; a 0/1 image is taken too) or JSON
boxes with the frame they were drawn in: `{"boxes": [[x, y, width, height], ...], "frame": [height, width]}`, pixels
from the top left corner.
"""

import io
import json

import numpy as np
import numpy.typing as npt
from PIL import Image

from comit_ray import storage
from comit_ray.config import FrameConfig
from comit_ray.data.edge import library_edge
from comit_ray.data.resize import FrameMap, frame_map, mask_to_frame
from comit_ray.errors import DecodeError, ManifestError, StorageError

IGNORE = 255
"""Value of a pixel that no loss and no metric counts."""

ASPECT_TOLERANCE = 0.02  # a mask drawn on a cropped or turned copy differs by more
# between them: ignore; soft edges of resized masks are ignored, not guessed
_BACKGROUND_UP_TO, _INSIDE_FROM = 63, 192
_IGNORE_LEVELS = range(120, 137)  # 127 and 128 with the noise of JPEG

Box = tuple[float, float, float, float]
Mask = npt.NDArray[np.uint8]
Binary = npt.NDArray[np.bool_]


def boxes_reference(boxes: list[Box], frame_height: int, frame_width: int) -> str:
    """Mask reference of the filled union of `boxes` (x, y, width, height in pixels of the stated frame)."""
    rounded = [[round(number, 2) for number in box] for box in boxes]
    return json.dumps({"boxes": rounded, "frame": [frame_height, frame_width]}, separators=(",", ":"))


def is_boxes(reference: str) -> bool:
    """Whether a mask reference holds boxes rather than the URI of a mask image."""
    return reference.startswith("{")


def read_mask(reference: str, frame: FrameConfig, height: int, width: int) -> Mask:
    """The mask as uint8 (size, size) in the model's frame: 0 outside, 1 inside, `IGNORE`.

    Args:
        reference: a `lung_mask` or `disease_mask` of the manifest.
        frame: the model's frame.
        height: rows of the original radiograph.
        width: columns of the original radiograph.

    Raises:
        ManifestError: if the mask cannot be read, or its aspect ratio is not the radiograph's.
    """
    if is_boxes(reference):
        return _fill_boxes(reference, frame, height, width)
    mask = _read_image(reference)
    _check_aspect(reference, mask.shape, height, width)
    if mask.shape != (height, width):
        # nearest, so that a label stays a label; within the tolerance this stretches by less than the drawing errs
        mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    return mask_to_frame(mask, frame)


def to_png(mask_HW: Binary) -> bytes:
    """A binary mask as a 1-bit PNG."""
    buffer = io.BytesIO()
    Image.fromarray(mask_HW.astype(np.uint8) * 255).convert("1", dither=Image.Dither.NONE).save(buffer, "PNG")
    return buffer.getvalue()


def from_png(png: bytes) -> Binary:
    """The binary mask of a 1-bit PNG."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("1"), dtype=bool)


def to_original(mask_HW: Binary, frame_map: FrameMap, height: int, width: int) -> Binary:
    """A mask of the model's frame as bool (height, width), on the pixels of the original radiograph.

    Each original pixel takes the frame pixel under its centre.
    """
    rows = _under_centres(height, frame_map.top, frame_map.rows_per_pixel, mask_HW.shape[0])
    columns = _under_centres(width, frame_map.left, frame_map.columns_per_pixel, mask_HW.shape[1])
    return mask_HW[np.ix_(rows, columns)]


def _under_centres(count: int, start: float, scale: float, size: int) -> npt.NDArray[np.intp]:
    under: npt.NDArray[np.intp] = np.floor(start + (np.arange(count) + 0.5) * scale).astype(np.intp)
    return under.clip(0, size - 1)


def _fill_boxes(reference: str, frame: FrameConfig, height: int, width: int) -> Mask:
    try:
        parsed = json.loads(reference)
        box_height, box_width = (int(side) for side in parsed["frame"])
        boxes = [tuple(float(number) for number in box) for box in parsed["boxes"]]
        corners = [(x, y, x + w, y + h) for x, y, w, h in boxes if w > 0 and h > 0]
        if len(corners) < len(boxes):
            raise ValueError("a box without area")
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(
            f'expected boxes in pixels as {{"boxes": [[x, y, width, height]], "frame": [height, width]}}, '
            f"got {reference[:200]}"
        ) from error
    _check_aspect("boxes", (box_height, box_width), height, width)
    placed = frame_map(height, width, frame)
    rows_per_pixel = placed.rows_per_pixel * height / box_height
    columns_per_pixel = placed.columns_per_pixel * width / box_width
    mask = np.zeros((frame.size, frame.size), np.uint8)
    for left, top, right, bottom in corners:
        rows = _covered(placed.top + top * rows_per_pixel, placed.top + bottom * rows_per_pixel, frame.size)
        columns = _covered(placed.left + left * columns_per_pixel, placed.left + right * columns_per_pixel, frame.size)
        mask[rows, columns] = 1
    return mask


def _covered(start: float, stop: float, size: int) -> slice:
    """Pixels whose centres lie in [start, stop); at least one, so that a small lesion does not vanish."""
    first = min(max(0, int(np.floor(start + 0.5))), size - 1)
    return slice(first, max(first + 1, int(np.floor(stop + 0.5))))


def _read_image(uri: str) -> Mask:
    """A mask image as 0, 1 and `IGNORE`.

    Raises:
        ManifestError: if it cannot be read, or is a label map (1 right lung, 2 left lung): its labels are below every
            level that means inside, and all of them would be background.
    """
    try:
        data = storage.read_bytes(uri)
    except StorageError as error:
        raise ManifestError(f"cannot read the mask {uri}: {error}") from error
    try:
        with library_edge(), Image.open(io.BytesIO(data)) as image:
            grey_HW = np.asarray(image.convert("L"))
    except DecodeError as error:
        raise ManifestError(f"expected a mask image at {uri}, got {len(data)} bytes: {error.detail}") from error
    highest = int(grey_HW.max(initial=0))
    if highest == 1:
        return grey_HW
    if 1 < highest < _INSIDE_FROM and highest not in _IGNORE_LEVELS:
        levels = np.unique(grey_HW)
        came = f"{', '.join(map(str, levels[:8]))}{', ...' if len(levels) > 8 else ''}"
        raise ManifestError(
            f"expected 0 and 255, or 0 and 1, and 127 or 128 for ignore in the mask {uri}, got values {came}: write "
            "one mask with 255 inside from the labels that belong to it"
        )
    mask = np.full(grey_HW.shape, IGNORE, np.uint8)
    mask[grey_HW <= _BACKGROUND_UP_TO] = 0
    mask[grey_HW >= _INSIDE_FROM] = 1
    return mask


def _check_aspect(what: str, shape: tuple[int, ...], height: int, width: int) -> None:
    mask_height, mask_width = shape
    if mask_height < 1 or mask_width < 1:
        raise ManifestError(f"expected a mask frame of positive sides for {what}, got {mask_height} x {mask_width}")
    ratio = (mask_width / mask_height) / (width / height)
    if abs(ratio - 1) > ASPECT_TOLERANCE:
        raise ManifestError(
            f"the mask {what} is {mask_height} x {mask_width}, the radiograph {height} x {width}: expected aspect "
            f"ratios within {ASPECT_TOLERANCE:.0%}. Was the mask drawn on a cropped or turned copy?"
        )
