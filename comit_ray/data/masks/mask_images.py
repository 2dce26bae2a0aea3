"""Decodes a mask image into 0, 1 and `IGNORE`, and turns drawn lungs into boxes; all mask images are read here.

It also turns drawn lungs into two solid rectangles, one per lung: the form of the paper's lung annotation,
"two solid bounding boxes, corresponding to the area covered by each lung" (section 3.1). A lung may be drawn in several
pieces, and two lungs as one piece joined over the mediastinum, so pieces are first sorted into sides:

1. Pieces (8-connected) of less than `SPECK` of the largest one's area are specks and are ignored.
2. A piece whose column sums have two humps, with a valley below `VALLEY` of the lower hump between them, is two lungs:
   it is cut in the valley, the mediastinum.
3. Pieces whose columns overlap by more than half of the narrower one's width lie above one another: they are one lung.
4. The remaining pieces are divided into two sides at the widest gap between neighbouring centres.

If only one side is drawn, there is one rectangle. No anatomy is invented: what is not drawn gets no box.
"""

import io
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.radiograph import decoder_guard
from comit_ray.errors import DecodeError, ManifestError
from comit_ray.storage.file_reader import FileReader, FileRef

IGNORE = 255
"""Value of a pixel that no loss and no metric counts."""

MAX_PIXELS = DecodeLimits().max_pixels
"""Rows times columns of the largest mask that is decoded or drawn."""

Mask = npt.NDArray[np.uint8]

# levels between them are ignored: soft edges of resized masks are not guessed
_BACKGROUND_UP_TO, _INSIDE_FROM = 63, 192
_IGNORE_LEVELS = range(120, 137)  # 127 and 128 with JPEG noise


def read_mask_image(file: FileRef, reader: FileReader) -> Mask:
    """Reads a mask image as uint8 (height, width) in its own size: 0 outside, 1 inside, `IGNORE`.

    Grey levels: 0 background, 255 inside, 127 or 128 ignore. An image of 0 and 1 is accepted too.

    Raises:
        ManifestError: the image cannot be read, is too large, or is a label map (1 right lung, 2 left lung). Labels of
            a label map lie below every level that means inside, so all of them would become background.
    """
    try:
        data = reader.read(file)
    except DecodeError as error:
        raise ManifestError(f"cannot read the mask {file}: {error}") from error
    try:
        with decoder_guard(), Image.open(io.BytesIO(data)) as image:
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


SPECK = 0.02
"""Share of the largest piece's area below which a piece is a speck."""
VALLEY = 0.7
"""Depth of a valley: its column sum as a share of the lower hump's, below which the piece is two lungs."""
_SMALLEST_SIDE = 0.15  # least share of a piece's area left and right of a cut
_Piece = tuple[int, int, int, int]  # top, bottom, left, right; ends exclusive


def lung_rectangles(mask_HW: Mask) -> Mask:
    """Returns a lung mask with each lung's bounding box filled.

    Args:
        mask_HW: uint8 (height, width): 0 outside, 1 lung, 255 ignore.

    Returns:
        The same shape: 1 in the rectangles, 255 where it was outside of them, else 0; unchanged if there is no lung.
    """
    boxed = np.where(mask_HW == 1, 0, mask_HW).astype(np.uint8)
    for top, bottom, left, right in lung_boxes(mask_HW):
        boxed[top:bottom, left:right] = 1
    return boxed


def lung_boxes(mask_HW: Mask) -> list[_Piece]:
    """Returns top, bottom, left and right (ends exclusive) of each lung; the leftmost lung in the image comes first."""
    groups: list[_Piece] = []
    for piece in sorted(_pieces(mask_HW), key=_width):
        alike = [group for group in groups if _above_one_another(piece, group)]
        groups = [group for group in groups if group not in alike] + [_around([piece, *alike])]
    groups.sort(key=_centre)
    if len(groups) < 2:
        return groups
    gaps = [_centre(right) - _centre(left) for left, right in pairwise(groups)]
    cut = int(np.argmax(gaps)) + 1
    return [_around(groups[:cut]), _around(groups[cut:])]


def _pieces(mask_HW: Mask) -> list[_Piece]:
    labels, count = ndimage.label(mask_HW == 1, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    found: list[_Piece] = []
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        if areas[label - 1] < SPECK * areas.max():
            continue
        piece_HW = labels[rows, columns] == label
        cut = _mediastinum(piece_HW.sum(axis=0))
        for part_HW, start in ((piece_HW[:, :cut], 0), (piece_HW[:, cut:], cut)) if cut else ((piece_HW, 0),):
            below, beside = np.flatnonzero(part_HW.any(axis=1)), np.flatnonzero(part_HW.any(axis=0))
            left = columns.start + start
            found.append(
                (
                    int(rows.start + below[0]),
                    int(rows.start + below[-1] + 1),
                    int(left + beside[0]),
                    int(left + beside[-1] + 1),
                )
            )
    return found


def _mediastinum(sums_W: npt.NDArray[np.int64]) -> int:
    """Returns the column before which to cut a piece, from its column sums; 0 if the piece is one lung."""
    humps = np.minimum(np.maximum.accumulate(sums_W), np.maximum.accumulate(sums_W[::-1])[::-1])
    share = np.cumsum(sums_W) / sums_W.sum()
    depth = np.where((share > _SMALLEST_SIDE) & (share < 1 - _SMALLEST_SIDE), sums_W / humps, 1.0)
    if depth.min() >= VALLEY:
        return 0
    floors, _ = ndimage.label(depth <= 1.1 * depth.min())  # a joint of even height has no lowest column: cut its middle
    floor = np.flatnonzero(floors == floors[np.argmin(depth)])
    return int(floor[len(floor) // 2])


def _width(piece: _Piece) -> int:
    return piece[3] - piece[2]


def _centre(piece: _Piece) -> float:
    return (piece[2] + piece[3]) / 2


def _above_one_another(one: _Piece, other: _Piece) -> bool:
    shared = min(one[3], other[3]) - max(one[2], other[2])
    return shared > min(_width(one), _width(other)) / 2


def _around(pieces: list[_Piece]) -> _Piece:
    tops, bottoms, lefts, rights = zip(*pieces, strict=True)
    return min(tops), max(bottoms), min(lefts), max(rights)
