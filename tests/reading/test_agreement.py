import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from comit_ray.reading.agreement import count, measures, with_intervals

BRIXIA = [[320, 45, 5, 0], [138, 165, 57, 9], [23, 46, 121, 29], [2, 6, 62, 124]]
"""Zones of BrixIA's public double reading (192 frontals, 6 zones of 0 to 3): senior reader by junior, counted."""


def two_readers(seed: int, categories: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(seed)  # the same in every version of numpy
    first = rng.randint(0, categories, 200)
    return first, np.where(rng.rand(200) < 0.7, first, rng.randint(0, categories, 200))


@pytest.mark.parametrize("categories", [2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_kappas_are_those_of_scikit_learn(seed, categories):
    first, second = two_readers(seed, categories)
    found = measures(count(first, second, categories))
    assert found["agreement"] == pytest.approx(np.mean(first == second))
    assert found["kappa"] == pytest.approx(cohen_kappa_score(first, second))
    assert found["kappa_quadratic"] == pytest.approx(cohen_kappa_score(first, second, weights="quadratic"))


@pytest.mark.parametrize(
    ("seed", "categories", "ac1", "kappa", "quadratic"),
    [(0, 2, 0.63023, 0.62985, 0.62985), (1, 4, 0.64676, 0.64654, 0.69212), (2, 3, 0.68503, 0.68525, 0.71162)],
)
def test_gwets_ac1_is_that_of_irrcac(seed, categories, ac1, kappa, quadratic):
    """Printed by irrCAC 0.4.4, which does not go with our pandas: `CAC(...).gwet()` and `.conger()`."""
    found = measures(count(*two_readers(seed, categories), categories=categories))
    assert found["ac1"] == pytest.approx(ac1, abs=5e-6)
    assert found["kappa"] == pytest.approx(kappa, abs=5e-6)
    assert found["kappa_quadratic"] == pytest.approx(quadratic, abs=5e-6)


def test_brixias_double_reading_is_reproduced_from_its_counts():
    found = measures(BRIXIA)
    assert np.sum(BRIXIA) == 192 * 6
    assert f"{found['kappa_quadratic']:.3f}" == "0.790"
    assert int(found["agreement"] * 1000) == 633
    assert measures([[17, 3], [22, 150]])["agreement"] == 167 / 192  # abnormal or normal


def test_ac1_does_not_fall_where_nearly_all_are_of_one_category():
    found = measures([[118, 5], [2, 0]])
    assert found["kappa"] < 0 < 0.9 < found["ac1"]


def test_where_there_is_nothing_beyond_chance_there_is_no_kappa():
    assert measures([[10, 0], [0, 0]])["kappa"] is None
    assert measures([[0, 0], [0, 0]]) == dict.fromkeys(("agreement", "kappa", "kappa_quadratic", "ac1"))


def test_the_interval_draws_patients_with_all_their_zones():
    first, second = two_readers(3, 4)
    alone = with_intervals(first, second, 4, range(200), draws=200)["kappa_quadratic"]
    together = with_intervals(first, second, 4, np.repeat(range(20), 10), draws=200)["kappa_quadratic"]
    assert alone[0] == together[0]
    assert alone[1].low < alone[0] < alone[1].high
    assert with_intervals([], [], 4, [])["kappa"][1].reason == "no image was read by both"


@pytest.mark.parametrize("wrong", [([0, 4], [0, 1]), ([0], [0, 1]), ([-1], [0])])
def test_a_category_outside_its_range_is_refused(wrong):
    first, second = wrong
    with pytest.raises(ValueError, match="expected two readings"):
        count(first, second, 4)
