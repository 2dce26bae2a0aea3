"""Calibration in bins: the mean score of a bin compared with its share of positives.

Equal scores are never split. Shapes: N images, G different scores, B bins that hold an image.

The module also computes the logistic recalibration: how far, and in which direction, scores differ from the
probabilities that the labels suggest.

The log-odds of a positive label are modelled as `a + b * log-odds of the score` (D. R. Cox 1958, "Two further
applications of a model for binary regression"). The slope is b of the joint fit: below 1 if scores are too extreme. The
intercept is a with b = 1: below 0 if scores are too high throughout (B. Van Calster et al. 2016, "A calibration
hierarchy for risk models was defined", doi:10.1016/j.jclinepi.2015.12.005). Both are fitted by maximum likelihood, with
each image counted as often as a bootstrap draw took it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import logit

from comit_ray.statistics.intervals import patient_codes, some_patients

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

BinKind = Literal["equal mass", "equal width"]
BINS = 10


@dataclass(frozen=True)
class Binned:
    """Content of each bin, with every image counted as often as a bootstrap draw took it.

    Args:
        images_B: number of images.
        positives_B: number of positive images.
        scores_B: sum of the scores.
    """

    images_B: IntArray
    positives_B: IntArray
    scores_B: FloatArray

    def error(self) -> float:
        """Returns the expected calibration error, |mean score - share of positives| averaged over images, or NaN.

        It is NaN without images. M. P. Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian
        binning", AAAI.
        """
        whole = int(self.images_B.sum())
        return float(np.abs(self.scores_B - self.positives_B).sum() / whole) if whole else float("nan")


class ScoreBins:
    """Scores that are sorted once and put into bins for any weights of the images.

    Args:
        scores_N: scores from 0 to 1; NaN for an image without a score.
        positive_N: whether each image is positive.
    """

    def __init__(self, scores_N: npt.ArrayLike, positive_N: npt.ArrayLike) -> None:
        scores = np.asarray(scores_N, np.float64)
        known = np.flatnonzero(~np.isnan(scores))
        self._images = scores.size
        self._rows_M = known[np.argsort(scores[known], kind="stable")]
        self._scores_G, self._starts_G = np.unique(scores[self._rows_M], return_index=True)
        self._positive_M = np.asarray(positive_N, bool)[self._rows_M]

    def equal_mass(self, weights_N: IntArray, bins: int = BINS) -> Binned:
        """Makes bins with numbers of images as equal as ties allow: equal scores share the first one's bin."""
        images_G, positives_G = self._groups(weights_N)
        return self._binned(_equal_mass(images_G, bins), images_G, positives_G)

    def equal_width(self, weights_N: IntArray, bins: int = BINS) -> Binned:
        """Makes bins of equal width from 0 to 1. A score on a border belongs to the upper bin, 1 to the last."""
        return self._binned(_equal_width(self._scores_G, bins), *self._groups(weights_N))

    def places(self, kind: BinKind, bins: int = BINS) -> IntArray:
        """Returns (N,) the number of each image's bin, counting images once; -1 without a score. Bins may be empty."""
        images_G, _ = self._groups(np.ones(self._images, np.int64))
        places_G = _equal_mass(images_G, bins) if kind == "equal mass" else _equal_width(self._scores_G, bins)
        found = np.full(self._images, -1, np.int64)
        found[self._rows_M] = np.repeat(places_G, images_G)
        return found

    def _groups(self, weights_N: IntArray) -> tuple[IntArray, IntArray]:
        """Returns the number of images and of positives for every score."""
        if not self._rows_M.size:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        weights_M = weights_N[self._rows_M]
        images_G = np.add.reduceat(weights_M, self._starts_G)
        return images_G, np.add.reduceat(weights_M * self._positive_M, self._starts_G)

    def _binned(self, places_G: IntArray, images_G: IntArray, positives_G: IntArray) -> Binned:
        held = images_G > 0
        _, bin_G = np.unique(places_G[held], return_inverse=True)
        images_B = np.bincount(bin_G, images_G[held]).astype(np.int64)
        positives_B = np.bincount(bin_G, positives_G[held]).astype(np.int64)
        scores_B = np.bincount(bin_G, images_G[held] * self._scores_G[held]).astype(np.float64)
        return Binned(images_B, positives_B, scores_B)


def _equal_mass(images_G: IntArray, bins: int) -> IntArray:
    before_G = np.cumsum(images_G) - images_G
    return before_G * bins // max(int(images_G.sum()), 1)


def _equal_width(scores_G: FloatArray, bins: int) -> IntArray:
    return np.minimum((scores_G * bins).astype(np.int64), bins - 1)


