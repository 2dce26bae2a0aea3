"""Logistic recalibration: how far, and in which way, scores are from the probabilities that the labels suggest.

The log-odds of a positive label are set to `a + b * log-odds of the score` (D. R. Cox 1958, "Two further applications
of a model for binary regression"). The slope is b of the joint fit: below 1 where scores are too extreme. The intercept
is a with b = 1: below 0 where scores are too high throughout (B. Van Calster et al. 2016, "A calibration hierarchy for
risk models was defined", doi:10.1016/j.jclinepi.2015.12.005). Both are fitted by maximum likelihood, each image counted
as often as a bootstrap draw took it. Shapes: N images.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.special import logit

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NEAREST = 2.0**-24
"""Scores nearer than this to 0 or 1, whose log-odds may be infinite, are taken to lie here: float32's step below 1."""
STEPS, ENOUGH = 60, 1e-9
"""Newton steps at most, and the step (in log-odds) below which a fit has ended."""


def log_odds(scores_N: npt.ArrayLike) -> FloatArray:
    """(N,) log-odds of scores 0 to 1, from -16.6 to 16.6."""
    return np.asarray(logit(np.clip(np.asarray(scores_N, np.float64), NEAREST, 1 - NEAREST)))


def fit_slope(
    log_odds_N: FloatArray, positive_N: BoolArray, weights_N: IntArray, start: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float]:
    """Intercept and slope of the joint fit; NaN where there is none.

    There is none where a class is absent, and where a threshold parts the classes or all scores are alike: the
    likelihood then grows without end.

    Args:
        log_odds_N: of the scores.
        positive_N: whether each image is positive.
        weights_N: times that each image counts.
        start: where the search begins; it changes the time, not the result.
    """
    drawn_N = weights_N > 0
    x, y, w = log_odds_N[drawn_N], positive_N[drawn_N], weights_N[drawn_N].astype(np.float64)
    if _apart(x, y):
        return math.nan, math.nan
    return _newton(x, y, w, start, slope=True)


def fit_intercept(log_odds_N: FloatArray, positive_N: BoolArray, weights_N: IntArray, start: float = 0.0) -> float:
    """The intercept of the fit whose slope is 1; NaN where a class is absent. Arguments as of `fit_slope`."""
    drawn_N = weights_N > 0
    x, y, w = log_odds_N[drawn_N], positive_N[drawn_N], weights_N[drawn_N].astype(np.float64)
    if y.all() or not y.any():
        return math.nan
    return _newton(x, y, w, (start, 1.0), slope=False)[0]


def _apart(x_N: FloatArray, positive_N: BoolArray) -> bool:
    """Whether a threshold parts the classes, ties on it allowed, or a class is absent: no finite slope is the best."""
    above, below = x_N[positive_N], x_N[~positive_N]
    if not above.size or not below.size:
        return True
    return bool(below.max() <= above.min() or above.max() <= below.min())


def _newton(
    x_N: FloatArray, positive_N: BoolArray, weights_N: FloatArray, start: tuple[float, float], slope: bool
) -> tuple[float, float]:
    """The maximum of the log-likelihood, which is concave and has one; steps are halved until it grows."""
    a, b = start
    value, p_N = _likelihood(a + b * x_N, positive_N, weights_N)
    for _ in range(STEPS):
        residual_N = weights_N * (positive_N - p_N)
        curve_N = weights_N * p_N * (1 - p_N)
        gradient = float(residual_N.sum()), float(residual_N @ x_N)
        c00, c01, c11 = float(curve_N.sum()), float(curve_N @ x_N), float(curve_N @ x_N**2)
        determinant = c00 * c11 - c01 * c01
        if slope and determinant > 0:
            step = (
                (c11 * gradient[0] - c01 * gradient[1]) / determinant,
                (c00 * gradient[1] - c01 * gradient[0]) / determinant,
            )
        elif not slope and c00 > 0:
            step = gradient[0] / c00, 0.0
        else:  # every p is 0 or 1 to the last digit: there is no curvature to go by
            return math.nan, math.nan
        if max(map(abs, step)) < ENOUGH:
            return a, b
        length = 1.0
        while True:
            tried, p_N = _likelihood(a + length * step[0] + (b + length * step[1]) * x_N, positive_N, weights_N)
            if tried >= value - 1e-12 * abs(value):
                break
            length /= 2
            if length < 1e-6:  # no step helps: the maximum, to the last digit
                return a, b
        a, b, value = a + length * step[0], b + length * step[1], tried
    return math.nan, math.nan


def _likelihood(eta_N: FloatArray, positive_N: BoolArray, weights_N: FloatArray) -> tuple[float, FloatArray]:
    """Log-likelihood of log-odds, and their probabilities, without overflow."""
    small_N = np.exp(-np.abs(eta_N))
    p_N = np.where(eta_N >= 0, 1.0, small_N) / (1 + small_N)
    log_N = np.where(positive_N, eta_N, 0.0) - np.maximum(eta_N, 0) - np.log1p(small_N)
    return float(weights_N @ log_N), p_N
