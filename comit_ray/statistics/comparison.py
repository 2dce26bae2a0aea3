"""Compares a metric of two models on the same images: the difference, its interval, and a p-value.

Patients, not images, are drawn and exchanged (`comit_ray.statistics.exchange`): images of one patient are alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, rankdata

from comit_ray.statistics.exchange import MOST_STEPS, TIE, flag_test, rank_test
from comit_ray.statistics.intervals import Interval, Z, bootstrap, patient_codes, patients_of, scaled, some_patients
from comit_ray.statistics.roc import checked
from comit_ray.statistics.weighted import BoolArray, FloatArray, IntArray, RankedScores, Rates

MCNEMAR, FLAGS = "McNemar, exact", "exchange of patients' flags, exact"
MANY_FLAGS = "exchange of patients' flags, normal approximation"
DELONG, RANKS = "DeLong", "exchange of patients' ranks"
NORMAL = "normal, with the deviation of draws of {:,} patients"
FEWEST_OF_CLASS = 200
"""The fewest drawn patients with images of each class for `NORMAL`; with fewer, patients' ranks are exchanged."""
ENOUGH = 10
"""Least number of images of each class for DeLong's normal approximation."""
NO_VARIANCE = 1e-12


@dataclass(frozen=True)
class Comparison:
    """A metric of two models, and the difference between them.

    Args:
        first: metric of the first model; None if it is undefined.
        second: metric of the second model.
        difference: first - second.
        low: lower end of the 95% interval of the difference.
        high: upper end of this interval.
        p_value: two-sided p-value.
        adjusted: p-value after correction for all comparisons of a family (`holm`); None before the correction.
        method: method of the p-value.
        n: number of images that both models scored.
        reason: why there is no metric, or no interval.
    """

    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    adjusted: float | None
    method: str
    n: int
    reason: str | None = None


def compare_flags(
    first: npt.ArrayLike, second: npt.ArrayLike, patients: pd.Series, draws: int = 1000, seed: int = 0
) -> Comparison:
    """Compares the shares of images that two models flag at stored thresholds; on positives this is the sensitivity.

    McNemar's exact test if no patient has several images, else the same test over patients. The interval comes from a
    bootstrap that draws patients, of many patients from some of them (`intervals.scaled`).

    Args:
        first: (N,) flags of the first model.
        second: (N,) flags of the second model on the same images.
        patients: (N,) patient of each image; a null is a patient of its own.
        draws: number of bootstrap draws.
        seed: seed of the draws.

    Raises:
        ValueError: the lengths differ.
    """
    first_N, second_N = np.asarray(first, bool), np.asarray(second, bool)
    if not first_N.shape == second_N.shape == (len(patients),):
        raise ValueError(
            f"as many flags are needed, got {first_N.shape}, {second_N.shape} and {len(patients)} patients"
        )
    method = MCNEMAR if _alone(patients) else FLAGS
    if not first_N.size:
        return Comparison(None, None, None, None, None, None, None, method, 0, "there is nothing to compare")
    net_N = first_N.astype(np.float64) - second_N
    codes_N = patient_codes(patients)
    if np.count_nonzero(np.bincount(codes_N, net_N)) > MOST_STEPS:
        method = MANY_FLAGS
    some = some_patients(codes_N, seed)
    mine_M, its_M = (net_N, patients) if some is None else (net_N[some[0]], codes_N[some[0]])
    interval = bootstrap(lambda rows: {"": float(mine_M[rows].mean())}, its_M, draws, seed)[""]
    if some is not None:
        people = patients_of(codes_N[some[0]])
        interval = _of_all(interval, float(net_N.mean()), float(mine_M.mean()), some[1], people)
    low, high, reason = interval.low, interval.high, interval.reason
    if not net_N.any():
        low, high, reason = None, None, "both flag the same images"
    one, other = float(first_N.mean()), float(second_N.mean())
    p_value = flag_test(first_N, second_N, patients)
    return Comparison(one, other, one - other, low, high, p_value, None, method, first_N.size, reason)


