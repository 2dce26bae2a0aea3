"""Turns a mask reference into the model's frame, into a 1-bit PNG, and back to the original's pixels.

Other modules read masks through this one. `comit_ray.data.masks.mask_references` defines the forms of a reference,
`mask_shapes` draws them, and `mask_images` reads mask images and turns drawn lungs into the paper's two boxes.
"""

import io
from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.frame import FrameMap, frame_map, mask_to_frame
from comit_ray.data.masks.mask_images import IGNORE, Mask, lung_rectangles, read_mask_image
from comit_ray.data.masks.mask_references import (
    Box,
    BoxesForm,
    boxes_reference,
    parse_reference,
    pasted_reference,
    polygons_reference,
    referenced_files,
    rle_reference,
    siim_reference,
)
from comit_ray.data.masks.mask_shapes import check_aspect, check_inside, draw, resize_nearest
from comit_ray.errors import ManifestError
from comit_ray.storage.file_reader import FileReader, FileRef

__all__ = [
    "IGNORE",
    "Binary",
    "Box",
    "Mask",
    "boxes_reference",
    "draw_mask",
    "fit_mask",
    "from_png",
    "lung_rectangles",
    "needs_no_file",
    "pasted_reference",
    "polygons_reference",
    "read_mask",
    "referenced_files",
    "rle_reference",
    "siim_reference",
    "to_original",
    "to_png",
]

Binary = npt.NDArray[np.bool_]


def read_mask(reference: str, frame: FrameConfig, height: int, width: int, *, reader: FileReader | None = None) -> Mask:
    """Reads the mask as uint8 (size, size) in the frame of the model: 0 outside, 1 inside, `IGNORE`.

    Every connected part of the mask keeps at least one pixel, so that a small lesion does not vanish.

    Args:
        reference: text in `lung_mask` or `disease_mask` of the manifest (see `comit_ray.data.masks.mask_references`).
        frame: the frame of the model.
        height: rows of the original radiograph.
        width: columns of the original radiograph.
        reader: reads mask images; None: a reader for this call, which reads a tar.gz again for every mask.

    Raises:
        ManifestError: the reference has no known form, the mask cannot be read or drawn, or its aspect ratio differs
            from that of the radiograph.
    """
    form = parse_reference(reference)
    if isinstance(form, BoxesForm):
        return _fill_boxes(form, frame, height, width)
    return fit_mask(draw_mask(reference, height, width, reader=reader), frame, height, width)


def needs_no_file(reference: str) -> bool:
    """Whether a mask reference describes its mask completely, in any frame; only boxes do.

    Raises:
        ManifestError: the reference has no known form.
    """
    return isinstance(parse_reference(reference), BoxesForm)


def draw_mask(reference: str, height: int, width: int, *, reader: FileReader | None = None) -> Mask:
    """Draws a mask other than boxes, in the size in which it was drawn: uint8, 0 outside, 1 inside, `IGNORE`.

    Arguments and errors as in `read_mask`.
    """
    form = parse_reference(reference)
    assert not isinstance(form, BoxesForm), "boxes are filled in the frame they are wanted in"
    with FileReader(DecodeLimits().max_bytes) if reader is None else nullcontext(reader) as files:
        if isinstance(form, FileRef):
            what, mask = str(form), read_mask_image(form, files)
        else:
            what = next(iter(type(form).model_fields))
            mask = draw(form, height, width, lambda file: read_mask_image(file, files))
    check_aspect(what, mask.shape, height, width)
    return mask


def to_png(mask_HW: Binary) -> bytes:
    """Returns a binary mask as a 1-bit PNG."""
    buffer = io.BytesIO()
    height, width = mask_HW.shape
    Image.frombytes("1", (width, height), np.packbits(mask_HW, axis=1).tobytes()).save(buffer, "PNG")
    return buffer.getvalue()


