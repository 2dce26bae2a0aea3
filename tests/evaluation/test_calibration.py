"""Calibration figures against scikit-learn, in any draw, and what cannot be judged."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from comit_ray.evaluation.calibration import (
    BY_CHANCE,
    LABELS_DRAWN,
    METRICS,
    PARTED,
    block,
    calibration_metrics,
    error_interval,
    reliability,
)
from comit_ray.statistics.calibration_metrics import ScoreBins
from comit_ray.statistics.metric import Metric
from tests.evaluation.support import scored_images


def sample(count: int = 400, shift: float = 0.0, slope: float = 1.0, seed: int = 0, **columns: Any) -> pd.DataFrame:
    """Labels whose log-odds are shift + slope times those of the scores."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-1, 1.5, count)
    covid = (rng.random(count) < expit(shift + slope * x)).astype(float)
    return scored_images(count, **{"covid": covid, "p_covid": expit(x).astype(np.float32)} | columns)


def measured(images: pd.DataFrame, draws: int = 60) -> dict[str, Metric]:
    return {figure.metric: figure for figure in calibration_metrics(images, "test", draws) if figure.group == "all"}


def test_every_figure_in_any_draw() -> None:
    """Images drawn several times or never; some without a label or a score."""
    images = sample(shift=0.5, slope=0.7)
    images.loc[:4, "covid"], images.loc[5:9, "p_covid"] = np.nan, np.nan
    measured_block = block(images, "covid")
    assert [entry.metric for entry in measured_block.entries] == list(METRICS)
    rng = np.random.default_rng(3)
    for _ in range(5):
        rows = rng.integers(0, 400, 400)
        found = dict(zip(METRICS, measured_block.values(np.bincount(rows, minlength=400)), strict=True))
        drawn = images.iloc[rows[rows > 9]]
        y, p = drawn["covid"].to_numpy(int), drawn["p_covid"].to_numpy(np.float64)
        assert found["brier"] == pytest.approx(brier_score_loss(y, p))
        once = np.ones(y.size, np.int64)
        assert found["ece"] == pytest.approx(ScoreBins(p, y == 1).equal_mass(once).error())
        assert found["ece_equal_width"] == pytest.approx(ScoreBins(p, y == 1).equal_width(once).error())
        model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(p)[:, None], y)
        assert found["calibration_slope"] == pytest.approx(model.coef_[0, 0], abs=1e-5)
        assert expit(logit(p) + found["calibration_intercept"]).mean() == pytest.approx(y.mean())


def test_calibrated_scores_are_found_calibrated() -> None:
    found = measured(sample(3000), 200)
    assert found["calibration_slope"].low < 1 < found["calibration_slope"].high
    assert found["calibration_intercept"].low < 0 < found["calibration_intercept"].high
    assert found["ece"].low == 0
    assert found["ece"].value < found[BY_CHANCE].high


def test_scores_that_are_not_are_found_out() -> None:
    """Too extreme, and too low."""
    found = measured(sample(3000, shift=1, slope=0.5), 200)
    assert found["calibration_slope"].high < 1
    assert found["calibration_intercept"].low > 0
    assert found["ece"].low > found[BY_CHANCE].high


def test_names_counts_and_methods() -> None:
    images = sample(patient_id=[f"p{number // 2}" for number in range(400)])
    images["unhealthy"], images["p_unhealthy"] = images["covid"], images["p_covid"]
    found = measured(images)
    names = ["brier", "ece", BY_CHANCE, "ece_equal_width", "calibration_slope", "calibration_intercept"]
    assert list(found) == [*names, *(f"unhealthy_{name}" for name in names)]
    for name, figure in found.items():
        assert (figure.n, figure.patients, figure.split) == (400, 200, "test")
        assert figure.low < figure.high, name
        bare = name.removeprefix("unhealthy_")
        expected = {BY_CHANCE: LABELS_DRAWN}.get(
            bare, "patient bootstrap, reflected" if bare.startswith("ece") else "patient bootstrap"
        )
        assert figure.interval == expected
    assert found["unhealthy_brier"].value == found["brier"].value


