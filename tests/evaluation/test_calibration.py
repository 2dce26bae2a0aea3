"""Calibration against scikit-learn, torchmetrics and statsmodels, and what is not judged."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import binary_calibration_error

from comit_ray.evaluation import calibration
from comit_ray.evaluation.calibration_picture import reliability as picture
from comit_ray.evaluation.measure import measure, ratios

METRICS = ("brier", "ece", "calibration_intercept", "calibration_slope")


def _images(images: int = 3_000, seed: int = 0, slope: float = 1.0) -> pd.DataFrame:
    """Scores whose log-odds are `slope` times too extreme; every tenth image without a label."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, 1.5, images)
    truth = rng.random(images) < 1 / (1 + np.exp(-logit))
    labels = truth.astype(float)  # as pandas reads a column of 0, 1 and null
    labels[::10] = np.nan
    return pd.DataFrame(
        {
            "status": "ok",
            "covid": labels,
            "p_covid": (1 / (1 + np.exp(-slope * logit))).astype(np.float32),
            "patient_id": None,
        }
    )


def _known(images: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    known = images[images["covid"].notna()]
    return known["p_covid"].to_numpy(np.float64), known["covid"].to_numpy(np.int64)


def _values(images: pd.DataFrame, weights: np.ndarray | None = None) -> dict[str, float]:
    found = calibration.block(images, "covid").values(np.ones(len(images), np.int64) if weights is None else weights)
    return dict(zip(METRICS, found.tolist(), strict=True))


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_figures_are_those_of_libraries(slope: float) -> None:
    images = _images(slope=slope)
    scores, truth = _known(images)
    found = _values(images)
    assert found["brier"] == pytest.approx(brier_score_loss(truth, scores))
    logit = np.log(scores / (1 - scores))
    fitted = sm.Logit(truth, sm.add_constant(logit)).fit(disp=0).params
    assert (found["calibration_intercept"], found["calibration_slope"]) == pytest.approx(tuple(fitted), abs=1e-5)
    assert found["calibration_slope"] == pytest.approx(1 / slope, rel=0.15)
    # Equal-mass bins as scikit-learn's calibration_curve(strategy="quantile") has them, here by hand.
    edges = np.array_split(np.argsort(scores, kind="stable"), 10)
    by_hand = sum(len(one) * abs(scores[one].mean() - truth[one].mean()) for one in edges) / len(scores)
    assert found["ece"] == pytest.approx(by_hand, abs=0.005)


def test_bins_of_equal_width_and_of_equal_mass_agree_where_scores_are_spread_evenly() -> None:
    rng = np.random.default_rng(1)
    scores = (np.arange(1000) + 0.5) / 1000
    truth = rng.random(1000) < scores
    images = pd.DataFrame({"status": "ok", "covid": truth.astype(int), "p_covid": scores.astype(np.float32)})
    theirs = binary_calibration_error(torch.tensor(scores), torch.tensor(truth.astype(int)), n_bins=10, norm="l1")
    assert _values(images)["ece"] == pytest.approx(float(theirs), abs=1e-4)


def test_an_image_drawn_twice_counts_twice() -> None:
    images = _images(100)
    weights = np.random.default_rng(2).integers(0, 3, 100)
    repeated = images.loc[np.repeat(np.arange(100), weights)].reset_index(drop=True)
    assert _values(images, weights) == pytest.approx(_values(repeated))


def test_equal_scores_are_in_one_bin() -> None:
    bins = calibration.bins_of(np.repeat([0.1, 0.5, 0.9], [50, 3, 47]), np.ones(100))
    assert len(set(bins[:50].tolist())) == len(set(bins[53:].tolist())) == 1


def test_right_scores_have_a_slope_of_1_inside_the_interval_and_extreme_ones_not() -> None:
    for slope, right in ((1.0, True), (3.0, False)):
        images = _images(slope=slope)
        figures = measure([calibration.block(images, "covid")], images["patient_id"], "test", "all", 200)
        found = {figure.metric: figure for figure in figures}["calibration_slope"]
        assert found.low is not None
        assert found.high is not None
        assert (found.low <= 1 <= found.high) == right
        (said,) = calibration.sentences(figures)
        assert ("they are too extreme" in said) != right


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"covid": 0}, "at least 10 images with COVID-19 and 10 without are needed, got 0 and 3000"),
        ({"p_covid": np.float32(0.5)}, "no line can be fitted"),
    ],
)
def test_what_cannot_be_judged_is_null_with_its_reason(change: dict[str, float], words: str) -> None:
    images = _images().assign(**change)
    figures = measure([calibration.block(images, "covid")], images["patient_id"], "test", "all", 20)
    found = {figure.metric: figure for figure in figures}["calibration_slope"]
    assert found.value is None
    assert found.reason is not None
    assert words in found.reason


def test_scores_that_separate_the_classes_have_no_line() -> None:
    images = pd.DataFrame({"status": "ok", "covid": [0] * 20 + [1] * 20, "p_covid": [0.2] * 20 + [0.7] * 20})
    found = _values(images)
    assert np.isnan(found["calibration_slope"])
    assert found["brier"] == pytest.approx((0.2**2 + 0.3**2) / 2, abs=1e-6)


def test_the_table_says_where_scores_are_too_high(tmp_path: Path) -> None:
    images = _images()
    images["p_covid"] = np.sqrt(images["p_covid"])
    figures = measure([ratios(calibration.reliability(images, "covid"))], images["patient_id"], "test", "all", 50)
    table = calibration.table(figures, "covid")
    assert table is not None
    assert len(table.rows) == 10
    assert [row[4] for row in table.rows].count("too high") >= 5
    assert sum(int(row[3]) for row in table.rows) == 2_700
    drawn = picture(images, figures, str(tmp_path))
    assert drawn.files == ("figures/reliability.png", "figures/reliability.svg")
    assert picture(images, [], str(tmp_path)).reason is not None
