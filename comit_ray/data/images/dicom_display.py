"""DICOM's grayscale pipeline: stored values and the elements that describe them -> display values.

PS3.3 C.11, PS3.4 N.2: padding is set aside, then Modality LUT or rescale, then VOI LUT or the first window (else
percentiles), then MONOCHROME1 is inverted, once. The stored values may come from a DICOM file, or from a PNG whose
elements lie beside it (`comit_ray.data.images.sidecar`): the same values and elements give the same pixels.

Elements of a DICOM data set as plain text: absent, blank and unreadable ones are all the same, nothing.

Stored values of at most 16 bits -> display values of 8, by one table look-up.

All steps of the DICOM grayscale pipeline (PS3.3 C.11) are functions of the stored value alone, so they are computed
once for each of its 256 or 65,536 possible values. Pixels are touched twice, in blocks: to count and to look up.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi

from comit_ray.data.images.radiograph import Radiograph, StoredImage
from comit_ray.errors import DecodeError, Reason


def texts(elements: Dataset, keyword: str) -> list[str]:
    """The values of an element as text; none if it is absent or cannot be read."""
    try:
        value = elements.get(keyword)
        values = [] if value is None else [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
        return [str(one).strip().strip("\0") for one in values if str(one).strip()]
    except Exception:  # noqa: BLE001 pydicom converts lazily and raises anything; one bad tag makes no bad radiograph
        return []


def text(elements: Dataset, keyword: str) -> str:
    """The first value of an element as text, or an empty string."""
    values = texts(elements, keyword)
    return values[0] if values else ""


def code_meaning(elements: Dataset, keyword: str) -> str:
    """CodeMeaning of the first item of a code sequence, or an empty string."""
    try:
        items = elements.get(keyword)
        return text(items[0], "CodeMeaning") if items else ""
    except Exception:  # noqa: BLE001 as in `texts`
        return ""


PERCENTILES = (0.5, 99.5)
"""The range spread over black to white where a file names neither window nor VOI LUT."""

_BLOCK_PIXELS = 2**20


def possible_values(stored_HW: NDArray[np.generic]) -> NDArray[np.int64]:
    """Every value the array's type can hold, at the place its bit pattern has when read as unsigned."""
    dtype = stored_HW.dtype
    assert dtype.kind in "iu", dtype
    assert dtype.itemsize <= 2, dtype
    unsigned = np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    return unsigned.view(dtype.newbyteorder("=")).astype(np.int64)


def count_values(stored_HW: NDArray[np.generic]) -> NDArray[np.int64]:
    """How many pixels hold each of `possible_values`."""
    size = 2 ** (8 * stored_HW.dtype.itemsize)
    counts = np.zeros(size, np.int64)
    for _, block in _blocks(stored_HW):
        counts += np.bincount(block.ravel(), minlength=size)
    return counts


