"""The spread over seeds."""

import statistics

import pytest

from comit_ray.statistics.intervals import Spread, spread


def test_mean_and_deviation_are_those_of_the_standard_library() -> None:
    values = [0.872, 0.848, 0.864]
    found = spread([*values, None])
    assert found.mean == pytest.approx(statistics.mean(values))
    assert found.deviation == pytest.approx(statistics.stdev(values))
    assert (found.low, found.high, found.n, found.missing) == (0.848, 0.872, 3, 1)


def test_one_seed_has_no_deviation_and_none_has_nothing() -> None:
    assert spread([0.5, None]) == Spread(0.5, None, 0.5, 0.5, 1, 1)
    assert spread([None, None]) == Spread(None, None, None, None, 0, 2)
    assert spread([]) == Spread(None, None, None, None, 0, 0)


def test_nan_is_no_value() -> None:
    with pytest.raises(ValueError, match="finite or None, got nan"):
        spread([0.5, float("nan")])
