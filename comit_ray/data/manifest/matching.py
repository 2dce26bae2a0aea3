"""Finds all pairs of hashes that differ in few bits, by comparing every pair in cache-sized blocks.

Banding (comparing only pairs that agree in one of several slices of their bits) is exact too, and faster if at most 31
of 256 bits may differ. At the distances that cropped copies need it would compare more pairs than there are.

Whether two thumbnails show one radiograph is decided by the correlation of their local contrast, aligned or not.

Local contrast (the deviation from the surroundings, in units of the surroundings' spread) keeps ribs, vessels and
devices, and removes brightness, gamma and the shape that all chests have. Of 309 pairs of different patients in public
collections with similar hashes (66 bits of 256 or fewer differ) none correlates by more than 0.84 after alignment, or
0.80 without. Copies recompressed at JPEG quality 20 or cropped by 5% on every side reach at least 0.93 after alignment.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from comit_ray.errors import ManifestError
from comit_ray.storage.threads import map_ahead

MAX_PAIRS = 50_000_000
"""Most pairs, 20 bytes each. More suggest pictures that are not radiographs, or a dataset taken many times."""
_STRIPE = 1024  # rows that one thread compares in one task
_ROWS, _COLUMNS = 64, 4096  # size of a block: 2 MB of 64-bit words

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16]]
"""Indices of the first and second hash of each pair, first < second, sorted so; then the number of bits that differ."""


def find_pairs(hashes: NDArray[np.uint64], at_most: int, threads: int = 1, max_pairs: int = MAX_PAIRS) -> Pairs:
    """Returns every pair of hashes that differ in `at_most` bits or fewer.

    A pair of 256-bit hashes takes a thread about 4 ns: 20 seconds for 100,000 hashes, 8 minutes for 500,000.

    Args:
        hashes: uint64 (N, W), W words per hash.
        at_most: most bits that may differ.
        threads: number of threads that share the search.
        max_pairs: see `MAX_PAIRS`.

    Raises:
        ManifestError: if there are more than `max_pairs` pairs.
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
    """Returns the pairs whose first hash is one of the `_STRIPE` hashes from `start` on."""
    count = words.shape[1]
    stop = min(start + _STRIPE, count)
    buffers = _Buffers()
    found: list[Pairs] = []
    total = 0
    for top in range(start, stop, _ROWS):
        for left in range(top, count, _COLUMNS):
            above, beside = slice(top, min(top + _ROWS, stop)), slice(left, left + _COLUMNS)
            distances = buffers.distances(words[:, above], words[:, beside])
            if distances.min() > at_most:  # the case nearly everywhere
                continue
            first, second = np.nonzero(distances <= at_most)
            # A block on the diagonal holds each pair twice, and every hash with itself.
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
    """Memory for one block, reused because allocating it takes as long as filling it."""

    def __init__(self) -> None:
        self._differing = np.empty((_ROWS, _COLUMNS), np.uint64)
        self._bits = np.empty((_ROWS, _COLUMNS), np.uint8)
        self._distances = np.empty((_ROWS, _COLUMNS), np.uint16)

    def distances(self, above: NDArray[np.uint64], beside: NDArray[np.uint64]) -> NDArray[np.uint16]:
        """Counts the bits that differ between each of `above` (W, rows) and `beside` (W, columns).

        The next call overwrites the result.
        """
        block = np.s_[: above.shape[1], : beside.shape[1]]
        differing, bits, distances = self._differing[block], self._bits[block], self._distances[block]
        distances[...] = 0
        for one, other in zip(above, beside, strict=True):
            np.bitwise_xor(one[:, None], other[None, :], out=differing)
            np.bitwise_count(differing, out=bits)
            np.add(distances, bits, out=distances)
        return distances


SPREAD = 2.5
"""Standard deviation of the surroundings, in pixels of a thumbnail."""
MARGIN = 3
"""Pixels of a thumbnail by which it may be shifted against the other in each direction."""
ZOOMS = (0.92, 0.96, 1.0, 1.04, 1.08)
"""Zoom factors tried on both sides of a thumbnail; the best is then varied by `_STEP` on each side alone."""
_STEP = 0.04
_FLOOR = 2.0  # grey levels added to the spread, so that the noise of a uniform area does not count as contrast

Stack = NDArray[np.floating]
"""Thumbnails (P, S, S), one per pair; S is above 2 * MARGIN."""


def in_place(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.floating]:
    """Returns the correlation (-1..1) of each pair of thumbnails (P, S, S), not aligned; edges have little weight."""
    one, other = _contrast(first), _contrast(second)
    weight_SS = np.pad(_weight(one.shape[1] - 2 * MARGIN), MARGIN)
    mean, other_mean = _mean(one, weight_SS), _mean(other, weight_SS)
    variance = _mean(one * one, weight_SS) - mean**2
    other_variance = _mean(other * other, weight_SS) - other_mean**2
    return _correlation(_mean(one * other, weight_SS) - mean * other_mean, variance * other_variance)


