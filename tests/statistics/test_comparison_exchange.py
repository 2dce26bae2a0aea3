"""Tests that exchange patients: against McNemar's, of clusters, of seeds, and their level."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar

from comit_ray.statistics.exchange import flag_test, rank_test
from comit_ray.statistics.weighted import Rates

FIGURES = {"auroc": Rates.auroc, "at 90": lambda rates: rates.sensitivity(0.9)}
POSITIVE = np.arange(117) < 17


def _scores(missed: int) -> np.ndarray:
    """(1, 117): 17 positives above all negatives, but for the first `missed`, which lie below."""
    scores = np.concatenate([np.full(17, 2.0), np.linspace(0.1, 1, 100)])
    scores[:missed] = np.linspace(0, 0.05, missed)
    return scores[None].astype(np.float32)


def _test(
    first: np.ndarray, second: np.ndarray, positive: np.ndarray, patients: pd.Series, draws: int, seed: int
) -> dict[str, float]:
    return rank_test(first, second, positive, patients, FIGURES, draws, seed)


@pytest.mark.parametrize("missed", [1, 3, 5, 8])
def test_is_mcnemars_exact_test_for_one_seed_and_one_image_a_patient(missed: int) -> None:
    patients = pd.Series([f"p{number}" for number in range(117)])
    found = _test(_scores(missed), _scores(0), POSITIVE, patients, 4_000, 1)
    assert found["at 90"] == pytest.approx(binomtest(missed, missed).pvalue, abs=0.02)


def test_images_of_one_patient_are_exchanged_together() -> None:
    """Eight misses of two patients say as little as two misses."""
    patients = pd.Series(["p"] * 4 + ["q"] * 4 + [None] * 109)
    found = _test(_scores(8), _scores(0), POSITIVE, patients, 2_000, 1)
    assert found["at 90"] == pytest.approx(0.5, abs=0.04)


def test_the_seeds_of_a_patient_are_exchanged_together() -> None:
    """Three equal seeds say no more than one."""
    one = _test(_scores(5), _scores(0), POSITIVE, pd.Series([None] * 117), 1_000, 1)
    first, second = (np.repeat(scores, 3, axis=0) for scores in (_scores(5), _scores(0)))
    assert _test(first, second, POSITIVE, pd.Series([None] * 117), 1_000, 1) == one


def test_holds_its_level_where_variants_are_alike() -> None:
    """Of 200 pairs without a difference about 5% have p <= 0.05."""
    rng = np.random.default_rng(0)
    low = dict.fromkeys(FIGURES, 0)
    for number in range(200):
        positive = rng.random(60) < 0.3
        truth = rng.normal(size=60) + positive
        first, second = ((truth + rng.normal(size=60))[None].astype(np.float32) for _ in range(2))
        for key, p_value in _test(first, second, positive, pd.Series([None] * 60), 99, number).items():
            low[key] += p_value <= 0.05
    assert all(count <= 20 for count in low.values()), low  # 10 are expected; above 20: one in a thousand
    assert low["auroc"] >= 2


def _alone(count: int) -> pd.Series:
    return pd.Series([None] * count, dtype=object)


@pytest.mark.parametrize("seed", range(5))
def test_flags_of_one_image_a_patient_are_mcnemars_exact_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random(80) < 0.5, rng.random(80) < 0.35
    table = [[int((first == a)[second == b].sum()) for b in (True, False)] for a in (True, False)]
    assert flag_test(first, second, _alone(80)) == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_flags_of_patients_with_several_images_are_every_exchange() -> None:
    """Against all 2^6 exchanges, one by one."""
    rng = np.random.default_rng(3)
    patients = pd.Series(rng.integers(6, size=25)).astype(str)
    first, second = rng.random(25) < 0.7, rng.random(25) < 0.4
    net = pd.Series(first.astype(int) - second.astype(int)).groupby(patients).sum()
    sums = [abs(int(net @ signs)) for signs in map(np.array, itertools.product((1, -1), repeat=len(net)))]
    expected = np.mean(np.array(sums) >= abs(int(net.sum())))
    assert flag_test(first, second, patients) == pytest.approx(expected)


def test_flags_that_are_the_same_have_p_1() -> None:
    assert flag_test([True, False], [True, False], _alone(2)) == 1


def test_flags_of_one_patient_are_one_observation() -> None:
    """Eight misses of one patient say nothing."""
    patients = pd.Series(["p"] * 8)
    assert flag_test(np.ones(8, bool), np.zeros(8, bool), patients) == 1
    assert flag_test(np.ones(8, bool), np.zeros(8, bool), _alone(8)) == pytest.approx(2 / 2**8)