def compare_auroc(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: pd.Series,
    draws: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compares the areas under two ROC curves.

    DeLong's test and interval (E. R. DeLong et al. 1988, "Comparing the areas under two or more correlated receiver
    operating characteristic curves") if no patient has several images and each class has at least 10; else the exchange
    of patients' ranks, with the interval of the bootstrap.

    Args:
        first: (N,) finite scores of the first model.
        second: (N,) finite scores of the second model on the same images.
        labels: (N,) labels 0 or 1.
        patients: (N,) patient of each image; a null is a patient of its own.
        draws: number of draws of the bootstrap and of the exchange.
        seed: seed of the draws.

    Raises:
        ValueError: other labels, scores that are not finite, or different lengths.
    """
    (first_N, positive_N), (second_N, _) = checked(first, labels), checked(second, labels)
    if len(patients) == first_N.size and _alone(patients) and min(positive_N.sum(), (~positive_N).sum()) >= ENOUGH:
        tables = np.stack([first_N, second_N])
        one, other = (
            float(area) for area in RankedScores(tables, positive_N).rates(np.ones(first_N.size, np.int64)).auroc()
        )
        covariance = delong_covariance(tables, positive_N)
        variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        if variance > NO_VARIANCE:  # otherwise both order the images alike, or perfectly, and the approximation fails
            error = variance**0.5
            p_value = float(2 * norm.sf(abs(one - other) / error))
            low, high = one - other - Z * error, one - other + Z * error
            return Comparison(one, other, one - other, low, high, p_value, None, DELONG, first_N.size)
    return compare_ranked(first, second, labels, patients, Rates.auroc, draws, seed)


def compare_ranked(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: pd.Series,
    metric: Callable[[Rates], npt.NDArray[np.float64]],
    draws: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compares any metric that depends only on the order of the scores, by exchanging patients' ranks.

    Of more than `intervals.MOST_PATIENTS` patients, with enough of each class, the interval comes from draws of so many
    of them and is brought to all; p is that of a normal difference with the deviation of this interval.

    Args:
        first: (N,) finite scores of the first model.
        second: (N,) finite scores of the second model on the same images.
        labels: (N,) labels 0 or 1.
        patients: (N,) patient of each image; a null is a patient of its own.
        metric: function of `comit_ray.statistics.weighted.Rates` that returns one value per table.
        draws: number of draws of the bootstrap (over patients) and of the exchange.
        seed: seed of the draws.

    Raises:
        ValueError: other labels, scores that are not finite, or different lengths.
    """
    (first_N, positive_N), (second_N, _) = checked(first, labels), checked(second, labels)
    if len(patients) != first_N.size:
        raise ValueError(f"a patient an image is needed, got {len(patients)} and {first_N.size}")
    if positive_N.all() or not positive_N.any():
        why = "the images have one class alone" if first_N.size else "there is nothing to compare"
        return Comparison(None, None, None, None, None, None, None, RANKS, first_N.size, why)
    codes_N = patient_codes(patients)
    some = some_patients(codes_N, seed)
    if some is not None and _of_each_class(codes_N[some[0]], positive_N[some[0]]) >= FEWEST_OF_CLASS:
        return _of_many(first_N, second_N, positive_N, codes_N, some, metric, draws, seed)
    ranked = RankedScores(np.stack([first_N, second_N]), positive_N)

    def difference(rows: npt.NDArray[np.int64]) -> dict[str, float | None]:
        drawn = metric(ranked.rates(np.bincount(rows, minlength=first_N.size)))
        return {"": None if np.isnan(drawn).any() else float(drawn[0] - drawn[1])}

    one, other = (float(value) for value in metric(ranked.rates(np.ones(first_N.size, np.int64))))
    interval = bootstrap(difference, patients, draws, seed)[""]
    p_value = rank_test(first_N[None], second_N[None], positive_N, patients, {"": metric}, draws, seed)[""]
    return Comparison(
        one, other, one - other, interval.low, interval.high, p_value, None, RANKS, first_N.size, interval.reason
    )


def _of_each_class(codes_N: IntArray, positive_N: BoolArray) -> int:
    """The number of patients with images of the class that fewer patients have."""
    return min(patients_of(codes_N[positive_N]), patients_of(codes_N[~positive_N]))


def _of_many(
    first_N: npt.NDArray[np.float32],
    second_N: npt.NDArray[np.float32],
    positive_N: BoolArray,
    codes_N: IntArray,
    some: tuple[IntArray, float],
    metric: Callable[[Rates], FloatArray],
    draws: int,
    seed: int,
) -> Comparison:
    """`compare_ranked` for many patients: draws are of some of them, brought to all; p comes from their deviation."""
    rows_M, factor = some
    values = []
    for scores_N in (first_N, second_N):  # one after the other, for their memory
        rates = RankedScores(scores_N[None], positive_N).rates(np.ones(scores_N.size, np.int64))
        values.append(float(metric(rates)[0]))
    one, other = values
    ranked = RankedScores(np.stack([first_N[rows_M], second_N[rows_M]]), positive_N[rows_M])

    def difference(rows: IntArray) -> dict[str, float | None]:
        drawn = metric(ranked.rates(np.bincount(rows, minlength=rows_M.size)))
        return {"": None if np.isnan(drawn).any() else float(drawn[0] - drawn[1])}

    of_some, patients = difference(np.arange(rows_M.size))[""], patients_of(codes_N[rows_M])
    drawn = bootstrap(difference, codes_N[rows_M], draws, seed)[""]
    interval = _of_all(drawn, one - other, np.nan if of_some is None else of_some, factor, patients)
    p_value, reason = None, interval.reason
    if interval.low is not None and interval.high is not None:
        deviation = (interval.high - interval.low) / (2 * Z)
        if deviation > TIE:
            p_value = float(2 * norm.sf(abs(one - other) / deviation))
        elif abs(one - other) <= TIE:
            p_value = 1.0
        else:
            reason = "every draw of patients gives the same difference"
    method, n = NORMAL.format(patients), first_N.size
    return Comparison(one, other, one - other, interval.low, interval.high, p_value, None, method, n, reason)


def _of_all(interval: Interval, value: float, of_some: float, factor: float, patients: int) -> Interval:
    return scaled(interval, value, of_some, factor, patients, bounded=False)


def delong_covariance(scores_TN: npt.ArrayLike, positive_N: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Returns (T, T) covariance of the areas under the ROC curves of T score tables.

    By mid-ranks: X. Sun and W. Xu 2014, "Fast implementation of DeLong's algorithm", doi:10.1109/LSP.2014.2337313.

    Args:
        scores_TN: (T, N) finite scores.
        positive_N: (N,) whether each image is positive; at least two of each kind for a covariance.
    """
    scores, positive = np.asarray(scores_TN), np.asarray(positive_N, bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    together = rankdata(scores, axis=1)
    above_TM = (together[:, positive] - rankdata(scores[:, positive], axis=1)) / negatives
    below_TN = 1 - (together[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / positives
    covariance = np.zeros((len(scores), len(scores)))
    for parts_TM in (above_TM, below_TN):
        if parts_TM.shape[1] > 1:
            covariance += np.cov(parts_TM) / parts_TM.shape[1]
    return covariance


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Returns the comparisons with p-values adjusted by Holm's method; those without a p-value are not counted.

    S. Holm 1979, "A simple sequentially rejective multiple test procedure": if all with an adjusted p-value below 0.05
    are called different, the chance that any of them is not different is at most 5%.
    """
    tested = sorted(
        (i for i, one in enumerate(comparisons) if one.p_value is not None), key=lambda i: _p(comparisons[i])
    )
    found, largest = list(comparisons), 0.0
    for place, number in enumerate(tested):
        largest = max(largest, min(1.0, _p(comparisons[number]) * (len(tested) - place)))
        found[number] = replace(comparisons[number], adjusted=largest)
    return found


def _p(comparison: Comparison) -> float:
    assert comparison.p_value is not None, "only those with a p-value are sorted"
    return comparison.p_value


def _alone(patients: pd.Series) -> bool:
    """Whether no patient has several of the images."""
    codes_N = patient_codes(patients)
    return len(np.unique(codes_N)) == codes_N.size
