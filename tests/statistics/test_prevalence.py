"""Predictive values by hand, their intervals against statsmodels and by counting how often they hold the truth."""

import math

import numpy as np
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from comit_ray.statistics.intervals import wilson
from comit_ray.statistics.metric import Metric
from comit_ray.statistics.prevalence import (
    METHOD,
    METRICS,
    NO_END,
    Bounded,
    at_prevalence,
    ratio_interval,
    sum_interval,
)


def counted(hits: int, n: int) -> Metric:
    interval = wilson(hits, n)
    return Metric("x", hits / n, n, "t", "all", 0.5, interval.low, interval.high, "wilson", n)


def bounded(hits: int, n: int) -> Bounded:
    interval = wilson(hits, n)
    assert interval.low is not None
    assert interval.high is not None
    return Bounded(hits / n, interval.low, interval.high)


def test_one_percent_by_hand() -> None:
    """Of 100,000 images 1,000 are positive, 900 of these flagged, and 9,900 of 99,000 others: 900 of 10,800 = 8.33%."""
    found = at_prevalence(counted(90, 100), counted(900, 1000), 0.01)
    assert tuple(found) == METRICS
    assert found["ppv"].value == pytest.approx(900 / 10_800)
    assert found["npv"].value == pytest.approx(89_100 / 89_200)
    assert found["sent"].value == pytest.approx(0.108)
    assert found["sent_per_case"].value == pytest.approx(12)
    for name, figure in found.items():
        assert (figure.metric, figure.n, figure.at, figure.interval, figure.reason) == (name, 1100, 0.5, METHOD, None)
        assert figure.low < figure.value < figure.high


def test_the_intervals_of_one_percent() -> None:
    """PPV from the ratio of likelihoods; images a case are its inverse, the ends exchanged."""
    found = at_prevalence(counted(90, 100), counted(900, 1000), 0.01)
    low, high = ratio_interval(bounded(90, 100), bounded(100, 1000))
    assert (found["ppv"].low, found["ppv"].high) == pytest.approx((low / (99 + low), high / (99 + high)))
    assert (found["sent_per_case"].low, found["sent_per_case"].high) == pytest.approx(
        (1 / found["ppv"].high, 1 / found["ppv"].low)
    )


@pytest.mark.parametrize("counts", [(90, 100, 100, 1000), (27, 30, 20, 200), (15, 30, 8, 40), (30, 30, 10, 100)])
def test_the_ratios_interval_is_near_the_score_interval(counts: tuple[int, int, int, int]) -> None:
    """Of two binomials, Miettinen and Nurminen's of statsmodels: both ends within 6% of its."""
    hits, positives, alarms, negatives = counts
    theirs = confint_proportions_2indep(hits, positives, alarms, negatives, compare="ratio", method="score")
    found = ratio_interval(bounded(hits, positives), bounded(alarms, negatives))
    assert found == pytest.approx(theirs, rel=0.06)


def test_the_sums_interval_is_newcombes_where_it_is_a_difference() -> None:
    """Half the one and half of what the other leaves: half a difference, and a half (Newcombe 1998, method 10)."""
    low, high = sum_interval(bounded(56, 70), bounded(48, 80).rest, 0.5)
    theirs = confint_proportions_2indep(56, 70, 48, 80, compare="diff", method="newcomb")
    assert (2 * low - 1, 2 * high - 1) == pytest.approx(theirs, abs=1e-9)


def test_no_alarm_among_few_is_not_taken_for_certain() -> None:
    """None of 30 negatives was flagged: of an archive up to 11% may be, and a flag may mean little."""
    found = at_prevalence(counted(15, 20), counted(30, 30), 0.01)
    assert found["ppv"].value == 1
    assert found["ppv"].low < 0.1
    assert found["ppv"].high == 1
    assert found["sent"].value == pytest.approx(0.0075)
    assert found["sent"].high > 0.11


def test_all_found_is_not_taken_for_certain() -> None:
    found = at_prevalence(counted(10, 10), counted(90, 100), 0.2)
    assert found["npv"].value == 1
    assert found["npv"].low < 0.95
    assert found["npv"].high == 1


