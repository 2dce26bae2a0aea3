"""Numbers are rounded as the field does, and never towards what they claim."""

import pytest

from comit_ray.evaluation.report.printing import cell, interval, number, p_value, points, score
from comit_ray.statistics.metric import OVER_PATIENTS, Metric


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.99999, 4, "1.0000"),
        (0.07306, 4, "0.0731"),  # an error rate: cut it would look better than it is
        (0.00015, 4, "0.0002"),  # halves to even, though neither is exactly a float
        (0.00025, 4, "0.0002"),
        (0.125, 2, "0.12"),
        (0.375, 2, "0.38"),
        (0.29, 4, "0.2900"),  # 0.29 * 10,000 is 2,899.999... in floating point
        (0.1 + 0.2, 4, "0.3000"),
        (-0.12345, 4, "-0.1234"),
        (-0.00001, 4, "0.0000"),
        (0.0, 4, "0.0000"),
        (12_345.67891, 4, "12345.6789"),
        (2 / 3, 3, "0.667"),
    ],
)
def test_a_number_is_rounded_half_to_even(value: float, digits: int, text: str) -> None:
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.19999, 0.30001, "[0.1999, 0.3001]"),
        (0.2, 0.1 + 0.2, "[0.2000, 0.3000]"),  # 0.30000000000000004 is no more than 0.3
        (0.8999999999999999, 0.9, "[0.9000, 0.9000]"),
        (0.0, 1.0, "[0.0000, 1.0000]"),
        (-0.00001, 0.00001, "[-0.0001, 0.0001]"),
        (-0.12345, -0.00001, "[-0.1235, 0.0000]"),
    ],
)
def test_the_ends_of_an_interval_are_rounded_outward(low: float, high: float, text: str) -> None:
    assert interval(low, high) == text


def test_a_score_is_rounded_down_and_does_not_look_as_if_it_reached_its_threshold() -> None:
    assert (score(0.49999), score(0.996, 2), score(0.29, 2), score(1.0)) == ("0.4999", "0.99", "0.29", "1.0000")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0121, "0.013"), (0.05, "0.050"), (1.0, "1.000"), (1.0000001, "1.000"), (1e-15, "0.001")]
)
def test_a_p_value_is_rounded_up(value: float, text: str) -> None:
    assert p_value(value) == text


def test_what_one_patient_is_worth_is_rounded_up() -> None:
    assert [points(count) for count in (1, 3, 17, 100)] == ["100.0", "33.4", "5.9", "1.0"]


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (None, ""),
        (Metric("x", 0.99999, 10, "test", "all"), "1.00 (no interval) (n=10)"),
        (Metric("x", None, 1, "test", "all", patients=1), "undefined (n=1)"),
        (Metric("x", 0.5, 4, "t", "all", low=0.15, high=0.85, interval="wilson"), "0.50 [0.15, 0.85] w (n=4)"),
        (
            Metric("x", 1.0, 40, "t", "all", low=0.8, high=1.0, interval=OVER_PATIENTS, patients=17),
            "1.00 [0.80, 1.00] w (n=40 of 17 patients)",
        ),
        (
            Metric("x", 0.29, 4000, "t", "all", low=0.19999, high=0.30001, interval="patient bootstrap", patients=4000),
            "0.29 [0.19, 0.31] (n=4,000)",
        ),
    ],
)
def test_a_cell_has_its_interval_and_its_n(figure: Metric | None, text: str) -> None:
    assert cell(figure) == text