def from_png(png: bytes) -> Binary:
    """Returns the binary mask of a 1-bit PNG."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("1"), dtype=bool)


def to_original(mask_HW: Binary, frame_map: FrameMap, height: int, width: int) -> Binary:
    """Returns a mask in the frame of the model as bool (height, width), on the pixels of the original radiograph.

    Each original pixel takes the frame pixel under its centre. The computation uses integers, as in `mask_to_frame`, so
    that the rounded scale in a table (float32) moves no pixel: a mask that is brought back and framed again is
    unchanged.
    """
    rows = _under_centres(height, frame_map.top, frame_map.rows_per_pixel, mask_HW.shape[0])
    columns = _under_centres(width, frame_map.left, frame_map.columns_per_pixel, mask_HW.shape[1])
    return mask_HW[np.ix_(rows, columns)]


def _under_centres(count: int, start: float, scale: float, size: int) -> npt.NDArray[np.intp]:
    """Returns the frame pixel under each original pixel r's centre, (r + 1/2) * filled / count from the first one."""
    filled = round(count * scale)
    under: npt.NDArray[np.intp] = round(start) + (2 * np.arange(count, dtype=np.intp) + 1) * filled // (2 * count)
    return under.clip(0, size - 1)


def fit_mask(mask: Mask, frame: FrameConfig, height: int, width: int) -> Mask:
    """Returns a mask from `draw_mask` in the model's frame, for a radiograph of this height and width."""
    # nearest, so that a label stays a label; within the tolerance it stretches by less than the drawing's error
    resized = mask if mask.shape == (height, width) else resize_nearest(mask, height, width)
    framed = mask_to_frame(resized, frame)
    placed = frame_map(height, width, frame)
    rows = _under_centres(mask.shape[0], placed.top, placed.rows_per_pixel * height / mask.shape[0], frame.size)
    columns = _under_centres(mask.shape[1], placed.left, placed.columns_per_pixel * width / mask.shape[1], frame.size)
    labels, _ = ndimage.label(mask == 1, structure=np.ones((3, 3)))
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        part = labels[box] == label
        below, beside = rows[box[0]], columns[box[1]]
        if not (part & (framed[np.ix_(below, beside)] == 1)).any():  # it lies between the frame's pixel centres
            row, column = np.argwhere(part)[np.count_nonzero(part) // 2]
            framed[below[row], beside[column]] = 1
    return framed


def _fill_boxes(form: BoxesForm, frame: FrameConfig, height: int, width: int) -> Mask:
    box_frame = form.frame or (height, width)
    if any(w <= 0 or h <= 0 for _, _, w, h in form.boxes):
        raise ManifestError(f"expected boxes of positive width and height, got {list(form.boxes)[:8]}")
    check_aspect("boxes", box_frame, height, width)
    placed = frame_map(height, width, frame)
    rows_per_pixel = placed.rows_per_pixel * height / box_frame[0]
    columns_per_pixel = placed.columns_per_pixel * width / box_frame[1]
    mask = np.zeros((frame.size, frame.size), np.uint8)
    for left, top, box_width, box_height in form.boxes:
        right, bottom = left + box_width, top + box_height
        check_inside("a box", (left, top, right, bottom), box_frame)
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, box_frame[1]), min(bottom, box_frame[0])
        rows = _covered(placed.top + top * rows_per_pixel, placed.top + bottom * rows_per_pixel, frame.size)
        columns = _covered(placed.left + left * columns_per_pixel, placed.left + right * columns_per_pixel, frame.size)
        mask[rows, columns] = 1
    return mask


def _covered(start: float, stop: float, size: int) -> slice:
    """Returns the pixels whose centres lie in [start, stop), or else the one under its middle: no lesion vanishes."""
    first, end = int(np.floor(start + 0.5)), int(np.floor(stop + 0.5))
    if first < end:
        return slice(first, end)
    middle = min(int((start + stop) / 2), size - 1)
    return slice(middle, middle + 1)
