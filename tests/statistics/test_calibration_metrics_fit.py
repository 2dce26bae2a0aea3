"""Logistic recalibration against scikit-learn and statsmodels, and where there is no fit."""

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression

from comit_ray.statistics.calibration_metrics import NEAREST, fit_intercept, fit_slope, log_odds

ONCE = np.ones(400, np.int64)


def sample(seed: int, count: int = 400, shift: float = 0.4, slope: float = 0.6):
    """Log-odds of scores, and labels whose log-odds are shift + slope times those."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-2, 2, count)
    return x, rng.random(count) < 1 / (1 + np.exp(-(shift + slope * x)))


@pytest.mark.parametrize("seed", range(5))
def test_the_slope_is_that_of_scikit_learn(seed: int) -> None:
    x, y = sample(seed)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, None], y)
    assert fit_slope(x, y, ONCE) == pytest.approx((theirs.intercept_[0], theirs.coef_[0, 0]), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_intercept_is_that_of_statsmodels_with_an_offset(seed: int) -> None:
    x, y = sample(seed)
    model = sm.GLM(y.astype(float), np.ones((x.size, 1)), offset=x, family=sm.families.Binomial())
    assert fit_intercept(x, y, ONCE) == pytest.approx(model.fit(tol=1e-12).params[0], abs=1e-7)


def test_a_weight_is_a_repetition() -> None:
    """And where the search begins does not matter."""
    x, y = sample(7)
    rows = np.random.default_rng(1).integers(0, 400, 400)
    weights = np.bincount(rows, minlength=400)
    assert fit_slope(x, y, weights) == pytest.approx(fit_slope(x[rows], y[rows], ONCE))
    assert fit_slope(x, y, weights, (3.0, -2.0)) == pytest.approx(fit_slope(x, y, weights))
    assert fit_intercept(x, y, weights, -4.0) == pytest.approx(fit_intercept(x[rows], y[rows], ONCE))


def test_scores_that_are_probabilities_have_slope_1_and_intercept_0() -> None:
    x, y = sample(3, 200_000, shift=0, slope=1)
    once = np.ones(x.size, np.int64)
    assert fit_slope(x, y, once)[1] == pytest.approx(1, abs=0.03)
    assert fit_intercept(x, y, once) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([-1.0, 0, 1, 2], [0, 0, 1, 1]),
        ([-1.0, 1, 1, 2], [0, 0, 1, 1]),
        ([-1.0, 0, 1, 2], [1, 1, 0, 0]),
        ([1.0, 1, 1, 1], [0, 1, 0, 1]),
        ([-1.0, 0, 1, 2], [1, 1, 1, 1]),
    ],
    ids=["parted", "parted but for a tie", "the wrong way round", "all alike", "one class"],
)
def test_no_slope_where_the_likelihood_has_no_end(x: list[float], y: list[int]) -> None:
    found = fit_slope(np.array(x), np.array(y, bool), np.ones(4, np.int64))
    assert np.isnan(found).all()


def test_an_image_that_was_not_drawn_does_not_keep_the_classes_together() -> None:
    x, y = np.array([-1.0, 0, 1, 2, 3]), np.array([0, 0, 1, 1, 0], bool)
    assert not np.isnan(fit_slope(x, y, np.array([1, 1, 1, 1, 1]))).any()
    assert np.isnan(fit_slope(x, y, np.array([1, 2, 1, 1, 0]))).all()


def test_an_intercept_needs_both_classes() -> None:
    assert np.isnan(fit_intercept(np.array([0.0, 1]), np.array([True, True]), np.ones(2, np.int64)))
    assert np.isfinite(fit_intercept(np.array([0.0, 1]), np.array([False, True]), np.ones(2, np.int64)))


def test_sure_and_wrong_scores_are_no_infinity() -> None:
    """Scores of exactly 0 and 1, some of them of the other class."""
    scores = np.array([0.0] * 20 + [1.0] * 20)
    y = np.array([0] * 18 + [1] * 2 + [1] * 15 + [0] * 5, bool)
    x = log_odds(scores)
    assert x.tolist() == pytest.approx([np.log(NEAREST / (1 - NEAREST))] * 20 + [np.log((1 - NEAREST) / NEAREST)] * 20)
    once = np.ones(40, np.int64)
    intercept, slope = fit_slope(x, y, once)
    # With two different scores the fit is exact: the log-odds of 2 of 20 below, of 15 of 20 above.
    assert intercept + slope * x[0] == pytest.approx(np.log(2 / 18))
    assert intercept + slope * x[-1] == pytest.approx(np.log(15 / 5))
    assert np.isfinite(fit_intercept(x, y, once))
