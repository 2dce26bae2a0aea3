"""Intervals of many patients: from draws of some of them, brought to all."""

import numpy as np
import pandas as pd
import pytest

from comit_ray.statistics import intervals
from comit_ray.statistics.intervals import Interval, patient_codes, patients_of, scaled, some_patients
from comit_ray.statistics.measure import measure
from comit_ray.statistics.metric import Block, MetricEntry, Ratio, mean, ratios, share


def test_up_to_the_limit_every_patient_is_drawn_from() -> None:
    assert some_patients(np.arange(7), most=7) is None


def test_beyond_it_some_patients_are_taken_with_all_their_images() -> None:
    codes_N = np.repeat(np.arange(100), 3)
    found = some_patients(codes_N, seed=1, most=25)
    assert found is not None
    rows, factor = found
    assert factor == 0.5
    assert patients_of(codes_N[rows]) == 25
    assert len(rows) == 75
    assert (np.diff(rows) > 0).all()


def test_deviations_shrink_around_the_value_of_all() -> None:
    found = scaled(Interval(0.4, 0.7, "image bootstrap"), 0.6, 0.5, 0.5, 25, bounded=True)
    assert (found.low, found.high) == pytest.approx((0.55, 0.7))
    assert found.method == "image bootstrap, scaled from 25 patients"
    assert scaled(Interval(0.4, 0.9, "x"), 0.9, 0.5, 0.5, 25, bounded=True).high == 1
    assert scaled(Interval(0.4, 0.9, "x"), 0.9, 0.5, 0.5, 25, bounded=False).high == pytest.approx(1.1)


def test_without_a_value_over_some_there_is_no_interval() -> None:
    found = scaled(Interval(None, None, "x", "too few"), 0.6, 0.5, 0.5, 25, bounded=True)
    assert (found.low, found.reason) == (None, "too few")
    found = scaled(Interval(0.1, 0.2, "x"), 0.6, float("nan"), 0.5, 25, bounded=True)
    assert (found.low, found.reason) == (None, "the metric has no value over 25 patients")


def test_whole_numbers_are_patients_as_words_are() -> None:
    words = pd.Series(["b", "a", None, "b", None])
    numbers = pd.Series([7, 3, None, 7, None], dtype="Int32")
    assert patient_codes(words).tolist() == patient_codes(numbers).tolist() == [0, 1, 2, 0, 3]
    assert patient_codes(np.array([5, 5, 2])).tolist() == [0, 0, 1]


def test_scaled_intervals_are_as_wide_as_those_of_all_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share and a mean over patients with two images each; the value is that of all images."""
    draw = np.random.default_rng(0)
    patients = pd.Series(np.repeat(np.arange(4000), 2))
    hits, values = draw.random(8000) < 0.2, draw.random(8000)
    blocks = [ratios([share("hit", hits, np.ones(8000)), mean("mean", values)])]
    whole = measure(blocks, patients, "test", "all", 400, 0)
    for of_rows in (True, False):
        monkeypatch.setattr(intervals.some_patients, "__defaults__", (0, 1000))
        mine = blocks if of_rows else [Block(blocks[0].entries, blocks[0].values)]
        for some, all_ in zip(measure(mine, patients, "test", "all", 400, 0), whole, strict=True):
            assert (some.value, some.n, some.patients) == (all_.value, all_.n, all_.patients)
            assert some.interval == "patient bootstrap, scaled from 1,000 patients"
            (low, high), ends = ((one.low or 0, one.high or 0) for one in (some, all_))
            assert high - low == pytest.approx(ends[1] - ends[0], rel=0.15)
            assert low < (all_.value or 0) < high


def test_large_sums_are_those_of_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = MetricEntry("x", np.ones(3, bool))
    found = [Ratio(entry, np.array([1.0, 3.0, 0.5]), np.array([2.0, 4.0, 1.0])), share("y", [1, 0, 1], [1, 1, 1])]
    weights = np.array([2, 0, 1])
    at_once = ratios(found).values(weights)
    monkeypatch.setattr("comit_ray.statistics.metric.AT_ONCE", 0)
    assert ratios(found).values(weights).tolist() == at_once.tolist()
