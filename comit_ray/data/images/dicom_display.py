"""DICOM's grayscale pipeline: turns stored values into display values.

PS3.3 C.11, PS3.4 N.2: padding is set aside, then Modality LUT or rescale, then VOI LUT or the first window (else
percentiles), then MONOCHROME1 is inverted, once. The stored values come from a DICOM file, or from a PNG whose
elements lie beside it (`comit_ray.data.images.sidecar`): the same values and elements give the same pixels.

Elements of a data set are read as plain text: absent, blank and unreadable elements count as nothing. But if an element
that decides how pixels look holds no number, an error names the element and its value.

All steps (PS3.3 C.11) are functions of the stored value alone, so they are computed once for each of its 256 or 65,536
possible values. Pixels are read twice, in blocks: to count and to look up.
"""

import math
import re
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from comit_ray.data.images.look_up_tables import read_look_up_table
from comit_ray.errors import DecodeError, Reason

_SHOWN = 24
_PLAIN = re.compile(r"[0-9A-Za-z+.,\- ]*")


def texts(elements: Dataset, keyword: str) -> list[str]:
    """Returns the values of an element as text; an empty list if it is absent or cannot be read."""
    try:
        value = elements.get(keyword)
        values = [] if value is None else [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
        return [str(one).strip().strip("\0") for one in values if str(one).strip()]
    except Exception:  # noqa: BLE001 pydicom converts lazily and raises anything; one bad tag refuses no radiograph
        return []


def text(elements: Dataset, keyword: str) -> str:
    """Returns the first value of an element as text, or an empty string."""
    values = texts(elements, keyword)
    return values[0] if values else ""


def code_meaning(elements: Dataset, keyword: str) -> str:
    """Returns CodeMeaning of the first item of a code sequence, or an empty string."""
    try:
        items = elements.get(keyword)
        return text(items[0], "CodeMeaning") if items else ""
    except Exception:  # noqa: BLE001 as in `texts`
        return ""


def stated(elements: Dataset, keyword: str) -> list[str]:
    """Returns the values of an element as they are written, including blank ones; an empty list if it is absent.

    A value that pydicom cannot convert is returned as it stands in the file.
    """
    if keyword not in elements:
        return []
    raw = getattr(elements.get_item(keyword), "value", None)
    try:
        value = elements.get(keyword)
    except Exception:  # noqa: BLE001 as in `texts`
        value = raw.decode("latin-1").split("\\") if isinstance(raw, bytes) else None
    if value is None:
        return []
    values = [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else value
    return [one.hex() if isinstance(one, bytes) else str(one).strip().strip("\0") for one in values]


def number(elements: Dataset, keyword: str) -> float | None:
    """Returns the first value of an element as a finite number; None if it is absent or blank.

    Raises:
        DecodeError: CORRUPT, with the element and its value, if it is not a number.
    """
    values = stated(elements, keyword)
    if not values or not values[0]:
        return None
    found = to_number(values[0])
    if found is None:
        raise DecodeError(Reason.CORRUPT, f"expected a number in {keyword}, got {shown(values[0])}")
    return found


def whole_number(elements: Dataset, keyword: str) -> int | None:
    """Returns the same as `number`, for an element that must be whole; `2.0` is 2."""
    found = number(elements, keyword)
    if found is not None and not found.is_integer():
        raise DecodeError(Reason.CORRUPT, f"expected a whole number in {keyword}, got {found:g}")
    return None if found is None else int(found)


def to_number(value: str) -> float | None:
    """Returns a finite number, or None."""
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def shown(value: str) -> str:
    """Returns a value for an error message, cut short; hides text that is no plain word or number: it may be a name."""
    if len(value) <= _SHOWN and _PLAIN.fullmatch(value):
        return repr(value)
    return f"a value of {len(value)} characters"


PERCENTILES = (0.5, 99.5)
"""Percentiles that become black and white if a file names neither window nor VOI LUT."""

_BLOCK_PIXELS = 2**20


def possible_values(stored_HW: NDArray[np.generic]) -> NDArray[np.int64]:
    """Returns every value that the array's type can hold, indexed by its bit pattern read as unsigned."""
    dtype = stored_HW.dtype
    assert dtype.kind in "iu", dtype
    assert dtype.itemsize <= 2, dtype
    unsigned = np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    return unsigned.view(dtype.newbyteorder("=")).astype(np.int64)


def count_values(stored_HW: NDArray[np.generic]) -> NDArray[np.int64]:
    """Returns how many pixels hold each of `possible_values`."""
    size = 2 ** (8 * stored_HW.dtype.itemsize)
    counts = np.zeros(size, np.int64)
    for _, block in _blocks(stored_HW):
        counts += np.bincount(block.ravel(), minlength=size)
    return counts


def look_up(stored_HW: NDArray[np.generic], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns `table`, ordered as `possible_values`, at every pixel."""
    shown = np.empty(stored_HW.shape, np.uint8)
    for rows, block in _blocks(stored_HW):
        shown[rows] = table[block]
    return shown


def apply_window(
    values: NDArray[np.float64], center: float, width: float, function: str = "LINEAR"
) -> NDArray[np.float64]:
    """Returns values through a window, from 0 (black) to 1 (PS3.3 C.11.2.1.2; `function` as in C.11.2.1.3).

    Raises:
        ValueError: a width or function that the standard does not allow.
    """
    if function == "LINEAR":
        if not width >= 1:
            raise ValueError("a linear window must be at least 1 wide")
        if width == 1:
            return (values > center - 0.5).astype(np.float64)
        shown = (values - (center - 0.5)) / (width - 1) + 0.5
    elif not width > 0:
        raise ValueError("a window must be wider than 0")
    elif function == "LINEAR_EXACT":
        shown = (values - center) / width + 0.5
    elif function == "SIGMOID":
        shown = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    else:
        raise ValueError("expected VOI LUT function LINEAR, LINEAR_EXACT or SIGMOID")
    return np.clip(shown, 0, 1)


def spread_values(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns values between the 0.5 and 99.5 percentile of the counted pixels, from 0 to 1.

    If 99% of the pixels have one value, the full range replaces the percentiles; if all have one value, all become 0.
    """
    present = np.flatnonzero(counts)
    if not present.size:
        return np.zeros_like(values)
    order = present[np.argsort(values[present], kind="stable")]
    reached = np.cumsum(counts[order])
    wanted = np.array(PERCENTILES) / 100 * reached[-1]
    low, high = values[order[np.searchsorted(reached, wanted)]]
    if low == high:
        low, high = values[order[0]], values[order[-1]]
    if low == high:
        return np.zeros_like(values)
    shown: NDArray[np.float64] = np.clip((values - low) / (high - low), 0, 1)
    return shown


def to_uint8(shown: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Returns 0 to 1 as 0 to 255, rounded."""
    return np.rint(shown * 255).astype(np.uint8)


def _blocks(stored_HW: NDArray[np.generic]) -> Iterator[tuple[slice, NDArray[np.generic]]]:
    """Yields bands of rows as unsigned indices; numpy takes 8 bytes per index, too much for a whole image."""
    height, width = stored_HW.shape
    step = max(1, _BLOCK_PIXELS // max(1, width))
    unsigned = f"u{stored_HW.dtype.itemsize}"
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        native = np.ascontiguousarray(stored_HW[rows], stored_HW.dtype.newbyteorder("="))
        yield rows, native.view(unsigned)


PIXEL_KEYWORDS = (
    "PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept",
    "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape",
)  # fmt: skip
"""Keywords of all elements that `display` uses."""
_SHAPES = {"IDENTITY": "MONOCHROME2", "INVERSE": "MONOCHROME1"}
"""PresentationLUTShape -> the only photometric interpretation that fits it (PS3.3 C.8.11.3.1.1)."""
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def display(
    stored_HW: NDArray[np.generic], elements: Dataset, photometric: str
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Returns pixels in the display sense, and the applied steps (as in `Radiograph`); see `display_table`."""
    table, applied = display_table(stored_HW, elements, photometric)
    return look_up(stored_HW, table), applied


def display_table(
    stored_HW: NDArray[np.generic], elements: Dataset, photometric: str
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Applies PS3.3 C.11 to every value that a pixel can hold: returns its grey, in the order of `possible_values`.

    Args:
        stored_HW: stored values, integers of 8 or 16 bits, signed if PixelRepresentation says so.
        elements: elements of the header; `PIXEL_KEYWORDS` are used.
        photometric: MONOCHROME1 (the least value is white) or MONOCHROME2.

    Returns:
        The table, and the applied steps.

    Raises:
        DecodeError: CORRUPT, with the element and its value: a value that is not a number, a look-up table that does
            not fit its descriptor, an unknown function; BLANK if a window shows differing pixels as one value;
            BAD_GEOMETRY if PresentationLUTShape and the photometric interpretation contradict each other.
    """
    shape = text(elements, "PresentationLUTShape").upper()
    if _SHAPES.get(shape, photometric) != photometric:
        raise DecodeError(
            Reason.BAD_GEOMETRY,
            f"PhotometricInterpretation {photometric} and PresentationLUTShape {shape} contradict each other",
        )
    possible = possible_values(stored_HW)
    counts = count_values(stored_HW)
    padding = padding_of(elements, possible)
    counts[padding] = 0
    values, modality = modality_values(possible, elements)
    applied: list[str] = [] if modality is None else [modality]
    levels, step = _values_of_interest(values, counts, elements)
    applied.append(step)
    if photometric == "MONOCHROME1":
        levels = 1 - levels
        applied.append("monochrome1_inverted")
    table = to_uint8(levels)
    if padding.any():
        table[padding] = 0
        applied.append("padding")
    return table, tuple(applied)


def modality_values(
    possible: NDArray[np.int64], elements: Dataset
) -> tuple[NDArray[np.float64], Literal["rescale", "modality_lut"] | None]:
    """Returns stored values through the modality's table or rescale, and which one was used; None: neither."""
    values = possible.astype(np.float64)
    table = read_look_up_table(elements, "ModalityLUTSequence")
    slope, intercept = number(elements, "RescaleSlope"), number(elements, "RescaleIntercept")
    if table is not None:
        return table.apply(values, float(possible.min()), float(possible.max())), "modality_lut"
    if slope is not None and intercept is not None and (slope, intercept) != (1, 0):
        return values * slope + intercept, "rescale"
    return values, None


def _values_of_interest(
    values: NDArray[np.float64], counts: NDArray[np.int64], elements: Dataset
) -> tuple[NDArray[np.float64], str]:
    """Returns values from 0 to 1 by the VOI LUT, else the first usable window, else percentiles."""
    table = read_look_up_table(elements, "VOILUTSequence")
    if table is not None:
        present = np.flatnonzero(counts)
        reach = values[present] if present.size else values
        levels = table.apply(values, float(reach.min()), float(reach.max()))
        # LUTDescriptor often states 16 bits for entries of 12, so the entries decide how many bits they need.
        return levels / max(1, 2 ** int(levels.max()).bit_length() - 1), "voi_lut"
    window = window_shown(values, counts, elements)
    if window is not None:
        return apply_window(values, *window, function_of(elements)), "window"
    return spread_values(values, counts), "percentiles"


def window_shown(
    values: NDArray[np.float64], counts: NDArray[np.int64], elements: Dataset
) -> tuple[float, float] | None:
    """Returns center and width of the first window that shows more than one value; None: percentiles apply.

    Raises:
        DecodeError: CORRUPT for an unknown function; BLANK if every window shows differing pixels as one value.
    """
    present = np.flatnonzero(counts)
    windows, function = windows_of(elements), function_of(elements)
    if windows and function not in _FUNCTIONS:
        raise DecodeError(Reason.CORRUPT, f"expected VOILUTFunction {', '.join(_FUNCTIONS)}, got {shown(function)}")
    for center, width in windows:
        if not _is_flat(apply_window(values[present], center, width, function)):
            return center, width
    if windows and not _is_flat(values[present]):
        center, width = windows[0]
        raise DecodeError(
            Reason.BLANK, f"WindowCenter {center:g} with WindowWidth {width:g} shows all pixels as one value"
        )
    return None


def function_of(elements: Dataset) -> str:
    """Returns VOILUTFunction; if absent, LINEAR (PS3.3 C.11.2.1.3)."""
    return text(elements, "VOILUTFunction").upper() or "LINEAR"


def windows_of(elements: Dataset) -> list[tuple[float, float]]:
    """Returns the windows that are numbers and have a width (PS3.3 C.11.2.1.2), in the file's order."""
    narrowest = 1 if function_of(elements) == "LINEAR" else np.finfo(np.float64).tiny
    found = []
    for texts in zip(stated(elements, "WindowCenter"), stated(elements, "WindowWidth"), strict=False):
        center, width = map(to_number, texts)
        if center is not None and width is not None and width >= narrowest:
            found.append((center, width))
    return found


def _is_flat(values: NDArray[np.float64]) -> bool:
    return not values.size or bool(values.min() == values.max())


def padding_of(elements: Dataset, possible: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns which possible values are padding: PixelPaddingValue up to PixelPaddingRangeLimit (PS3.3 C.7.5.1.1.2)."""
    value, limit = whole_number(elements, "PixelPaddingValue"), whole_number(elements, "PixelPaddingRangeLimit")
    if value is None:
        return np.zeros(possible.shape, np.bool_)
    ends = [_as_stored(end, possible) for end in (value, value if limit is None else limit)]
    return (possible >= min(ends)) & (possible <= max(ends))


def _as_stored(value: int, possible: NDArray[np.int64]) -> int:
    """Returns a value written as unsigned in a file of signed pixels (63536 for -2000) as the pixels hold it."""
    return value - possible.size if value > int(possible.max()) else value
