import numpy as np
import pytest
from scipy.stats import ks_2samp

from comit_ray.screening.drift_signals import gap

RANDOM = np.random.default_rng(0)
DARK, BRIGHT = RANDOM.normal(0.3, 0.05, 150), RANDOM.normal(0.6, 0.05, 150)


def test_of_one_group_it_is_scipys_two_sample_distance() -> None:
    for shift in (0.0, 0.05, 0.5):
        expected = ks_2samp(DARK + shift, DARK[:70]).statistic
        assert gap(DARK + shift, [DARK[:70]]) == pytest.approx((expected, 70))


def test_any_mix_of_the_groups_is_explained() -> None:
    for share in (0.0, 0.1, 0.5, 1.0):
        mixed = np.concatenate([DARK[: round(100 * share)], BRIGHT[: 100 - round(100 * share)]])
        distance, worth = gap(mixed, [DARK, BRIGHT])
        assert distance < 0.08, share
        assert 150 <= worth <= 300.1, "of one group alone as many as it has, of both alike all"
    assert ks_2samp(DARK, np.concatenate([DARK, BRIGHT])).statistic >= 0.5, "against all it would differ"


def test_what_lies_between_the_groups_is_not() -> None:
    between = RANDOM.normal(0.45, 0.01, 100)
    assert gap(between, [DARK, BRIGHT])[0] > 0.4


def test_by_hand() -> None:
    """All values at 2; half of one group at 1 and half at 3: whatever the weights, a half is on the wrong side."""
    assert gap(np.array([2.0, 2.0]), [np.array([1.0, 3.0])])[0] == pytest.approx(0.5)
    assert gap(np.array([2.0]), [np.array([1.0]), np.array([3.0])])[0] == pytest.approx(0.5)
    assert gap(np.array([2.0]), [np.array([1.0]), np.array([2.0])])[0] == pytest.approx(0, abs=1e-9)


def test_many_values_are_compared_at_some_places() -> None:
    values, group = RANDOM.random(3_000), RANDOM.random(3_000) ** 2
    assert gap(values, [group])[0] == pytest.approx(ks_2samp(values, group).statistic, abs=0.01)