def aligned(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.floating]:
    """Returns each pair's best correlation with the first shifted by up to 3 px and enlarged or reduced by up to 12%.

    Height and width change together or apart, as by a crop at one edge. A pair takes 1.3 ms. Swapping the two changes
    the result a little.
    """
    image, template = first.astype(np.float32), _centred(_contrast(second)[:, MARGIN:-MARGIN, MARGIN:-MARGIN])
    by_zoom = np.stack([_best_shift(image, template, zoom, zoom) for zoom in ZOOMS])
    chosen = by_zoom.argmax(0)
    best: NDArray[np.floating] = by_zoom.max(0)
    for index, zoom in enumerate(ZOOMS):
        pairs = np.flatnonzero(chosen == index)
        for down in (-_STEP, 0.0, _STEP):
            for across in (-_STEP, 0.0, _STEP):
                if len(pairs) and (down or across):
                    found = _best_shift(image[pairs], template[pairs], zoom + down, zoom + across)
                    best[pairs] = np.maximum(best[pairs], found)
    return best


def _best_shift(image: Stack, template: Stack, down: float, across: float) -> NDArray[np.floating]:
    """Returns the best correlation over all shifts of `template` (see `_centred`) on the zoomed images."""
    side = image.shape[1]
    enlarged = _zoom(side, down) @ image @ _zoom(side, across).T
    zoomed = _contrast(enlarged)
    sums = _windows(side)  # one weighted sum of each row and column under the template per shift
    mean = sums @ zoomed @ sums.T
    variance = sums @ (zoomed * zoomed) @ sums.T - mean**2
    under = np.lib.stride_tricks.sliding_window_view(zoomed, template.shape[1:], axis=(1, 2))
    covariance = np.einsum("pijkl,pkl->pij", under, template)
    best: NDArray[np.floating] = _correlation(covariance, variance).max((1, 2))
    return best


def _correlation(covariance: Stack, variances: Stack) -> NDArray[np.floating]:
    """Returns the covariance over the root of the variances' product; 0 where one does not vary."""
    varies = variances > 1e-6
    correlation: Stack = np.where(varies, covariance / np.sqrt(np.where(varies, variances, 1)), 0)
    return correlation


def _centred(template: Stack) -> Stack:
    """Returns templates of weighted mean 0 and variance 1; their sum with an image is the weighted covariance."""
    weight = _weight(template.shape[1])
    centred = template - _mean(template, weight)[:, None, None]
    variance = np.maximum(_mean(centred * centred, weight), 1e-6)[:, None, None]
    unit: Stack = centred * weight / np.sqrt(variance)
    return unit


def _contrast(thumbnails: NDArray[np.uint8] | Stack) -> Stack:
    pixels, blur = thumbnails.astype(np.float32), _blur(thumbnails.shape[1])
    deviation = pixels - blur @ pixels @ blur.T
    contrast: Stack = deviation / (np.sqrt(blur @ (deviation * deviation) @ blur.T) + _FLOOR)
    return contrast


def _mean(stack: Stack, weight_SS: NDArray[np.floating]) -> NDArray[np.floating]:
    means: NDArray[np.floating] = np.einsum("pij,ij->p", stack, weight_SS)
    return means


@cache
def _fading(side: int) -> NDArray[np.floating]:
    """Returns weights of sum 1 that fall towards both ends."""
    weights = np.sqrt(np.sin(np.pi * (np.arange(side) + 0.5) / side))
    return np.asarray(weights / weights.sum(), np.float32)


def _weight(side: int) -> NDArray[np.floating]:
    return np.outer(_fading(side), _fading(side)).astype(np.float32)


@cache
def _windows(side: int) -> NDArray[np.floating]:
    """Returns a matrix (shifts, side) whose row s holds the template's weights from s on."""
    length = side - 2 * MARGIN
    rows = np.zeros((2 * MARGIN + 1, side), np.float32)
    for shift in range(2 * MARGIN + 1):
        rows[shift, shift : shift + length] = _fading(length)
    return rows


@cache
def _blur(side: int) -> NDArray[np.floating]:
    """Returns a matrix (side, side) that blurs with a Gaussian of `SPREAD`, edges repeated."""
    return np.asarray(gaussian_filter1d(np.eye(side), SPREAD, axis=0, mode="nearest"), np.float32)


@cache
def _zoom(side: int, factor: float) -> NDArray[np.floating]:
    """Returns a matrix (side, side) that zooms about the centre by linear interpolation; 0 beyond the edges."""
    source = (np.arange(side) + 0.5 - side / 2) / factor + side / 2 - 0.5
    return np.asarray(np.maximum(0, 1 - np.abs(source[:, None] - np.arange(side))), np.float32)
