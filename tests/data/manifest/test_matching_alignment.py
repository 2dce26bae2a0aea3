from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from comit_ray.data.manifest.matching import MARGIN, aligned, in_place
from tests.data.pictures import Picture, cropped, gamma, random_picture, resized, with_text

SIDE = 48


def thumbnails(pictures: list[Picture]) -> NDArray[np.uint8]:
    return np.stack([resized(picture, SIDE, SIDE) for picture in pictures])


ORIGINALS = [random_picture(seed) for seed in range(12)]


def test_a_picture_correlates_with_itself() -> None:
    stack = thumbnails(ORIGINALS)
    assert in_place(stack, stack) == pytest.approx(np.ones(12), abs=1e-5)
    assert aligned(stack, stack) == pytest.approx(np.ones(12), abs=1e-5)


def test_a_negative_correlates_negatively() -> None:
    stack = thumbnails(ORIGINALS)
    assert in_place(stack, 255 - stack) == pytest.approx(-np.ones(12), abs=1e-3)


def test_different_pictures_do_not_correlate() -> None:
    stack = thumbnails(ORIGINALS)
    others = np.roll(stack, 1, axis=0)
    assert np.abs(in_place(stack, others)).max() < 0.35
    assert aligned(stack, others).max() < 0.6


def test_the_average_is_over_the_pixels_as_numpy_weighs_them() -> None:
    """In place, against the textbook's formula on the same local contrast."""
    from comit_ray.data.manifest import matching

    one, other = thumbnails(ORIGINALS[:1]), thumbnails(ORIGINALS[1:2])
    side = SIDE - 2 * MARGIN
    fading = np.sqrt(np.sin(np.pi * (np.arange(side) + 0.5) / side))
    inner = np.s_[0, MARGIN:-MARGIN, MARGIN:-MARGIN]
    first, second = (matching._contrast(stack)[inner].ravel() for stack in (one, other))
    covariance = np.cov(first, second, aweights=np.outer(fading, fading).ravel(), ddof=0)
    expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert in_place(one, other)[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("change", [lambda picture: gamma(picture, 0.6), lambda picture: picture // 2 + 60, with_text])
def test_brightness_and_marks_count_little(change: Callable[[Picture], Picture]) -> None:
    stack, copies = thumbnails(ORIGINALS), thumbnails([change(picture) for picture in ORIGINALS])
    assert in_place(stack, copies).min() > 0.93


@pytest.mark.parametrize("sides", [(0.04, 0.04, 0.04, 0.04), (0.08, 0, 0, 0), (0, 0, 0.04, 0.04), (0, 0.05, 0.05, 0)])
def test_a_crop_is_undone(sides: tuple[float, float, float, float]) -> None:
    stack, copies = thumbnails(ORIGINALS), thumbnails([cropped(picture, *sides) for picture in ORIGINALS])
    found = aligned(stack, copies)
    assert found.min() > 0.88
    assert (found - in_place(stack, copies)).min() > 0.1


def test_uniform_thumbnails_correlate_with_nothing() -> None:
    uniform = np.full((1, SIDE, SIDE), 90, np.uint8)
    assert in_place(uniform, uniform).tolist() == [0]
    assert in_place(uniform, thumbnails(ORIGINALS[:1])).tolist() == [0]
    assert aligned(uniform, thumbnails(ORIGINALS[:1])).tolist() == pytest.approx([0], abs=0.2)


def test_no_pair_no_correlation() -> None:
    none = np.empty((0, SIDE, SIDE), np.uint8)
    assert in_place(none, none).shape == aligned(none, none).shape == (0,)


def test_pairs_do_not_know_each_other() -> None:
    stack, others = thumbnails(ORIGINALS[:6]), thumbnails(ORIGINALS[6:])
    together = aligned(stack, others)
    for index in range(6):
        alone = aligned(stack[index : index + 1], others[index : index + 1])
        assert alone[0] == pytest.approx(together[index], abs=1e-6)
