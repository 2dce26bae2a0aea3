"""Figures of weighted images and their intervals, by hand."""

import numpy as np
import pandas as pd
import pytest

from comit_ray.statistics.intervals import newcombe, wilson
from comit_ray.statistics.measure import measure
from comit_ray.statistics.metric import (
    OVER_PATIENTS,
    Block,
    FloatArray,
    IntArray,
    Metric,
    MetricEntry,
    Ratio,
    mean,
    of_few,
    ratios,
    share,
)

ALONE = pd.Series([f"p{number}" for number in range(10)])
PAIRS = pd.Series([f"p{number // 2}" for number in range(10)])
HITS = np.arange(10) < 7


def one(ratio: Ratio, patients: pd.Series, draws: int = 400, seed: int = 0) -> Metric:
    (found,) = measure([ratios([ratio])], patients, "test", "all", draws, seed)
    return found


def test_one_image_a_patient_has_wilsons_interval() -> None:
    """7 of 10: [0.3968, 0.8922], computed by hand from Wilson's formula."""
    found = one(share("x", HITS, np.ones(10), at="point"), ALONE)
    assert (found.value, found.n, found.patients, found.at, found.interval) == (0.7, 10, 10, "point", "wilson")
    assert found.low == pytest.approx(0.3968, abs=5e-5)
    assert found.high == pytest.approx(0.8922, abs=5e-5)


def test_several_images_a_patient_are_drawn_together() -> None:
    """Where both images of a patient are alike there are five observations, and not ten."""
    both = np.repeat([True, True, True, False, False], 2)
    found = one(share("x", both, np.ones(10)), PAIRS, draws=2000)
    assert (found.value, found.n, found.patients, found.interval) == (0.6, 10, 5, "patient bootstrap")
    assert found.low == pytest.approx(0.2)  # binomial(5, 0.6): 1% are below 1 of 5, 8.7% below 2 of 5
    assert found.high == pytest.approx(1.0)


def test_a_patient_outside_the_counted_images_does_not_matter() -> None:
    """Wilson's holds for the positives where these are of one patient each, whatever the negatives are."""
    counted = np.zeros(10, bool)
    counted[::2] = True
    found = one(share("x", HITS, counted), PAIRS)
    assert (found.value, found.n, found.patients, found.interval) == (0.8, 5, 5, "wilson")


@pytest.mark.parametrize("value", [0, 1])
def test_none_or_all_has_wilsons_interval_over_patients(value: int) -> None:
    """The bootstrap's would be a point, as if five patients had settled it."""
    found = one(share("x", np.full(10, value), np.ones(10)), PAIRS)
    expected = wilson(5 * value, 5)
    assert (found.value, found.low, found.high) == (value, expected.low, expected.high)
    assert (found.interval, found.patients) == (OVER_PATIENTS, 5)


@pytest.mark.parametrize("value", [0, 1])
def test_an_area_of_0_or_1_has_newcombes_interval_over_patients(value: int) -> None:
    """Two images a patient, of one class each: two patients with, three without."""
    positive_N = np.repeat([True, True, False, False, False], 2)
    entry = MetricEntry("auroc", np.ones(10, bool), positive_N=positive_N)
    block = Block((entry,), lambda _: np.array([float(value)]))
    (found,) = measure([block], PAIRS, "test", "all", 50, 0)
    expected = newcombe(value, 2, 3)
    assert (found.low, found.high, found.interval) == (expected.low, expected.high, expected.method)


def test_a_mean_that_never_changes_has_no_interval_and_says_why() -> None:
    found = one(mean("x", np.full(10, 0.25)), ALONE)
    assert (found.value, found.low, found.high, found.interval) == (0.25, None, None, None)
    assert found.reason == "every draw of patients gives the same value"


def test_undefined_is_null_with_its_reason() -> None:
    found = one(share("x", HITS, np.zeros(10), undefined="nobody was asked"), ALONE)
    assert (found.value, found.n, found.patients, found.low, found.reason) == (None, 0, 0, None, "nobody was asked")


def test_a_mean_is_over_the_known_values() -> None:
    values = np.array([0.5, np.nan, 1.0, *[np.nan] * 7])
    found = one(mean("x", values), ALONE)
    assert (found.value, found.n) == (0.75, 2)


def test_ratios_are_pooled() -> None:
    """(1 + 3) / (2 + 4), not the mean of 1/2 and 3/4."""
    parts, wholes = np.array([1.0, 3.0]), np.array([2.0, 4.0])
    block = ratios([Ratio(MetricEntry("x", np.ones(2, bool)), parts, wholes)])
    assert block.values(np.array([1, 1])) == pytest.approx([4 / 6])
    assert block.values(np.array([2, 0])) == pytest.approx([1 / 2])
    assert np.isnan(block.values(np.array([0, 0]))).all()


def test_a_bootstrap_computes_everything_anew() -> None:
    """Blocks see the drawn weights, whose sum is that of the images where every patient has as many."""
    seen: list[int] = []

    def values(weights_N: IntArray) -> FloatArray:
        seen.append(int(weights_N.sum()))
        return np.array([float(weights_N @ HITS) / weights_N.sum()])

    (found,) = measure([Block((MetricEntry("x", np.ones(10, bool)),), values)], ALONE, "test", "all", draws=60)
    assert seen == [10] * 61
    assert found.interval is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.7 < found.high


def test_the_seed_decides() -> None:
    """The same seed gives the same interval, of a figure that Wilson's does not fit."""
    ratio = mean("x", np.arange(10) / 10)
    assert one(ratio, ALONE, seed=3) == one(ratio, ALONE, seed=3)
    assert one(ratio, ALONE, draws=50, seed=3) != one(ratio, ALONE, draws=50, seed=4)


@pytest.mark.parametrize("few", [0, 1, 7])
def test_a_block_of_few_images_is_that_of_all_of_which_the_others_are_zero(few: int) -> None:
    rng = np.random.default_rng(few)
    rows_M = np.sort(rng.choice(40, few, replace=False))
    wholes_M = rng.integers(1, 9, few).astype(float)
    parts_M = np.minimum(wholes_M, rng.integers(0, 9, few))
    parts_N, wholes_N = np.zeros(40), np.zeros(40)
    parts_N[rows_M], wholes_N[rows_M] = parts_M, wholes_M
    small = of_few(ratios([Ratio(MetricEntry("a", wholes_M > 2), parts_M, wholes_M)]), rows_M, 40)
    large = ratios([Ratio(MetricEntry("a", wholes_N > 2), parts_N, wholes_N)])
    np.testing.assert_array_equal(small.entries[0].counted_N, large.entries[0].counted_N)
    weights_N, chosen = rng.integers(0, 3, 40), np.sort(rng.choice(40, 15, replace=False))
    np.testing.assert_array_equal(small.values(weights_N), large.values(weights_N))
    assert small.of_rows is not None
    assert large.of_rows is not None
    weights_K = rng.integers(0, 3, 15)
    np.testing.assert_array_equal(small.of_rows(chosen)(weights_K), large.of_rows(chosen)(weights_K))
