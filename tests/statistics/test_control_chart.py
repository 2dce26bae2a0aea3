import numpy as np
import pytest
from scipy.stats import betabinom

from comit_ray.statistics import control_chart
from tests.benchmarks.monitor_false_alarms import false_alarms

LEVEL = control_chart.look_level(1.0, charts=80, periods_a_year=52)


def test_the_tail_of_few_images_is_that_of_the_beta_binomial_distribution():
    looks = control_chart.shares([2, 1, 0, 3, 9], [40] * 5, LEVEL, least_before=4)
    assert [look.p for look in looks[:4]] == [None] * 4
    known = betabinom(40, 6.5, 154.5)
    assert looks[4].p >= 2 * known.sf(8)
    tails = [min(1.0, 2 * min(known.cdf(k), known.sf(k - 1))) for k in range(41)]
    assert control_chart.tails(40, 6.5, 154.5) == pytest.approx(tails, rel=1e-6)


def test_limits_are_the_counts_at_which_the_alarm_begins():
    before, total = ([3, 5, 2, 4, 6, 3], [100] * 6), 100
    look = control_chart.share_look(4, total, *before, LEVEL, 4)
    high = round(look.high * total)
    assert not control_chart.share_look(high, total, *before, LEVEL, 4).alarm
    assert control_chart.share_look(high + 1, total, *before, LEVEL, 4).alarm
    assert look.expected == 23 / 600


@pytest.mark.parametrize("total", [1_999, 2_001, 3_000_000])
def test_small_and_large_periods_are_judged_alike(total):
    before = [total // 20, total // 19, total // 21, total // 20], [total] * 4
    usual, more = (control_chart.share_look(total // by, total, *before, LEVEL, 4) for by in (20, 8))
    assert not usual.alarm
    assert more.alarm
    assert usual.low < 1 / 20 < usual.high < 1 / 8


def test_periods_that_differed_before_widen_the_limits():
    even = control_chart.share_look(60, 500, [25, 26, 24, 25, 25, 25], [500] * 6, LEVEL, 4)
    uneven = control_chart.share_look(60, 500, [5, 60, 10, 45, 20, 10], [500] * 6, LEVEL, 4)
    assert even.alarm
    assert not uneven.alarm
    assert uneven.high > 1.5 * even.high


def test_an_alarm_is_no_measure_of_what_comes_after_it():
    looks = control_chart.shares([5] * 8 + [90, 90, 90], [100] * 11, LEVEL, least_before=4)
    assert [look.alarm for look in looks] == [False] * 8 + [True] * 3
    assert {look.expected for look in looks[8:]} == {0.05}


def test_what_is_not_comparable_is_not_compared():
    looks = control_chart.shares([5] * 8 + [90] * 5, [100] * 13, LEVEL, 4, comparable=["a"] * 8 + ["b"] * 5)
    assert [look.before for look in looks[8:]] == [0, 1, 2, 3, 4]
    assert not any(look.alarm for look in looks)


def test_a_site_that_falls_silent_is_an_alarm_of_its_count():
    draw = np.random.default_rng(0)
    values = [int(one) for one in draw.poisson(200, 30)]
    assert not any(look.alarm for look in control_chart.counts(values, LEVEL, 8))
    assert control_chart.counts([*values, 0], LEVEL, 8)[-1].alarm


def test_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="a count from 0 to 3, got 4"):
        control_chart.shares([4], [3], LEVEL, 4)


@pytest.mark.parametrize("spread", [1.0, 2.0])
def test_stable_weeks_give_no_more_false_alarms_than_are_borne(spread):
    """One year of 24 charts, at more false alarms than a page bears, so that few simulated years can tell."""
    assert false_alarms(charts=24, images=60, spread=spread, years=1, borne=6.0, seed=1) <= 6.0
