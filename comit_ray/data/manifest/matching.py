"""All pairs of hashes that differ in few bits: every pair is looked at, in blocks that fit the processor's cache.

Banding (only pairs that agree in one of several slices of their bits) is exact too and faster where at most 31 of 256
bits may differ; for the distances that cropped copies need it would look at more pairs than there are.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from comit_ray.errors import ManifestError
from comit_ray.storage.threads import map_ahead

MAX_PAIRS = 50_000_000
"""Pairs at most, of 20 bytes. More are a sign of pictures that are no radiographs, or of a dataset taken many times."""
_STRIPE = 1024  # rows that one thread looks at in one go
_ROWS, _COLUMNS = 64, 4096  # of a block: 2 MB of 64-bit words

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16]]
"""Index of the first and of the second hash of each pair, first < second, in this order; bits that differ."""


def find_pairs(hashes: NDArray[np.uint64], at_most: int, threads: int = 1, max_pairs: int = MAX_PAIRS) -> Pairs:
    """Every pair of hashes that differ in `at_most` bits or fewer.

    About 4 ns a pair of 256-bit hashes and thread: 20 seconds for 100,000 hashes, 8 minutes for 500,000.

    Args:
        hashes: uint64 (N, W): W words a hash.
        at_most: bits.
        threads: that share the search.
        max_pairs: see `MAX_PAIRS`.

    Raises:
        ManifestError: if there are more than `max_pairs`.
    """
    words = np.ascontiguousarray(hashes.T)
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint16))]
    total = 0
    with ThreadPoolExecutor(threads) as pool:
        tops = range(0, len(hashes), _STRIPE)
        for pairs in map_ahead(pool, lambda top: _stripe(words, top, at_most, max_pairs), tops, 2 * threads):
            found.append(pairs)
            total += len(pairs[0])
            _check(total, max_pairs, at_most)
    first, second, distance = (np.concatenate(column) for column in zip(*found, strict=True))
    return first, second, distance


def _stripe(words: NDArray[np.uint64], start: int, at_most: int, max_pairs: int) -> Pairs:
    """The pairs whose first hash is one of `_STRIPE` from `start` on."""
    count = words.shape[1]
    stop = min(start + _STRIPE, count)
    buffers = _Buffers()
    found: list[Pairs] = []
    total = 0
    for top in range(start, stop, _ROWS):
        for left in range(top, count, _COLUMNS):
            above, beside = slice(top, min(top + _ROWS, stop)), slice(left, left + _COLUMNS)
            distances = buffers.distances(words[:, above], words[:, beside])
            if distances.min() > at_most:  # as nearly everywhere
                continue
            first, second = np.nonzero(distances <= at_most)
            # A block on the diagonal holds pairs twice, and every hash with itself.
            later = second + left > first + top
            first, second = first[later], second[later]
            found.append((first + top, second + left, distances[first, second]))
            total += len(first)
            _check(total, max_pairs, at_most)
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint16)
    first, second, distance = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((second, first))
    return first[order], second[order], distance[order]


def _check(total: int, max_pairs: int, at_most: int) -> None:
    if total > max_pairs:
        raise ManifestError(
            f"expected few copies of each image, got more than {max_pairs:,} pairs of fingerprints that differ in "
            f"{at_most} bits or fewer; look for duplicates in one source after another"
        )


class _Buffers:
    """Memory of one block, used again and again: to allocate it anew takes as long as to fill it."""

    def __init__(self) -> None:
        self._differing = np.empty((_ROWS, _COLUMNS), np.uint64)
        self._bits = np.empty((_ROWS, _COLUMNS), np.uint8)
        self._distances = np.empty((_ROWS, _COLUMNS), np.uint16)

    def distances(self, above: NDArray[np.uint64], beside: NDArray[np.uint64]) -> NDArray[np.uint16]:
        """Bits in which each hash `above`, (W, rows), differs from each `beside`, (W, columns); good until the next."""
        block = np.s_[: above.shape[1], : beside.shape[1]]
        differing, bits, distances = self._differing[block], self._bits[block], self._distances[block]
        distances[...] = 0
        for one, other in zip(above, beside, strict=True):
            np.bitwise_xor(one[:, None], other[None, :], out=differing)
            np.bitwise_count(differing, out=bits)
            np.add(distances, bits, out=distances)
        return distances
