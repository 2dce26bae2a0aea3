"""Can a score be read as a probability? Brier score, calibration error, and the line between score and truth.

All are computed from how often each image counts, so that a bootstrap draw is nothing but other weights.
Shapes: N images, K of them with label and score.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.errors import Status
from comit_ray.evaluation.classification import NAMES, PREFIXES
from comit_ray.evaluation.figure import Figure
from comit_ray.evaluation.measure import Block, BoolArray, Entry, FloatArray, IntArray, Ratio, share
from comit_ray.evaluation.printing import cut
from comit_ray.evaluation.tables import Table

BINS = 10
"""Of equal numbers of images, images of equal scores together, so that each bin's share has something to rest on."""
ENOUGH = 10
"""Positives, and negatives, from which on calibration is judged at all."""
METRICS = ("brier", "ece", "calibration_intercept", "calibration_slope")
OBSERVED = "observed_share"
_EDGE = 1e-7  # a score of exactly 0 or 1 has no finite log-odds; float32 cannot tell 1 from 1 - 1e-8
_STEPS = 30


def block(images: pd.DataFrame, label: str) -> Block:
    """Brier score, expected calibration error, and intercept and slope of recalibration.

    brier: mean of (score - truth)^2 (Brier 1950). ece: mean over `BINS` bins of |mean score - share of positives|, each
    weighted by its images (Naeini et al. 2015, with equal-mass bins); of few images it is above 0 even where the
    scores are right. Intercept and slope: of the logistic regression of truth on the score's log-odds (Cox 1958);
    0 and 1 are right, a slope below 1 says the scores are too extreme, an intercept below 0 that they are too high.

    Args:
        images: of `scores.join_tables`, N of them.
        label: `covid` or `unhealthy`.
    """
    known_N, truth_N, scores_N = _known(images, label)
    positives, negatives = int(truth_N[known_N].sum()), int((~truth_N[known_N]).sum())
    enough = min(positives, negatives) >= ENOUGH
    why = (
        f"at least {ENOUGH} images with {NAMES[label]} and {ENOUGH} without are needed, got {positives} and {negatives}"
    )
    if enough:
        why = "the scores separate the classes, or are all the same: no line can be fitted"
    prefix = PREFIXES[label]
    entries = tuple(Entry(f"{prefix}{metric}", known_N & enough, undefined=why) for metric in METRICS)
    order_K = np.flatnonzero(known_N)[np.argsort(scores_N[known_N], kind="stable")]
    sorted_K, positive_K = scores_N[order_K], truth_N[order_K].astype(np.float64)

    def values(weights_N: IntArray) -> FloatArray:
        weights_K = weights_N[order_K].astype(np.float64)
        if not enough or not weights_K @ positive_K or not weights_K @ (1 - positive_K):
            return np.full(len(METRICS), np.nan)
        brier = float(weights_K @ (sorted_K - positive_K) ** 2 / weights_K.sum())
        bins_K = bins_of(sorted_K, weights_K)
        size_B, score_B, hit_B = (
            np.bincount(bins_K, part_K, BINS) for part_K in (weights_K, weights_K * sorted_K, weights_K * positive_K)
        )
        error = float(np.abs(score_B - hit_B).sum() / size_B.sum())
        return np.array([brier, error, *line(sorted_K, positive_K, weights_K)])

    return Block(entries, values)


def bins_of(sorted_K: FloatArray, weights_K: FloatArray) -> IntArray:
    """(K,) the bin of each score, 0 to `BINS` - 1, of equal weight as far as equal scores, kept together, allow.

    Args:
        sorted_K: scores, rising.
        weights_K: times that each counts.
    """
    until_K = np.cumsum(weights_K)
    middle_K = until_K - weights_K / 2
    is_first = np.ones(len(sorted_K), bool)
    is_first[1:] = sorted_K[1:] != sorted_K[:-1]
    middle_K = middle_K[np.maximum.accumulate(np.where(is_first, np.arange(len(sorted_K)), 0))]  # of equals the first's
    found: IntArray = np.minimum((middle_K * BINS / until_K[-1]).astype(np.int64), BINS - 1)
    return found


