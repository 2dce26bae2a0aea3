import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from comit_ray.reading.agreement import count, measures, with_intervals

BRIXIA = [[320, 45, 5, 0], [138, 165, 57, 9], [23, 46, 121, 29], [2, 6, 62, 124]]
"""Zones of BrixIA's public double reading (192 frontals, 6 zones of 0 to 3): senior reader by junior, counted."""


SUMS = """
17 2 0 0 0 0 1 0 0 0 0 0 0 0 0 0 0 0 0
4 1 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
3 1 2 1 0 0 1 0 0 0 0 0 0 0 0 0 0 0 0
4 2 1 2 3 2 0 0 0 0 0 0 0 0 0 0 0 0 0
3 0 1 6 0 2 0 0 0 1 0 0 0 0 0 0 0 0 0
2 1 0 0 0 0 1 1 1 0 1 0 0 0 0 0 0 0 0
3 0 1 0 3 0 1 4 0 1 1 0 0 0 0 0 0 0 0
1 1 2 0 5 2 2 2 3 0 0 0 0 0 0 0 0 0 0
2 0 1 0 1 1 2 5 0 3 2 1 0 2 0 0 0 0 0
0 0 0 0 0 2 1 0 2 3 2 1 0 0 0 0 0 0 0
0 0 0 0 0 0 1 0 1 1 1 2 0 1 1 0 0 0 0
0 0 0 0 0 0 0 1 2 2 2 4 3 1 0 0 0 0 0
0 0 0 0 0 0 1 0 0 0 1 1 2 4 0 0 0 1 0
0 0 0 0 0 0 0 0 0 0 1 1 5 1 0 0 1 0 0
0 0 0 0 0 0 0 0 0 0 1 0 1 0 1 1 0 1 0
0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0
0 0 0 0 0 0 0 0 0 0 0 1 1 1 2 1 0 0 0
0 0 0 0 0 0 0 0 0 0 0 0 1 0 0 1 0 1 0
0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 2 0
"""
"""The same reading, images counted by the sum of their zones: senior reader (0 to 18, down) by junior (across)."""


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
    """Every figure to three decimals; the counts were checked against the table that BrixIA publishes."""
    found = measures(BRIXIA)
    assert np.sum(BRIXIA) == 192 * 6
    assert f"{found['agreement']:.3f}" == "0.634"
    assert f"{found['kappa_quadratic']:.3f}" == "0.790"
    sums = np.array([line.split() for line in SUMS.split("\n")[1:-1]], int)
    first, second = (np.repeat(place, sums.ravel()) for place in (axis.ravel() for axis in np.indices(sums.shape)))
    assert len(first) == 192
    assert f"{np.corrcoef(first, second)[0, 1]:.3f}" == "0.868"
    abnormal = count(first > 0, second > 0, 2)
    assert abnormal.tolist() == [[17, 3], [22, 150]]
    assert f"{measures(abnormal)['agreement']:.3f}" == "0.870"
    zones = np.repeat(np.indices((4, 4)).reshape(2, -1), np.ravel(BRIXIA), axis=1)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(*zones))
    assert found["kappa_quadratic"] == pytest.approx(cohen_kappa_score(*zones, weights="quadratic"))


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
