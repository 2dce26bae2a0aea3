"""Sensitivity and specificity at given thresholds, by hand and in any draw; which thresholds, and which groups."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from comit_ray.evaluation.thresholds import (
    FLAGGED,
    Scale,
    StoredOperatingPoint,
    ThresholdRow,
    block,
    rows,
    scale,
    stored_operating_point,
)
from comit_ray.statistics import roc
from comit_ray.statistics.measure import measure
from tests.evaluation.support import scored_images

POINT = StoredOperatingPoint("specificity_0.90", 0.5, "recorded in run.json")


def sample(count: int = 500, seed: int = 0, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    covid = (rng.random(count) < 0.3).astype(float)
    p_covid = np.clip(rng.normal(0.3 + 0.3 * covid, 0.2), 0, 1).astype(np.float32)
    flags = {"covid_flag": p_covid >= 0.5}
    return scored_images(count, **{"covid": covid, "p_covid": p_covid} | flags | columns)


def given(*thresholds: float, point: StoredOperatingPoint | None = None) -> Scale:
    values = np.array(thresholds, np.float32)
    return Scale(values, values, values.size, point)


def test_by_hand() -> None:
    """At 0.5, a score of the images, two of three positives are flagged and one of four others."""
    images = scored_images(7, covid=[1.0, 1, 1, 0, 0, 0, 0], p_covid=[0.9, 0.5, 0.2, 0.6, 0.4, 0.3, 0.1])
    (row,) = rows(images, "covid", given(0.5), (0.5,), 1, "test", 10)
    assert (row.group, row.threshold, row.point) == ("all", 0.5, None)
    assert (row.sensitivity.value, row.sensitivity.n) == (pytest.approx(2 / 3), 3)
    assert (row.specificity.value, row.specificity.n) == (0.75, 4)
    assert (row.sensitivity.interval, row.specificity.interval) == ("wilson", "wilson")
    assert (row.sensitivity.metric, row.sensitivity.at) == ("sensitivity_at_threshold", 0.5)
    assert row.at_prevalence[0.5]["ppv"].value == pytest.approx((2 / 3) / (2 / 3 + 1 / 4))


def test_a_draw_is_measured_on_the_drawn_images() -> None:
    images = sample(120)
    images.loc[:3, "covid"], images.loc[4:7, "p_covid"] = np.nan, np.nan
    thresholds = np.array([0.0, 0.2, 0.45, 0.8, 1.1], np.float32)
    measured = block(images, "covid", thresholds)
    rng = np.random.default_rng(1)
    for _ in range(10):
        drawn = rng.integers(0, 120, 120)
        found = measured.values(np.bincount(drawn, minlength=120))
        known = images.iloc[drawn[drawn > 7]]
        p, y = known["p_covid"].to_numpy(np.float32), known["covid"].to_numpy(int)
        expected = [at(p, y, float(t)) for at in (roc.sensitivity_at, roc.specificity_at) for t in thresholds]
        assert found.tolist() == pytest.approx(expected)


def test_a_patient_with_several_images_is_drawn_whole() -> None:
    images = sample(patient_id=[f"p{number // 2}" for number in range(500)])
    (row,) = rows(images, "covid", given(0.5), (0.1,), 1, "test", 50)
    assert row.sensitivity.interval == "patient bootstrap"
    assert row.sensitivity.low < row.sensitivity.value < row.sensitivity.high


def test_every_different_score_is_a_threshold() -> None:
    images = scored_images(6, covid=[1.0, 1, 0, 0, np.nan, 1], p_covid=[0.9, 0.2, 0.2, 0.4, 0.7, np.nan])
    found = scale(images, "covid", None)
    assert found.all.tolist() == np.array([0.2, 0.4, 0.9], np.float32).tolist()
    assert found.short.tolist() == found.all.tolist()
    assert found.distinct == 3
    with_point = scale(images, "covid", POINT)
    assert with_point.all.tolist() == np.array([0.2, 0.4, 0.5, 0.9], np.float32).tolist()
    assert with_point.short.tolist() == with_point.all.tolist()


def test_of_many_scores_some_are_taken_evenly_and_both_ends() -> None:
    images = sample(5000)
    found = scale(images, "covid", None)
    distinct = np.unique(images["p_covid"])
    assert found.distinct == distinct.size > 200
    assert found.all.size == 200
    assert (found.all[0], found.all[-1]) == (distinct[0], distinct[-1])
    places = np.searchsorted(distinct, found.all)
    assert np.ptp(np.diff(places)) <= 1


def test_the_short_table_flags_certain_shares_of_the_images_whatever_their_label() -> None:
    images = sample(5000)
    found = scale(images, "covid", POINT)
    assert np.float32(0.5) in found.short
    flagged = np.sort([(images["p_covid"] >= threshold).mean() for threshold in found.short if threshold != 0.5])
    assert flagged.size == len(FLAGGED)
    for share, limit in zip(flagged, FLAGGED, strict=True):
        assert limit - 0.011 < share <= limit
    swapped = scale(images.assign(covid=1 - images["covid"]), "covid", POINT)
    assert swapped.short.tolist() == found.short.tolist()


def test_the_operating_point_has_its_row_and_its_flags() -> None:
    images = sample()
    point = stored_operating_point(images, "covid", None)
    found = rows(images, "covid", scale(images, "covid", point), (0.1,), 10, "test", 10)
    (row,) = [row for row in found if row.point is not None]
    positive = images[images["covid"] == 1]
    assert row.point == "specificity_0.90"
    assert row.sensitivity.value == pytest.approx(positive["covid_flag"].mean())


def test_groups_with_patients_enough_of_both_classes() -> None:
    """Of dataset b there are many images of few patients, of view AP no positives; site is known of none."""
    images = sample(view=["PA"] * 400 + ["AP"] * 100, dataset=["a"] * 300 + ["b"] * 200)
    images.loc[400:, "covid"] = 0.0
    images.loc[300:, "patient_id"] = [f"b/{number % 8}" for number in range(200)]
    found = rows(images, "covid", given(0.4, 0.5), (0.1,), 10, "test", 20)
    by_group: dict[str, list[ThresholdRow]] = {}
    for row in found:
        by_group.setdefault(row.group, []).append(row)
    assert {group: len(mine) for group, mine in by_group.items()} == {
        "all": 2, "dataset=a": 2, "dataset=b": 1, "view=PA": 2, "view=AP": 1,
    }  # fmt: skip
    (small,) = by_group["dataset=b"]
    assert (small.threshold, small.sensitivity) == (None, None)
    assert small.reason == "suppressed: 8 patients with a positive image, at least 10 are needed"
    assert by_group["view=AP"][0].reason == "suppressed: 0 patients with a positive image, at least 10 are needed"
    mine = images[images["dataset"] == "a"]
    assert by_group["dataset=a"][1].specificity.value == pytest.approx(
        (mine.loc[mine["covid"] == 0, "p_covid"] < 0.5).mean()
    )


def test_groups_have_the_short_thresholds() -> None:
    images = sample(2000, dataset=["a", "b"] * 1000)
    thresholds = scale(images, "covid", POINT)
    counts = pd.Series([row.group for row in rows(images, "covid", thresholds, (0.1,), 10, "test", 5)]).value_counts()
    assert counts.to_dict() == {
        "all": thresholds.all.size, "dataset=a": thresholds.short.size, "dataset=b": thresholds.short.size,
    }  # fmt: skip


def test_one_class_is_undefined_and_says_so() -> None:
    (row,) = rows(scored_images(3, covid=1.0, p_covid=[0.1, 0.6, 0.7]), "covid", given(0.5), (0.1,), 1, "test", 5)
    assert row.sensitivity.value == pytest.approx(2 / 3)
    assert (row.specificity.value, row.specificity.reason) == (None, "no scored image is labelled not COVID-19")
    assert row.at_prevalence[0.1]["ppv"].reason == "no scored image is labelled not COVID-19"


def test_thresholds_are_float32() -> None:
    """0.1 as a double lies above the float32 0.1 that the table stores: it must flag it all the same."""
    images = scored_images(2, covid=[1.0, 0.0], p_covid=np.array([0.7, 0.1], np.float32))
    found = measure([block(images, "covid", np.array([0.7], np.float32))], images["patient_id"], "t", "all", 2)
    assert [figure.value for figure in found] == [1, 1]
    (row,) = rows(images, "covid", given(0.7, point=StoredOperatingPoint("mine", 0.7, "x")), (0.1,), 1, "test", 2)
    assert row.point == "mine"
