"""How numbers are printed: rounded half to even, an interval's ends outward, with what they are taken over.

An interval is never made narrower than it is, and a p-value never smaller: their ends are rounded away from the claim.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from comit_ray.statistics.intervals import NEWCOMBE, WILSON
from comit_ray.statistics.metric import OVER_PATIENTS, Metric

DIGITS = 4
"""Of a fraction, where nothing else is said."""
NOISE = 8
"""Digits beyond those printed that are looked at: what lies behind them is the rounding of floating point."""
ROUNDING = "Numbers are rounded half to even, the ends of intervals outward and p-values up."
"""What a report says of its numbers."""


def number(value: float, digits: int = DIGITS) -> str:
    """The value with so many digits after the point, rounded half to even."""
    return _rounded(value, digits, ROUND_HALF_EVEN)


def interval(low: float, high: float, digits: int = DIGITS) -> str:
    """`[low, high]`, the lower end rounded down and the upper one up."""
    return f"[{_rounded(low, digits, ROUND_FLOOR)}, {_rounded(high, digits, ROUND_CEILING)}]"


def p_value(value: float, digits: int = 3) -> str:
    """Rounded up, at most 1: a smaller one claims more."""
    return _rounded(min(value, 1.0), digits, ROUND_CEILING)


def score(value: float, digits: int = DIGITS) -> str:
    """A model's score of one image, rounded down: 0.4999 has not reached a threshold of 0.5, nor is 0.996 a 1."""
    return _rounded(value, digits, ROUND_FLOOR)


def points(count: int) -> str:
    """What one of so many is worth in percentage points, rounded up: metrics are no finer than that."""
    return _rounded(100 / count, 1, ROUND_CEILING)


def cell(figure: Metric | None) -> str:
    """The value, its interval (w: Wilson's, p: Newcombe's) and its n, with the patients where these are fewer."""
    if figure is None:
        return ""
    fewer = figure.patients is not None and figure.patients != figure.n
    count = f"n={figure.n:,} of {figure.patients:,} patients" if fewer else f"n={figure.n:,}"
    if figure.value is None:
        return f"undefined ({count})"
    return f"{with_interval(figure)} ({count})"


def with_interval(figure: Metric) -> str:
    """The value and its interval."""
    if figure.value is None:
        return "undefined"
    if figure.low is None or figure.high is None:
        return number(figure.value)
    mark = {WILSON: " w", OVER_PATIENTS: " w", NEWCOMBE: " p"}.get(figure.interval or "", "")
    return f"{number(figure.value)} {interval(figure.low, figure.high)}{mark}"


def _rounded(value: float, digits: int, rounding: str) -> str:
    """Through the shortest decimal that gives the same float: 0.00015 is a half, though no float is exactly it."""
    exact = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits - NOISE), ROUND_HALF_EVEN)
    found = exact.quantize(Decimal(1).scaleb(-digits), rounding)
    return f"{found if found else abs(found):f}"
