"""Phantoms: what their masks say agrees with what their pixels show, and nothing outside the lungs tells the class."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt, label

from comit_ray.data.phantom.phantom_drawing import Phantom, PhantomKind, draw

SEEDS = range(16)


def chests(kind: PhantomKind) -> list[Phantom]:
    return [draw(seed, kind) for seed in SEEDS]


@pytest.fixture(scope="module")
def healthy() -> list[Phantom]:
    return chests(PhantomKind.HEALTHY)


@pytest.fixture(scope="module")
def covid() -> list[Phantom]:
    return chests(PhantomKind.COVID)


@pytest.fixture(scope="module")
def other() -> list[Phantom]:
    return chests(PhantomKind.OTHER)


def far_from(mask_HW: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Pixels to which more than so many steps up, down, left or right lead from the mask."""
    return np.asarray(distance_transform_cdt(~mask_HW, "taxicab") > steps)


def midline(phantom: Phantom) -> int:
    """Column between the two lungs."""
    columns = np.flatnonzero(phantom.lung_HW.any(axis=0))
    return int((columns[0] + columns[-1]) // 2)


def test_equal_arguments_give_equal_phantoms() -> None:
    first, again, next_one = draw(3, PhantomKind.COVID), draw(3, PhantomKind.COVID), draw(4, PhantomKind.COVID)
    np.testing.assert_array_equal(first.pixels_HW, again.pixels_HW)
    np.testing.assert_array_equal(first.disease_HW, again.disease_HW)
    assert first.pixels_HW.shape != next_one.pixels_HW.shape or not np.array_equal(first.pixels_HW, next_one.pixels_HW)


def test_the_size_can_be_chosen() -> None:
    phantom = draw(0, PhantomKind.OTHER, size=(256, 224))
    assert phantom.pixels_HW.shape == phantom.lung_HW.shape == phantom.disease_HW.shape == (256, 224)
    assert [a.dtype.name for a in (phantom.pixels_HW, phantom.lung_HW, phantom.disease_HW)] == ["uint8", "bool", "bool"]


def test_a_patient_keeps_sex_and_age_from_study_to_study() -> None:
    studies = [draw(seed, PhantomKind.HEALTHY, patient=77) for seed in range(3)]
    assert len({(study.sex, study.age) for study in studies}) == 1
    assert len({study.pixels_HW.tobytes() for study in studies}) == 3


def test_there_are_two_lungs_of_plausible_size(healthy: list[Phantom], covid: list[Phantom]) -> None:
    for phantom in healthy + covid:
        regions, _ = label(phantom.lung_HW)
        areas = np.bincount(regions.ravel())[1:]
        large = areas[areas > 0.02 * phantom.lung_HW.size]
        assert len(large) == 2, areas
        assert 0.12 < phantom.lung_HW.mean() < 0.5
        assert areas.sum() - large.sum() < 0.005 * phantom.lung_HW.size


def test_lungs_are_darker_than_what_lies_between_and_below(healthy: list[Phantom]) -> None:
    for phantom in healthy:
        rows = np.flatnonzero(phantom.lung_HW.any(axis=1))
        middle = phantom.pixels_HW[rows[0] : rows[-1], midline(phantom) - 10 : midline(phantom) + 10]
        dome = int(rows[0] + 0.95 * len(rows))
        below = phantom.pixels_HW[dome:, midline(phantom) - 60 : midline(phantom) + 60]
        lung = phantom.pixels_HW[phantom.lung_HW]
        assert lung.mean() + 40 < middle.mean()
        assert lung.mean() + 40 < below.mean()


def test_the_heart_lies_in_the_patients_left(healthy: list[Phantom]) -> None:
    """The patient's left is the image's right: there the heart takes more of the lung."""
    for phantom in healthy:
        lung_HW, column = phantom.lung_HW, midline(phantom)
        rows = np.flatnonzero(lung_HW.any(axis=1))
        lower = slice(int(rows[0] + 0.6 * len(rows)), int(rows[0] + 0.8 * len(rows)))
        assert lung_HW[lower, :column].sum() > lung_HW[lower, column:].sum()


def test_lesions_lie_in_the_lungs_and_brighten_them(
    healthy: list[Phantom], covid: list[Phantom], other: list[Phantom]
) -> None:
    """Against the same phantom without lesion, which has the same noise."""
    for bare, sick in zip(healthy * 2, covid + other, strict=True):
        assert not bare.disease_HW.any()
        if sick.finding == "cardiomegaly":
            assert not sick.disease_HW.any()
            continue
        assert sick.disease_HW.any()
        assert not (sick.disease_HW & ~sick.lung_HW).any()
        gain_HW = sick.pixels_HW.astype(int) - bare.pixels_HW
        assert gain_HW[sick.disease_HW].mean() > 8, sick.finding
        spared = sick.lung_HW & far_from(sick.disease_HW, 25)
        assert abs(gain_HW[spared]).mean() < 2, sick.finding


def test_a_lesion_changes_no_pixel_outside_the_lungs(
    healthy: list[Phantom], covid: list[Phantom], other: list[Phantom]
) -> None:
    for bare, sick in zip(healthy * 2, covid + other, strict=True):
        if sick.finding == "cardiomegaly":
            continue
        np.testing.assert_array_equal(sick.lung_HW, bare.lung_HW)
        outside = far_from(sick.lung_HW, 4)
        np.testing.assert_array_equal(sick.pixels_HW[outside], bare.pixels_HW[outside])


def test_covid_is_bilateral_and_peripheral(covid: list[Phantom]) -> None:
    for phantom in covid:
        column = midline(phantom)
        assert phantom.disease_HW[:, :column].any()
        assert phantom.disease_HW[:, column:].any()
    lower = [mean_row(p.disease_HW) - mean_row(p.lung_HW) for p in covid]
    outward = [mean_offset(p.disease_HW, midline(p)) - mean_offset(p.lung_HW, midline(p)) for p in covid]
    assert np.mean(lower) > 10
    assert np.mean(outward) > 10


def test_other_disease_is_one_sided(other: list[Phantom]) -> None:
    for phantom in other:
        column = midline(phantom)
        assert not (phantom.disease_HW[:, :column].any() and phantom.disease_HW[:, column:].any())
    assert len({phantom.finding for phantom in other}) >= 3


def test_cardiomegaly_is_a_larger_heart(healthy: list[Phantom], other: list[Phantom]) -> None:
    enlarged = [(a, b) for a, b in zip(healthy, other, strict=True) if b.finding == "cardiomegaly"]
    assert enlarged
    for normal, large in enlarged:
        assert large.pixels_HW.shape == normal.pixels_HW.shape
        assert large.lung_HW.sum() < 0.97 * normal.lung_HW.sum()


def mean_row(mask_HW: NDArray[np.bool_]) -> float:
    return float(np.nonzero(mask_HW)[0].mean())


def mean_offset(mask_HW: NDArray[np.bool_], column: int) -> float:
    """Mean distance from the midline, pixels."""
    return float(abs(np.nonzero(mask_HW)[1] - column).mean())
