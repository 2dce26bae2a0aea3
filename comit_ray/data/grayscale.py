"""Stored values of at most 16 bits -> display values of 8, by one table look-up.

All steps of the DICOM grayscale pipeline (PS3.3 C.11) are functions of the stored value alone, so they are computed
once for each of its 256 or 65,536 possible values. Pixels are touched twice, in blocks: to count and to look up.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

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


def window(values: NDArray[np.float64], center: float, width: float, function: str = "LINEAR") -> NDArray[np.float64]:
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


def spread(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
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