def test_images_of_one_patient_are_drawn_together() -> None:
    """Each image twice: as many images as of two patients, the interval of half as many."""
    once = sample(200)
    twice = pd.concat([once, once], ignore_index=True)
    alone = twice.assign(patient_id=[f"p{number}" for number in range(400)])
    widths = [(found := measured(images, 300)["calibration_slope"]).high - found.low for images in (once, twice, alone)]
    assert widths[1] == pytest.approx(widths[0], rel=0.25)
    assert widths[2] < 0.85 * widths[1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"covid": 1.0}, "no scored image is labelled not COVID-19"),
        ({"covid": 0.0}, "no scored image is labelled COVID-19"),
        ({"covid": np.nan}, "no image has both a label and a score for COVID-19"),
        (
            {"covid": [1.0] * 9 + [0.0] * 31},
            "calibration needs at least 10 images of each class, and there are 9 labelled COVID-19 and 31 labelled not",
        ),
        ({"p_covid": [1.2, -0.1] + [0.5] * 38}, "the scores are no probabilities: 2 of them outside 0 to 1"),
    ],
)
def test_what_cannot_be_judged_is_null_and_says_why(changes: dict[str, Any], reason: str) -> None:
    base: dict[str, Any] = {"covid": [1.0, 0.0] * 20, "p_covid": np.linspace(0.1, 0.9, 40)}
    found = measured(scored_images(40, **base | changes))
    assert len(found) == 6
    for figure in found.values():
        assert (figure.value, figure.low, figure.high, figure.interval) == (None, None, None, None)
        assert figure.reason.startswith(reason)
    assert reliability(scored_images(40, **base | changes), "covid", "test", 20) == []


def test_classes_that_a_threshold_parts_have_an_error_and_no_slope() -> None:
    covid = np.repeat([0.0, 1.0], 20)
    found = measured(scored_images(40, covid=covid, p_covid=np.where(covid == 1, 0.8, 0.3)))
    assert (found["calibration_slope"].value, found["calibration_slope"].reason) == (None, PARTED)
    assert found["brier"].value == pytest.approx((0.2**2 + 0.3**2) / 2)
    assert found["ece"].value == pytest.approx(0.25)
    assert found["calibration_intercept"].value is not None


def test_an_absent_head_has_no_figures_and_each_of_several_datasets_has() -> None:
    images = sample(dataset=["a"] * 300 + ["b"] * 100)
    found = calibration_metrics(images, "test", 20)
    assert {figure.group for figure in found} == {"all", "dataset=a", "dataset=b"}
    assert {figure.metric for figure in found if figure.metric.startswith("unhealthy")} == set()
    assert {figure.group for figure in calibration_metrics(sample(), "test", 20)} == {"all"}
    assert calibration_metrics(scored_images(5), "test", 20) == []


def test_bins_hold_all_images_and_their_shares() -> None:
    images = sample(403)
    bins = reliability(images, "covid", "test", 50)
    assert len(bins) == 10
    assert sum(one.observed.n for one in bins) == 403
    assert {one.observed.n for one in bins} == {40, 41}
    assert all(one.low <= one.mean <= one.high for one in bins)
    assert all(one.high < other.low for one, other in pairwise(bins))
    assert {one.observed.interval for one in bins} == {"wilson"}
    observed, n, means = (
        np.array(values, float)
        for values in zip(*((one.observed.value, one.observed.n, one.mean) for one in bins), strict=True)
    )
    assert (observed * n).sum() == pytest.approx(images["covid"].sum())
    assert measured(images, 5)["ece"].value == pytest.approx((np.abs(means - observed) * n).sum() / 403)


def test_an_errors_interval_is_reflected() -> None:
    figure = Metric("ece", 0.10, 100, "t", "all", low=0.09, high=0.16, interval="patient bootstrap")
    far = error_interval(figure, np.full(100, 0.02))
    assert (far.low, far.high) == pytest.approx((0.04, 0.16))
    assert far.interval == "patient bootstrap, reflected"
    assert error_interval(figure, np.full(100, 0.12)).low == 0
    nothing = Metric("ece", None, 3, "t", "all", reason="too few")
    assert error_interval(nothing, np.zeros(0)) == nothing


@pytest.mark.parametrize(("shift", "slope", "true"), [(0.0, 1.0, 0.0), (1.0, 1.0, 0.171)])
def test_the_reflected_interval_holds_the_true_error(shift: float, slope: float, true: float) -> None:
    """Of calibrated scores the true error is 0: percentiles of draws would hold it in none of 40 samples."""
    held = 0
    for seed in range(40):
        found = measured(sample(150, shift, slope, seed), 60)["ece"]
        held += found.low <= true <= found.high
    assert held >= 33
