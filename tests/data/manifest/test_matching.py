import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from comit_ray.data.manifest.matching import find_pairs
from comit_ray.errors import ManifestError


def random_hashes(count: int, seed: int = 0, words: int = 4) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(0, 2**64, (count, words), dtype=np.uint64)


def changed(hash_: NDArray[np.uint64], bits: int, seed: int) -> NDArray[np.uint64]:
    """The hash with so many of its bits flipped."""
    flat = np.unpackbits(hash_.view(np.uint8))
    flat[np.random.default_rng(seed).choice(len(flat), bits, replace=False)] ^= 1
    return np.packbits(flat).view(np.uint64)


def by_brute_force(hashes: NDArray[np.uint64], at_most: int) -> list[tuple[int, int, int]]:
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    return [
        (one, other, distance)
        for one in range(len(bits))
        for other in range(one + 1, len(bits))
        if (distance := int((bits[one] != bits[other]).sum())) <= at_most
    ]


def listed(hashes: NDArray[np.uint64], at_most: int, threads: int = 1) -> list[tuple[int, int, int]]:
    first, second, distance = find_pairs(hashes, at_most, threads)
    return list(zip(first.tolist(), second.tolist(), distance.tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 4), st.integers(0, 256), st.integers(0, 5))
def test_same_pairs_as_by_brute_force(count: int, words: int, at_most: int, seed: int) -> None:
    hashes = random_hashes(count, seed, words)
    assert listed(hashes, at_most) == by_brute_force(hashes, at_most)


@pytest.mark.parametrize("threads", [1, 3])
def test_planted_copies_are_found_wherever_they_lie(threads: int) -> None:
    """Across the borders of blocks of 64 rows and 4,096 columns and of stripes of 1,024, and none besides."""
    hashes = random_hashes(6000)
    places = [(0, 1), (63, 64), (0, 5999), (1023, 1024), (4095, 4096), (100, 4196), (5998, 5997), (2000, 2063)]
    for number, (original, copy) in enumerate(places):
        hashes[copy] = changed(hashes[original], 6 * number, seed=number)
    expected = sorted((min(pair), max(pair), 6 * number) for number, pair in enumerate(places))
    # 0 has two copies, which are copies of each other.
    expected = sorted([*expected, (1, 5999, 12)])
    assert listed(hashes, 48, threads) == expected
    assert listed(hashes, 41, threads) == [pair for pair in expected if pair[2] <= 41]


def test_a_negative_is_as_far_as_can_be() -> None:
    """256 differing bits, which is 0 in eight."""
    hashes = np.stack([random_hashes(1)[0], ~random_hashes(1)[0]])
    assert listed(hashes, 255) == []
    assert listed(hashes, 256) == [(0, 1, 256)]


def test_no_hash_no_pair() -> None:
    first, second, distance = find_pairs(np.empty((0, 4), np.uint64), 10)
    assert (len(first), len(second), len(distance)) == (0, 0, 0)
    assert [str(column.dtype) for column in (first, second, distance)] == ["int64", "int64", "uint16"]


def test_too_many_pairs_are_refused() -> None:
    same = np.repeat(random_hashes(1), 1500, axis=0)
    assert len(find_pairs(same, 0, max_pairs=1500 * 1499 // 2)[0]) == 1500 * 1499 // 2
    with pytest.raises(ManifestError, match="more than 1,124,249 pairs of fingerprints that differ in 0 bits or fewer"):
        find_pairs(same, 0, max_pairs=1500 * 1499 // 2 - 1)