def line(scores_K: FloatArray, positive_K: FloatArray, weights_K: FloatArray) -> tuple[float, float]:
    """Intercept and slope of the weighted logistic regression of truth on log-odds; NaN where there is no such line.

    By Newton's method: with two parameters it is a few lines, and a bootstrap needs it a thousand times.
    """
    clipped_K = np.clip(scores_K, _EDGE, 1 - _EDGE)
    x_K2 = np.stack([np.ones(len(scores_K)), np.log(clipped_K / (1 - clipped_K))], axis=1)
    found_2 = np.zeros(2)
    for _ in range(_STEPS):
        expected_K = 1 / (1 + np.exp(-np.clip(x_K2 @ found_2, -50, 50)))
        slope_22 = (x_K2 * (weights_K * expected_K * (1 - expected_K))[:, None]).T @ x_K2
        if np.linalg.cond(slope_22) > 1e12:
            return math.nan, math.nan
        step_2 = np.linalg.solve(slope_22, x_K2.T @ (weights_K * (positive_K - expected_K)))
        found_2 = found_2 + step_2
        if np.abs(step_2).max() < 1e-8:
            return float(found_2[0]), float(found_2[1])
    return math.nan, math.nan


def reliability(images: pd.DataFrame, label: str) -> list[Ratio]:
    """Of each bin the share of positives; `at` is the bin's mean score. Nothing where calibration is not judged."""
    known_N, truth_N, scores_N = _known(images, label)
    if min(int(truth_N[known_N].sum()), int((~truth_N[known_N]).sum())) < ENOUGH:
        return []
    order_K = np.flatnonzero(known_N)[np.argsort(scores_N[known_N], kind="stable")]
    bins_K = bins_of(scores_N[order_K], np.ones(len(order_K)))
    found = []
    for number in np.unique(bins_K):
        inside_N = np.zeros(len(images), bool)
        inside_N[order_K[bins_K == number]] = True
        mean = float(scores_N[inside_N].mean())
        found.append(share(f"{PREFIXES[label]}{OBSERVED}", truth_N, inside_N, mean))
    return found


def table(figures: Sequence[Figure], label: str) -> Table | None:
    """The reliability of one score, bin by bin; None where it is not judged.

    Args:
        figures: of all images, `reliability` measured.
        label: `covid` or `unhealthy`.
    """
    mine = [figure for figure in figures if figure.metric == f"{PREFIXES[label]}{OBSERVED}" and figure.group == "all"]
    rows = tuple(
        (cut(float(figure.at or 0)), cut(figure.value), _interval(figure), f"{figure.n:,}", _gap(figure))
        for figure in mine
        if figure.value is not None
    )
    if not rows:
        return None
    note = (
        f"{BINS} bins of equal numbers of images, equal scores together. Where the interval does not hold the mean "
        "score, the score is no probability there. Shares are those of these images: where the disease is rarer, the "
        "same score means less."
    )
    columns = ("mean score", "share labelled so", "95% interval", "images", "mean score against interval")
    return Table(f"Reliability of the score of {NAMES[label]}", columns, rows, note)


def sentences(figures: Sequence[Figure]) -> list[str]:
    """Whether the scores can be read as probabilities, of these images."""
    found = []
    for label, prefix in PREFIXES.items():
        mine = {figure.metric: figure for figure in figures if figure.group == "all" and figure.level == "image"}
        slope, error = mine.get(f"{prefix}calibration_slope"), mine.get(f"{prefix}ece")
        if slope is None or error is None or slope.value is None or error.value is None:
            continue
        unlike = slope.low is not None and slope.high is not None and not slope.low <= 1 <= slope.high
        what = "too extreme" if slope.value < 1 else "too timid"
        verdict = f"they are {what}" if unlike else "on these images nothing speaks against their spread"
        found.append(
            f"The score of {NAMES[label]} and the truth differ by {cut(error.value)} on average (ECE, {BINS} bins); "
            f"slope of its log-odds {cut(slope.value)}: {verdict}. With another share of the disease it is no "
            "probability."
        )
    return found


def _known(images: pd.DataFrame, label: str) -> tuple[BoolArray, BoolArray, npt.NDArray[np.float64]]:
    """(N,) whether the image has label and score, the truth, and the score (NaN without)."""
    known = (images["status"] == Status.OK) & images[label].notna() & images[f"p_{label}"].notna()
    known_N = known.to_numpy(bool)
    scores_N = images[f"p_{label}"].to_numpy(np.float64, na_value=np.nan)
    return known_N, known_N & (images[label] == 1).to_numpy(bool), scores_N


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return f"none: {figure.reason}"
    return f"[{cut(figure.low)}, {cut(figure.high)}]"


def _gap(figure: Figure) -> str:
    if figure.low is None or figure.high is None or figure.at is None:
        return "-"
    mean = float(figure.at)
    return "too high" if mean > figure.high else "too low" if mean < figure.low else "inside"
