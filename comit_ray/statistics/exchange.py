"""Randomisation tests: could the difference of two models on the same images be chance?

If the models were alike, their results for a patient could be exchanged (for all images of the patient together). The
p-value is the share of such exchanges with a difference at least as large as the observed one. A bootstrap's own
p-value would be too small with few positives: of 17, five misses against none give 0.005 there, and 0.06 here.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, rankdata

from comit_ray.statistics.intervals import patient_codes
from comit_ray.statistics.weighted import BoolArray, FloatArray, RankedScores, Rates

Name = TypeVar("Name", bound=Hashable)
BLOCK, NUMBERS = 50, 10_000_000
"""The most draws that are computed together, and the most scores of such draws, so that memory is bounded."""
MOST_STEPS = 5_000
"""The most patients with different flags for an exact test; its time grows with their square."""
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
    block = max(1, min(BLOCK, NUMBERS // (2 * seeds * images)))  # of any size, the draws are the same
    for start in range(0, draws, block):
        exchanged = rng.random((min(block, draws - start), int(codes_N.max()) + 1)) < 0.5
        for name, values in differences(exchanged[:, codes_N]).items():
            as_large[name] += int((np.abs(values) >= abs(observed[name][0]) - TIE).sum())
    return {name: (1 + count) / (1 + draws) for name, count in as_large.items()}


def flag_test(first_N: npt.ArrayLike, second_N: npt.ArrayLike, patients: pd.Series) -> float:
    """Returns the two-sided p-value for the difference in images flagged, over all exchanges of patients.

    It is exact for at most `MOST_STEPS` patients whose images the models flag differently; else the sum of their signs
    is taken as normal.

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
    if steps.size > MOST_STEPS:
        return float(2 * norm.sf(abs(int(net_P.sum())) / float((steps**2).sum()) ** 0.5))
    # The distribution of the sum of +step or -step, each with probability 1/2, patient by patient.
    chances, reach = np.ones(1), 0
    for step in steps:
        wider = np.zeros(2 * (reach + step) + 1)
        wider[: chances.size] += chances / 2
        wider[2 * step :] += chances / 2
        chances, reach = wider, reach + step
    sums = np.arange(-reach, reach + 1)
    return min(1.0, float(chances[np.abs(sums) >= abs(int(net_P.sum()))].sum()))
