"""Compares two models on the same images: differences, and permutation tests.

Randomisation tests ask whether the difference of two models on the same images could be chance. If the models were
alike, their results for a patient could be exchanged (for all images of the patient together). The p-value is the share
of such exchanges with a difference at least as large as the observed one. A bootstrap's own p-value would be too small
with few positives: of 17, five misses against none give 0.005 there, and 0.06 here.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, rankdata

from comit_ray.statistics.intervals import Z, bootstrap, patient_codes
from comit_ray.statistics.roc import checked
from comit_ray.statistics.weighted import BoolArray, FloatArray, RankedScores, Rates

Name = TypeVar("Name", bound=Hashable)
BLOCK = 50  # number of draws computed together
TIE = 1e-9
"""Differences closer than this count as equal: they are sums of fractions."""


def rank_test(
    first_SN: npt.NDArray[np.float32],
    second_SN: npt.NDArray[np.float32],
    positive_N: npt.ArrayLike,
    patients: pd.Series,
    metrics: Mapping[Name, Callable[[Rates], FloatArray]],
    draws: int,
    seed: int,
) -> dict[Name, float]:
    """Returns two-sided p-values for differences in metrics that depend only on the order of the scores.

    Ranks are exchanged instead of scores, so that models on different scales can be compared: Bandos et al. 2005, "A
    permutation test sensitive to differences in areas for comparing ROC curves from a paired design",
    doi:10.1002/sim.2149. Here all images of a patient, and all seeds, are exchanged together.

    Args:
        first_SN: finite scores of the first model, (S, N), one row per seed; a metric is averaged over the seeds.
        second_SN: finite scores of the second model.
        positive_N: (N,) whether each image is positive; both classes must occur.
        patients: (N,) patient of each image; a null is a patient of its own.
        metrics: name -> function that returns (T,) values for T tables.
        draws: number of random exchanges; the smallest possible p-value is 1 / (draws + 1).
        seed: seed of the draws.
    """
    first, second = (rankdata(scores, axis=1).astype(np.float32) for scores in (first_SN, second_SN))
    seeds, images = first.shape
    codes_N = patient_codes(patients)
    rng = np.random.default_rng(seed)

    def differences(exchanged_BN: BoolArray) -> dict[Name, FloatArray]:
        chosen = exchanged_BN[:, None, :]
        tables = np.stack([np.where(chosen, second, first), np.where(chosen, first, second)])
        rates = RankedScores(tables.reshape(-1, images), positive_N).rates(np.ones(images, np.int64))
        means = {name: metric(rates).reshape(2, -1, seeds).mean(axis=2) for name, metric in metrics.items()}
        return {name: mine[0] - mine[1] for name, mine in means.items()}

    observed = differences(np.zeros((1, images), bool))
    as_large = dict.fromkeys(metrics, 0)
    for start in range(0, draws, BLOCK):
        exchanged = rng.random((min(BLOCK, draws - start), int(codes_N.max()) + 1)) < 0.5
        for name, values in differences(exchanged[:, codes_N]).items():
            as_large[name] += int((np.abs(values) >= abs(observed[name][0]) - TIE).sum())
    return {name: (1 + count) / (1 + draws) for name, count in as_large.items()}


def flag_test(first_N: npt.ArrayLike, second_N: npt.ArrayLike, patients: pd.Series) -> float:
    """Returns the exact two-sided p-value for the difference in images flagged, over all exchanges of patients.

    With one image per patient this is McNemar's exact test (Q. McNemar 1947, "Note on the sampling error of the
    difference between correlated proportions"). With several it is the same test over patients, whose images stay
    together.

    Args:
        first_N: (N,) whether the first model flags each image, at a threshold that does not come from these images.
        second_N: the same for the second model.
        patients: (N,) patient of each image; a null is a patient of its own.
    """
    net_N = np.asarray(first_N, bool).astype(np.int64) - np.asarray(second_N, bool)
    net_P = np.bincount(patient_codes(patients), net_N).astype(np.int64)
    steps = np.abs(net_P[net_P != 0])
    # The distribution of the sum of +step or -step, each with probability 1/2, patient by patient.
    chances, reach = np.ones(1), 0
    for step in steps:
        wider = np.zeros(2 * (reach + step) + 1)
        wider[: chances.size] += chances / 2
        wider[2 * step :] += chances / 2
        chances, reach = wider, reach + step
    sums = np.arange(-reach, reach + 1)
    return min(1.0, float(chances[np.abs(sums) >= abs(int(net_P.sum()))].sum()))


MCNEMAR, FLAGS = "McNemar, exact", "exchange of patients' flags, exact"
DELONG, RANKS = "DeLong", "exchange of patients' ranks"
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
    bootstrap that draws patients.

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
    interval = bootstrap(lambda rows: {"": float(net_N[rows].mean())}, patients, draws, seed)[""]
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
