"""DICOM's grayscale pipeline: stored values and the elements that describe them -> display values.

PS3.3 C.11, PS3.4 N.2: padding is set aside, then Modality LUT or rescale, then VOI LUT or the first window (else
percentiles), then MONOCHROME1 is inverted, once. The stored values may come from a DICOM file, or from a PNG whose
elements lie beside it (`comit_ray.data.images.sidecar`): the same values and elements give the same pixels.
"""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi

from comit_ray.data import grayscale
from comit_ray.data.dicom_elements import text, texts

PIXEL_KEYWORDS = (
    "PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept",
    "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
)  # fmt: skip
"""Keywords of all elements that `display` looks at."""


def display(
    stored_HW: NDArray[np.generic], elements: Dataset, photometric: str
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """PS3.3 C.11 for every value a pixel can hold, then one look-up.

    Args:
        stored_HW: stored values, integers of 8 or 16 bits, signed if PixelRepresentation says so.
        elements: of the header; `PIXEL_KEYWORDS` are used.
        photometric: MONOCHROME1 (the least value is white) or MONOCHROME2.

    Returns:
        Pixels in the display sense, and what was applied, as `comit_ray.data.images.radiograph.Radiograph` names it.

    Raises:
        ValueError: a window or look-up table that the standard does not allow; pydicom's own errors for others.
    """
    possible = grayscale.possible_values(stored_HW)
    counts = grayscale.count_values(stored_HW)
    applied: list[str] = []
    padding = _padding(elements, possible)
    counts[padding] = 0
    values = possible.astype(np.float64)
    if elements.get("ModalityLUTSequence"):
        values, applied = apply_modality_lut(possible, elements).astype(np.float64), ["modality_lut"]
    elif elements.get("RescaleSlope") is not None and elements.get("RescaleIntercept") is not None:
        slope, intercept = float(elements.RescaleSlope), float(elements.RescaleIntercept)
        if (slope, intercept) != (1, 0):
            values, applied = values * slope + intercept, ["rescale"]
    shown, step = _values_of_interest(values, counts, elements)
    applied.append(step)
    if photometric == "MONOCHROME1":
        shown = 1 - shown
        applied.append("monochrome1_inverted")
    table = grayscale.to_uint8(shown)
    if padding.any():
        table[padding] = 0
        applied.append("padding")
    return grayscale.look_up(stored_HW, table), tuple(applied)


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
        return grayscale.window(values, float(centers[0]), float(widths[0]), function), "window"
    return grayscale.spread(values, counts), "percentiles"


def _padding(elements: Dataset, possible: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which values are padding: PixelPaddingValue, up to PixelPaddingRangeLimit on either side (PS3.3 C.7.5.1.1.2)."""
    value = elements.get("PixelPaddingValue")
    if value is None:
        return np.zeros(possible.shape, np.bool_)
    limit = elements.get("PixelPaddingRangeLimit")
    ends = [_as_stored(int(end), possible) for end in (value, value if limit is None else limit)]
    return (possible >= min(ends)) & (possible <= max(ends))


def _as_stored(value: int, possible: NDArray[np.int64]) -> int:
    """A value written as unsigned in a file of signed pixels (63536 for -2000) as the pixels hold it."""
    return value - possible.size if value > int(possible.max()) else value
