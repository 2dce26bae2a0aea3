"""Could the difference of two models on the same images be chance? Randomisation tests that exchange patients.

Were the two alike, what they say of a patient could as well be exchanged between them (all images of the patient
together). The p-value is the share of such exchanges that differ as much as the two really do. A bootstrap's own
p-value would be too small with few positives: of 17, five misses against none give 0.005 there, and 0.06 here.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from comit_ray.statistics.intervals import patient_codes
from comit_ray.statistics.weighted import BoolArray, FloatArray, RankedScores, Rates

Name = TypeVar("Name", bound=Hashable)
BLOCK = 50  # draws at a time
TIE = 1e-9
"""Differences closer than this are the same: they are sums of fractions."""


def rank_test(
    first_SN: npt.NDArray[np.float32],
    second_SN: npt.NDArray[np.float32],
    positive_N: npt.ArrayLike,
    patients: pd.Series,
    figures: Mapping[Name, Callable[[Rates], FloatArray]],
    draws: int,
    seed: int,
) -> dict[Name, float]:
    """Two-sided p-values of the differences in figures that depend on the order of the scores alone.

    Ranks are exchanged, not scores, so that models on other scales can be compared: Bandos et al. 2005, "A permutation
    test sensitive to differences in areas for comparing ROC curves from a paired design", doi:10.1002/sim.2149. Here
    all images of a patient, and all seeds, are exchanged together.

    Args:
        first_SN: finite scores of the first model, (S, N), a row a seed; a figure is averaged over the seeds.
        second_SN: of the second.
        positive_N: (N,) whether each image is positive; both kinds are needed.
        patients: (N,) of the images; a null is a patient of its own.
        figures: name -> (T,) values of T tables.
        draws: exchanges that are drawn at random; the least p-value is 1 / (draws + 1).
        seed: of the draws.
    """
    first, second = (rankdata(scores, axis=1).astype(np.float32) for scores in (first_SN, second_SN))
    seeds, images = first.shape
    codes_N = patient_codes(patients)
    rng = np.random.default_rng(seed)

    def differences(exchanged_BN: BoolArray) -> dict[Name, FloatArray]:
        chosen = exchanged_BN[:, None, :]
        tables = np.stack([np.where(chosen, second, first), np.where(chosen, first, second)])
        rates = RankedScores(tables.reshape(-1, images), positive_N).rates(np.ones(images, np.int64))
        means = {name: figure(rates).reshape(2, -1, seeds).mean(axis=2) for name, figure in figures.items()}
        return {name: mine[0] - mine[1] for name, mine in means.items()}

    observed = differences(np.zeros((1, images), bool))
    as_large = dict.fromkeys(figures, 0)
    for start in range(0, draws, BLOCK):
        exchanged = rng.random((min(BLOCK, draws - start), int(codes_N.max()) + 1)) < 0.5
        for name, values in differences(exchanged[:, codes_N]).items():
            as_large[name] += int((np.abs(values) >= abs(observed[name][0]) - TIE).sum())
    return {name: (1 + count) / (1 + draws) for name, count in as_large.items()}


def flag_test(first_N: npt.ArrayLike, second_N: npt.ArrayLike, patients: pd.Series) -> float:
    """Two-sided p-value of the difference in how many images are flagged, over all exchanges, none drawn.

    With one image a patient it is McNemar's exact test (Q. McNemar 1947, "Note on the sampling error of the difference
    between correlated proportions"); with several it is the same test over patients, whose images go together.

    Args:
        first_N: (N,) whether the first model flags each image, at a threshold that is not from these images.
        second_N: the second.
        patients: (N,) of the images; a null is a patient of its own.
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
