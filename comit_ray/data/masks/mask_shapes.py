"""Draws masks given as polygons, run lengths or pasted parts.

Shapes are cut off at the frame's edge; a shape that lies wholly outside belongs to another frame and is an error.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco

from comit_ray.data.masks.mask_images import IGNORE, MAX_PIXELS, Mask
from comit_ray.data.masks.mask_references import DrawnForm, PastedForm, PolygonsForm, RleForm
from comit_ray.errors import ManifestError
from comit_ray.storage.file_reader import FileRef

ASPECT_TOLERANCE = 0.02  # a mask drawn on a cropped or turned copy differs by more

_Binary = npt.NDArray[np.bool_]


def check_aspect(what: str, shape: tuple[int, ...], height: int, width: int, whole: str = "radiograph") -> None:
    """Refuses a mask whose aspect ratio differs from that of the `whole` (height x width) it belongs to.

    Raises:
        ManifestError: the message names both sizes.
    """
    mask_height, mask_width = shape
    ratio = (mask_width / mask_height) / (width / height)
    if abs(ratio - 1) > ASPECT_TOLERANCE:
        raise ManifestError(
            f"the mask {what} is {mask_height} x {mask_width}, the {whole} {height} x {width}: expected aspect "
            f"ratios within {ASPECT_TOLERANCE:.0%}. Was the mask drawn on a cropped or turned copy?"
        )


def check_inside(what: str, box: tuple[float, float, float, float], frame: tuple[int, int]) -> None:
    """Refuses a shape with the extent `box` (left, top, right, bottom) that lies outside the frame (height, width).

    Raises:
        ManifestError: the message names the shape's extent and the frame.
    """
    left, top, right, bottom = box
    if right <= 0 or bottom <= 0 or left >= frame[1] or top >= frame[0]:
        raise ManifestError(
            f"expected {what} inside its frame of {frame[0]} x {frame[1]} pixels, got x {left:g} to {right:g} and "
            f"y {top:g} to {bottom:g}: is the frame the one it was drawn in?"
        )


def draw(form: DrawnForm, height: int, width: int, read_image: Callable[[FileRef], Mask]) -> Mask:
    """Draws the mask in its own frame: uint8 (frame height, frame width), 0, 1 and (for pasted images) `IGNORE`.

    Args:
        form: what to draw.
        height: rows of the radiograph, for a frame that is not stated.
        width: columns of the radiograph.
        read_image: returns the pixels of a mask image.

    Raises:
        ManifestError: the frame is too large, or a shape does not fit into it.
    """
    if isinstance(form, RleForm):
        return _draw_rle(form)
    frame = _bounded(form.frame or (height, width))
    if isinstance(form, PastedForm):
        return _paste(form, frame, read_image)
    shapes = form.polygons if isinstance(form, PolygonsForm) else form.siim
    drawn = (_fill(shape, frame) if isinstance(shape, tuple) else _siim(shape, frame) for shape in shapes)
    return _union(drawn, frame)


def _bounded(frame: tuple[int, int]) -> tuple[int, int]:
    if frame[0] * frame[1] > MAX_PIXELS:
        raise ManifestError(f"expected a mask frame of at most {MAX_PIXELS} pixels, got {frame[0]} x {frame[1]}")
    return frame


def _union(drawn: Iterable[_Binary], frame: tuple[int, int]) -> Mask:
    union = np.zeros(frame, np.bool_)
    for shape_HW in drawn:
        union |= shape_HW
    return union.astype(np.uint8)


def _draw_rle(form: RleForm) -> Mask:
    sizes = {runs.size for runs in form.rle}
    if len(sizes) > 1:
        raise ManifestError(f"expected run lengths of one size in a mask, got {sorted(sizes)}")
    frame = _bounded(form.rle[0].size)
    return _union((_decode(_counts(runs.counts), frame) for runs in form.rle), frame)


def _decode(counts: Sequence[int], frame: tuple[int, int]) -> _Binary:
    """Decodes run lengths of 0, 1, 0 ... by column; checks them, as pycocotools reads beyond those that end early."""
    height, width = frame
    if any(count < 0 for count in counts) or sum(counts) != height * width:
        raise ManifestError(
            f"expected run lengths that fill {height} x {width} = {height * width} pixels, got {len(counts)} of them "
            f"with sum {sum(counts)} and minimum {min(counts, default=0)}"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, np.array(counts, np.int64)).reshape(width, height).T


def _counts(counts: str | Sequence[int]) -> Sequence[int]:
    """Returns run lengths, also from COCO's compressed text: differences to the run before last, 5 bits per character.

    A character code less 48 holds 5 bits, lowest first, plus 32 if more follow; the last character's 16 is the sign.
    """
    if not isinstance(counts, str):
        return counts
    found: list[int] = []
    value, shift = 0, 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ManifestError(f"expected COCO's compressed run lengths, got {character!r} in {counts[:40]!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        found.append(value + (found[-2] if len(found) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ManifestError(f"expected COCO's compressed run lengths, got {counts[-40:]!r}, cut in a number")
    return found


def _siim(text: str, frame: tuple[int, int]) -> _Binary:
    """Draws `gap run gap run ...`, each gap counted from the end of the previous run; `-1` is no mask."""
    tokens = text.split()
    if tokens == ["-1"]:
        return np.zeros(frame, np.bool_)
    if not tokens or len(tokens) % 2 or not all(token.isascii() and token.isdigit() for token in tokens):
        raise ManifestError(f"expected pairs 'gap run' or -1 in SIIM run lengths, got {text[:80]!r}")
    counts = [int(token) for token in tokens]
    rest = frame[0] * frame[1] - sum(counts)
    if rest < 0:
        raise ManifestError(
            f"expected SIIM run lengths that end within {frame[0]} x {frame[1]} pixels, got {-rest} pixels more"
        )
    return _decode([*counts, rest], frame)


def _fill(points: Sequence[float], frame: tuple[int, int]) -> _Binary:
    """Fills a polygon by COCO's rules; one that covers no pixel becomes the pixel under its middle."""
    height, width = frame
    if len(points) % 2:
        raise ManifestError(f"expected pairs of x and y in a polygon, got {len(points)} numbers")
    x, y = np.array(points[0::2]), np.array(points[1::2])
    extent = (float(x.min()), float(y.min()), float(x.max()), float(y.max()))
    check_inside("a polygon", extent, frame)
    if extent[0] < -width or extent[2] > 2 * width or extent[1] < -height or extent[3] > 2 * height:
        # pycocotools' memory grows with the length of the outline
        raise ManifestError(f"expected a polygon near its frame of {height} x {width} pixels, got {extent}")
    runs = coco.frPyObjects([list(points)], height, width)[0]["counts"].decode("ascii")
    filled = _decode(_counts(runs), frame)
    if not filled.any():
        row, column = int(np.clip(y.mean(), 0, height - 1)), int(np.clip(x.mean(), 0, width - 1))
        filled[row, column] = True
    return filled