def test_what_has_no_whole_is_undefined() -> None:
    nothing = at_prevalence(counted(0, 10), counted(20, 20), 0.1)
    assert (nothing["ppv"].value, nothing["ppv"].reason) == (None, "no image is flagged at this threshold")
    assert (nothing["sent_per_case"].value, nothing["sent"].value) == (None, 0)
    everything = at_prevalence(counted(10, 10), counted(0, 20), 0.1)
    assert (everything["npv"].value, everything["npv"].reason) == (None, "every image is flagged at this threshold")
    assert everything["ppv"].value == pytest.approx(0.1)
    none_found = at_prevalence(counted(0, 10), counted(10, 20), 0.1)
    assert none_found["ppv"].value == 0
    assert none_found["ppv"].low == 0
    assert none_found["sent_per_case"].reason == "no positive image is flagged at this threshold"


def test_an_unknown_part_leaves_the_value_without_interval_or_nothing() -> None:
    alone = Metric("x", 0.9, 10, "t", "all", reason="one patient alone")
    found = at_prevalence(alone, counted(9, 10), 0.1)["ppv"]
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.reason) == (None, "one patient alone")
    absent = Metric("x", None, 0, "t", "all", reason="nobody is positive")
    assert {figure.reason for figure in at_prevalence(absent, counted(9, 10), 0.1).values()} == {"nobody is positive"}


def test_a_bootstraps_sensitivity_may_reach_down_to_nothing() -> None:
    """Then there is no most that is read for a case, and no interval is claimed."""
    sensitivity = Metric("x", 0.1, 10, "t", "all", low=0.0, high=0.3, interval="patient bootstrap")
    found = at_prevalence(sensitivity, counted(9, 10), 0.1)
    assert (found["sent_per_case"].low, found["sent_per_case"].reason) == (None, NO_END)
    assert found["ppv"].low == 0


@pytest.mark.parametrize("value", [0.3, 0.45, 0.55, 0.7])
def test_the_ratios_interval_is_equation_9(value: float) -> None:
    """As it is printed, term by term, where nothing is divided by 0."""
    t1, l1, u1, t0, l0, u0 = 0.8, 0.7, 0.9, value, 0.2, 1.0
    low = (t1 * t0 - math.sqrt((t1 * t0) ** 2 - l1 * u0 * (2 * t1 - l1) * (2 * t0 - u0))) / (u0 * (2 * t0 - u0))
    high = (t1 * t0 + math.sqrt((t1 * t0) ** 2 - u1 * l0 * (2 * t1 - u1) * (2 * t0 - l0))) / (l0 * (2 * t0 - l0))
    assert ratio_interval(Bounded(t1, l1, u1), Bounded(t0, l0, u0)) == pytest.approx((low, high))


def test_the_lower_end_is_there_where_the_equation_divides_by_0() -> None:
    """Its denominator is 0 where the upper end is twice the value, 0.5 and 1; the limit is 0.63 / 0.8."""
    low, _ = ratio_interval(Bounded(0.8, 0.7, 0.9), Bounded(0.5, 0.2, 1.0))
    assert low == pytest.approx(0.7 * (1.6 - 0.7) / (2 * 0.8 * 0.5))


@pytest.mark.parametrize("prevalence", [0, 1, -0.1])
def test_a_prevalence_is_a_share(prevalence: float) -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        at_prevalence(counted(1, 2), counted(1, 2), prevalence)


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "positives", "negatives"), [(0.9, 0.9, 30, 200), (0.8, 0.99, 20, 100)]
)
def test_of_100_intervals_about_95_hold_the_truth(
    sensitivity: float, specificity: float, positives: int, negatives: int
) -> None:
    rng = np.random.default_rng(0)
    truth = 0.05 * sensitivity / (0.05 * sensitivity + 0.95 * (1 - specificity))
    sent = 0.05 * sensitivity + 0.95 * (1 - specificity)
    held = np.zeros(2)
    for _ in range(1000):
        found = at_prevalence(
            counted(rng.binomial(positives, sensitivity), positives),
            counted(rng.binomial(negatives, specificity), negatives),
            0.05,
        )
        held += [found[name].low <= value <= found[name].high for name, value in (("ppv", truth), ("sent", sent))]
    assert (held >= 920).all()
    assert held[0] <= 990