def errors_by_chance(
    scores_N: npt.ArrayLike,
    patients: Sequence[object] | npt.NDArray[Any] | pd.Series,
    kind: BinKind = "equal mass",
    draws: int = 1000,
    seed: int = 0,
    bins: int = BINS,
) -> FloatArray:
    """Draws (draws,) expected calibration errors that perfectly calibrated scores would show here by chance.

    Labels are drawn from the scores. Of more than `intervals.MOST_PATIENTS` patients so many are drawn once, and the
    errors are brought to all patients: they shrink with the root of the number of patients.

    With few images the error is above 0 although nothing is wrong; the fewer the
    images, the larger the error. All images of a patient share one random number, so their labels agree as far as their
    scores allow: this is the strongest effect that chance can have.

    Args:
        scores_N: (N,) scores from 0 to 1.
        patients: (N,) patient of each image; a null is a patient of its own.
        kind: kind of the bins.
        draws: number of draws of labels.
        seed: seed of the draws.
        bins: number of bins.

    Raises:
        ValueError: there is no image.
    """
    scores = np.asarray(scores_N, np.float64)
    if not scores.size:
        raise ValueError("an image is needed to draw labels for, got none")
    codes_N, factor = patient_codes(patients), 1.0
    if (some := some_patients(codes_N, seed)) is not None:
        rows, factor = some
        scores, codes_N = scores[rows], patient_codes(codes_N[rows])
    places_N = ScoreBins(scores, np.zeros(scores.size, bool)).places(kind, bins)
    order_N = np.argsort(places_N, kind="stable")
    _, starts_B = np.unique(places_N[order_N], return_index=True)
    codes_N, scores = codes_N[order_N], scores[order_N]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        excess_N = scores - (rng.random(int(codes_N.max()) + 1)[codes_N] < scores)
        found.append(np.abs(np.add.reduceat(excess_N, starts_B)).sum() / scores.size)
    return factor * np.array(found)


NEAREST = 2.0**-24
"""Scores nearer than this to 0 or 1, whose log-odds may be infinite, are set to it: float32's step below 1."""
STEPS, ENOUGH = 60, 1e-9
"""Most Newton steps, and the step (in log-odds) below which a fit ends."""


def log_odds(scores_N: npt.ArrayLike) -> FloatArray:
    """Returns (N,) log-odds of scores 0 to 1, from -16.6 to 16.6."""
    return np.asarray(logit(np.clip(np.asarray(scores_N, np.float64), NEAREST, 1 - NEAREST)))


def fit_slope(
    log_odds_N: FloatArray, positive_N: BoolArray, weights_N: IntArray, start: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float]:
    """Returns the intercept and slope of the joint fit; NaN where no finite fit exists.

    No fit exists if a class is absent, if a threshold separates the classes, or if all scores are equal: the likelihood
    then grows without limit.

    Args:
        log_odds_N: log-odds of the scores.
        positive_N: whether each image is positive.
        weights_N: how often each image counts.
        start: starting point of the search; it changes the time, not the result.
    """
    drawn_N = weights_N > 0
    x, y, w = log_odds_N[drawn_N], positive_N[drawn_N], weights_N[drawn_N].astype(np.float64)
    if _apart(x, y):
        return math.nan, math.nan
    return _newton(x, y, w, start, slope=True)


def fit_intercept(log_odds_N: FloatArray, positive_N: BoolArray, weights_N: IntArray, start: float = 0.0) -> float:
    """Returns the intercept of the fit with slope 1; NaN if a class is absent. Arguments as in `fit_slope`."""
    drawn_N = weights_N > 0
    x, y, w = log_odds_N[drawn_N], positive_N[drawn_N], weights_N[drawn_N].astype(np.float64)
    if y.all() or not y.any():
        return math.nan
    return _newton(x, y, w, (start, 1.0), slope=False)[0]


def _apart(x_N: FloatArray, positive_N: BoolArray) -> bool:
    """Whether a threshold separates the classes, ties allowed, or a class is absent; then no finite slope is best."""
    above, below = x_N[positive_N], x_N[~positive_N]
    if not above.size or not below.size:
        return True
    return bool(below.max() <= above.min() or above.max() <= below.min())


def _newton(
    x_N: FloatArray, positive_N: BoolArray, weights_N: FloatArray, start: tuple[float, float], slope: bool
) -> tuple[float, float]:
    """Maximises the log-likelihood, which is concave with one maximum; steps are halved until it grows."""
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
        else:  # every p is 0 or 1 to the last digit, so there is no curvature
            return math.nan, math.nan
        if max(map(abs, step)) < ENOUGH:
            return a, b
        length = 1.0
        while True:
            tried, p_N = _likelihood(a + length * step[0] + (b + length * step[1]) * x_N, positive_N, weights_N)
            if tried >= value - 1e-12 * abs(value):
                break
            length /= 2
            if length < 1e-6:  # no step helps: this is the maximum to the last digit
                return a, b
        a, b, value = a + length * step[0], b + length * step[1], tried
    return math.nan, math.nan


def _likelihood(eta_N: FloatArray, positive_N: BoolArray, weights_N: FloatArray) -> tuple[float, FloatArray]:
    """Returns the log-likelihood of log-odds, and their probabilities, without overflow."""
    small_N = np.exp(-np.abs(eta_N))
    p_N = np.where(eta_N >= 0, 1.0, small_N) / (1 + small_N)
    log_N = np.where(positive_N, eta_N, 0.0) - np.maximum(eta_N, 0) - np.log1p(small_N)
    return float(weights_N @ log_N), p_N
