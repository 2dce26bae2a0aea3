"""Which images show the same picture, and which nearly the same: candidates by hash, decided by thumbnails.

`same` is the picture itself, resized, recompressed or in another brightness; `near` one that was cropped or turned a
little as well, or another film of the same patient in the same position.

The thresholds were chosen on 1,260 public radiographs and altered copies of 187. Of their 792,330 pairs of different
patients none is taken for alike; 18 have hashes within `near_bits` (2 in 100,000), none within `same_bits`. Found are
all copies at JPEG quality 20, resized to 224 px, of gamma 0.6 to 1.6, with text burned in, letterboxed, or cropped by
2% on every side; 99% of those cropped by 3% on every side, 94% of the equalised, 89% of those too bright in places;
but only 38% of those cropped by 5% on every side. A negative or a mirror image is never found.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from comit_ray.data.alignment import aligned, in_place
from comit_ray.data.manifest.fingerprint import Pictures, unpack
from comit_ray.data.manifest.matching import find_pairs
from comit_ray.storage.threads import map_ahead

_BATCH = 256  # pairs of thumbnails that one thread compares at a time
_THREADS = os.cpu_count() or 1


@dataclass(frozen=True)
class Thresholds:
    """When two pictures count as alike.

    Args:
        same_bits: of 256, in which the hashes of the same picture may differ.
        same_correlation: its thumbnails have at least, as they lie.
        near_bits: as `same_bits`, of nearly the same pictures.
        near_correlation: their thumbnails have at least, after alignment.
    """

    same_bits: int = 32
    same_correlation: float = 0.93
    near_bits: int = 54
    near_correlation: float = 0.90


CHOSEN = Thresholds()
"""Chosen on public radiographs; `tests/data/test_look_alikes.py` holds them to it."""


@dataclass(frozen=True)
class LookAlikes:
    """Pairs of rows, first < second, in this order, each once.

    Args:
        first: int64 (P,).
        second: int64 (P,).
        distance: uint16 (P,), bits of 256 in which the hashes differ.
        correlation: float32 (P,) of the thumbnails: of the same picture as they lie, else after alignment.
        same: bool (P,): the same picture, else nearly the same.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.uint16]
    correlation: NDArray[np.float32]
    same: NDArray[np.bool_]


def find(fingerprints: pa.ChunkedArray, thresholds: Thresholds) -> LookAlikes:
    """All pairs of rows whose pictures are the same or nearly the same; a null fingerprint is like nothing.

    Raises:
        ManifestError: if a value is no fingerprint, or there are more pairs than `hash_search.MAX_PAIRS`.
    """
    pictures = unpack(fingerprints)
    one, other, distance = find_pairs(pictures.hashes, max(thresholds.same_bits, thresholds.near_bits), _THREADS)
    apart = pictures.row[one] != pictures.row[other]  # not the whole and the trimmed picture of one image
    one, other, distance = one[apart], other[apart], distance[apart]
    correlation = _compare(pictures, one, other, in_place)
    same = (distance <= thresholds.same_bits) & (correlation >= thresholds.same_correlation)
    rest = np.flatnonzero(~same)
    correlation[rest] = _compare(pictures, one[rest], other[rest], aligned)
    near = (distance <= thresholds.near_bits) & (correlation >= thresholds.near_correlation)
    alike = np.flatnonzero(same | near)
    found = LookAlikes(
        pictures.row[one[alike]], pictures.row[other[alike]], distance[alike], correlation[alike], same[alike]
    )
    return _best(found)


def _compare(
    pictures: Pictures,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    correlate: Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.floating]],
) -> NDArray[np.float32]:
    """Correlation of each pair of records; which of the two is moved depends on their hashes, not on their order."""
    keys = pictures.hashes.view(f"S{pictures.hashes.itemsize * pictures.hashes.shape[1]}")[:, 0]

    def batch(start: int) -> NDArray[np.floating]:
        part = slice(start, start + _BATCH)
        swapped = keys[other[part]] < keys[one[part]]
        moved = np.where(swapped, other[part], one[part])
        fixed = np.where(swapped, one[part], other[part])
        return correlate(pictures.thumbnails[moved], pictures.thumbnails[fixed])

    with ThreadPoolExecutor(_THREADS) as pool:
        compared = map_ahead(pool, batch, range(0, len(one), _BATCH), 2 * _THREADS)
        return np.concatenate([np.empty(0, np.float32), *compared])


def _best(found: LookAlikes) -> LookAlikes:
    """Of the pairs of records of two rows, the one that is most alike."""
    order = np.lexsort((found.distance, -found.correlation, ~found.same, found.second, found.first))
    first, second = found.first[order], found.second[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    kept = order[new]
    return LookAlikes(
        found.first[kept], found.second[kept], found.distance[kept], found.correlation[kept], found.same[kept]
    )