def look_up(stored_HW: NDArray[np.generic], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`table`, ordered as `possible_values`, at every pixel."""
    shown = np.empty(stored_HW.shape, np.uint8)
    for rows, block in _blocks(stored_HW):
        shown[rows] = table[block]
    return shown


def apply_window(
    values: NDArray[np.float64], center: float, width: float, function: str = "LINEAR"
) -> NDArray[np.float64]:
    """Values through a window, as 0 (black) to 1 (PS3.3 C.11.2.1.2; `function` as in C.11.2.1.3).

    Raises:
        ValueError: a width or function the standard does not allow.
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
    """Values between the 0.5 and 99.5 percentile of the counted pixels, as 0 to 1.

    Where 99% of the pixels are one value, the full range takes the percentiles' place; where all are, all is 0.
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
    """0 to 1 as 0 to 255, rounded."""
    return np.rint(shown * 255).astype(np.uint8)


def _blocks(stored_HW: NDArray[np.generic]) -> Iterator[tuple[slice, NDArray[np.generic]]]:
    """Bands of rows, as unsigned indices: numpy widens an index to 8 bytes a pixel, too much for a whole image."""
    height, width = stored_HW.shape
    step = max(1, _BLOCK_PIXELS // max(1, width))
    unsigned = f"u{stored_HW.dtype.itemsize}"
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        native = np.ascontiguousarray(stored_HW[rows], stored_HW.dtype.newbyteorder("="))
        yield rows, native.view(unsigned)


PIXEL_KEYWORDS = (
    "PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept",
    "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
)  # fmt: skip
"""Keywords of all elements that `display` looks at."""


def show(image: StoredImage) -> Radiograph:
    """The radiograph as it is screened, and as a reader sees it first.

    Raises:
        DecodeError: BAD_SIDECAR for a sidecar's windows and tables that the standard does not allow.
        ValueError: as `display`, for a header's.
    """
    height, width = image.values_HW.shape
    if image.photometric is None:
        pixels_HW, steps = image.values_HW.astype(np.uint8, copy=False), image.applied
        return Radiograph(pixels_HW, height, width, image.view, image.view_source, steps)
    try:
        pixels_HW, steps = display(image.values_HW, image.elements, image.photometric)
    except (ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError) as error:
        if not image.sidecar:
            raise
        detail = f"expected windows and tables that the standard allows in the sidecar, got {type(error).__name__}"
        raise DecodeError(Reason.BAD_SIDECAR, detail) from None
    return Radiograph(pixels_HW, height, width, image.view, image.view_source, (*image.applied, *steps))


def modality_values(
    possible: NDArray[np.int64], elements: Dataset
) -> tuple[NDArray[np.float64], Literal["rescale", "modality_lut"] | None]:
    """Stored values through the modality's table or rescale, and which of them it was; None: as they are stored."""
    if elements.get("ModalityLUTSequence"):
        return apply_modality_lut(possible, elements).astype(np.float64), "modality_lut"
    values = possible.astype(np.float64)
    if elements.get("RescaleSlope") is not None and elements.get("RescaleIntercept") is not None:
        slope, intercept = float(elements.RescaleSlope), float(elements.RescaleIntercept)
        if (slope, intercept) != (1, 0):
            return values * slope + intercept, "rescale"
    return values, None


def display(
    stored_HW: NDArray[np.generic], elements: Dataset, photometric: str
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Pixels in the display sense, and what was applied, as `comit_ray.data.images.radiograph.Radiograph` names it.

    Arguments and errors are those of `display_table`.
    """
    table, applied = display_table(stored_HW, elements, photometric)
    return look_up(stored_HW, table), applied


def display_table(
    stored_HW: NDArray[np.generic], elements: Dataset, photometric: str
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """PS3.3 C.11 for every value a pixel can hold: its grey, in the order of `grayscale.possible_values`.

    Args:
        stored_HW: stored values, integers of 8 or 16 bits, signed if PixelRepresentation says so.
        elements: of the header; `PIXEL_KEYWORDS` are used.
        photometric: MONOCHROME1 (the least value is white) or MONOCHROME2.

    Returns:
        The table, and what was applied.

    Raises:
        ValueError: a window or look-up table that the standard does not allow; pydicom's own errors for others.
    """
    possible = possible_values(stored_HW)
    counts = count_values(stored_HW)
    padding = padding_of(elements, possible)
    counts[padding] = 0
    values, modality = modality_values(possible, elements)
    applied: list[str] = [] if modality is None else [modality]
    shown, step = _values_of_interest(values, counts, elements)
    applied.append(step)
    if photometric == "MONOCHROME1":
        shown = 1 - shown
        applied.append("monochrome1_inverted")
    table = to_uint8(shown)
    if padding.any():
        table[padding] = 0
        applied.append("padding")
    return table, tuple(applied)


def _values_of_interest(
    values: NDArray[np.float64], counts: NDArray[np.int64], elements: Dataset
) -> tuple[NDArray[np.float64], str]:
    """VOI LUT, else the first usable window, else percentiles; as 0 to 1."""
    if elements.get("VOILUTSequence"):
        shown = apply_voi(np.rint(values).astype(np.int64), elements, index=0).astype(np.float64)
        # LUTDescriptor's bits are often 16 for entries of 12: the entries themselves say how many they need.
        return shown / max(1, 2 ** int(shown.max()).bit_length() - 1), "voi_lut"
    centers, widths = texts(elements, "WindowCenter"), texts(elements, "WindowWidth")
    function = text(elements, "VOILUTFunction").upper() or "LINEAR"
    narrowest = 1 if function == "LINEAR" else np.finfo(np.float64).tiny
    if centers and widths and float(widths[0]) >= narrowest:
        return apply_window(values, float(centers[0]), float(widths[0]), function), "window"
    return spread_values(values, counts), "percentiles"


def padding_of(elements: Dataset, possible: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which possible values are padding: PixelPaddingValue up to PixelPaddingRangeLimit (PS3.3 C.7.5.1.1.2)."""
    value = elements.get("PixelPaddingValue")
    if value is None:
        return np.zeros(possible.shape, np.bool_)
    limit = elements.get("PixelPaddingRangeLimit")
    ends = [_as_stored(int(end), possible) for end in (value, value if limit is None else limit)]
    return (possible >= min(ends)) & (possible <= max(ends))


def _as_stored(value: int, possible: NDArray[np.int64]) -> int:
    """A value written as unsigned in a file of signed pixels (63536 for -2000) as the pixels hold it."""
    return value - possible.size if value > int(possible.max()) else value
