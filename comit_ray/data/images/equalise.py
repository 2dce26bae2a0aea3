"""Equalises grey values: histogram equalisation of a whole frame, or of its tiles with limited contrast (CLAHE).

Sources differ in the grey values that they store. After equalisation each frame uses all of them about equally often,
so overall brightness and contrast no longer reveal the source. Equalisation is part of the model's frame: every screen
of a network applies what the network was trained with.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

LEVELS = 256
TILES = 4
"""Number of CLAHE tiles per side."""
CLIP = 3.0
"""Limit for the count of a grey value, as a multiple of the mean count."""


def equalise_histogram(pixels_HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Replaces each grey value by the share of pixels at or below it, scaled from 0 to 255.

    An image of one value is returned unchanged.
    """
    counts = np.bincount(pixels_HW.ravel(), minlength=LEVELS)
    return _table(counts.astype(np.float64))[pixels_HW] if np.count_nonzero(counts) > 1 else pixels_HW


def equalise_tiles(pixels_HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Applies contrast-limited adaptive histogram equalisation (Zuiderveld, Graphics Gems IV, 1994, VIII.5).

    Each of 4 x 4 tiles has its own table of grey values, computed from a clipped histogram. Between the centres of
    tiles the tables are interpolated, so that no tile edge is visible. The darkest and the brightest value become 0 and
    255 first, as in scikit-image, because the limit would otherwise leave a dark radiograph dark.
    """
    pixels_HW = _stretched(pixels_HW)
    height, width = pixels_HW.shape
    rows, columns = _edges(height), _edges(width)
    tables = np.stack(
        [
            np.stack([_table(_clipped(pixels_HW[r0:r1, c0:c1])) for c0, c1 in pairwise(columns)])
            for r0, r1 in pairwise(rows)
        ]
    ).astype(np.float64)  # (tiles, tiles, 256)
    (up_H, down_H, low_H), (left_W, right_W, near_W) = _between(rows, height), _between(columns, width)
    low_H1, near_1W = low_H[:, None], near_W[None, :]

    def values(of_H: npt.NDArray[np.int64], of_W: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = tables[of_H[:, None], of_W[None, :], pixels_HW]
        return found

    above = values(up_H, left_W) * (1 - near_1W) + values(up_H, right_W) * near_1W
    below = values(down_H, left_W) * (1 - near_1W) + values(down_H, right_W) * near_1W
    return np.rint(above * (1 - low_H1) + below * low_H1).astype(np.uint8)


def _stretched(pixels_HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    low, high = int(pixels_HW.min()), int(pixels_HW.max())
    levels = (np.arange(LEVELS) - low) * (LEVELS - 1) / max(1, high - low)
    found: npt.NDArray[np.uint8] = np.clip(np.rint(levels), 0, LEVELS - 1).astype(np.uint8)[pixels_HW]
    return found


def _edges(length: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, length, min(TILES, length) + 1).round().astype(np.int64))


def _between(
    edges: npt.NDArray[np.int64], length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Returns the tile before and the tile after each pixel, and the pixel's nearness to the second (0..1)."""
    centres = (edges[1:] + edges[:-1]) / 2
    place = np.interp(np.arange(length) + 0.5, centres, np.arange(len(centres)))
    before = np.floor(place).astype(np.int64)
    return before, np.minimum(before + 1, len(centres) - 1), place - before


def _clipped(tile_HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Returns the counts of the grey values; counts above the limit are spread over all values."""
    counts = np.bincount(tile_HW.ravel(), minlength=LEVELS).astype(np.float64)
    limit = max(1.0, CLIP * tile_HW.size / LEVELS)
    over = np.maximum(counts - limit, 0).sum()
    clipped: npt.NDArray[np.float64] = np.minimum(counts, limit) + over / LEVELS
    return clipped


def _table(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Returns grey value -> new value: the share of pixels at or below it, the least as 0, the greatest as 255."""
    total = np.cumsum(counts)
    least = total[np.flatnonzero(counts)[0]]
    spread = np.clip((total - least) / max(total[-1] - least, 1e-9), 0, 1)
    found: npt.NDArray[np.uint8] = np.rint(spread * (LEVELS - 1)).astype(np.uint8)
    return found