def _paste(form: PastedForm, frame: tuple[int, int], read_image: Callable[[FileRef], Mask]) -> Mask:
    """Pastes the parts; where they overlap, inside wins over ignore, and ignore over background."""
    pasted = np.zeros(frame, np.uint8)
    for part in form.pasted:
        bottom, right = part.top + part.height, part.left + part.width
        check_inside(f"the mask {part.file}", (part.left, part.top, right, bottom), frame)
        _bounded((part.height, part.width))
        mask = read_image(part.file)
        if mask.shape != (part.height, part.width):
            check_aspect(str(part.file), mask.shape, part.height, part.width, "place it is pasted at")
            mask = resize_nearest(mask, part.height, part.width)
        top, left = max(part.top, 0), max(part.left, 0)
        target = pasted[top:bottom, left:right]
        source = mask[top - part.top :, left - part.left :][: target.shape[0], : target.shape[1]]
        target[(source == IGNORE) & (target == 0)] = IGNORE
        target[source == 1] = 1
    return pasted


def resize_nearest(mask_HW: Mask, height: int, width: int) -> Mask:
    """Returns the mask at another size, by nearest neighbour, so that values are never mixed."""
    return np.asarray(Image.fromarray(mask_HW).resize((width, height), Image.Resampling.NEAREST))
