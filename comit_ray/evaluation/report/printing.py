"""Formats numbers: rounded half to even, the ends of an interval outward.

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


def supported(low: float | None, high: float | None) -> int:
    """Digits after the point that an interval supports: 2; more of a narrow one, fewer of one wider than 1 or 5.

    Without an interval nothing says how exact a value is: 2.
    """
    if low is None or high is None:
        return 2
    width = high - low
    return next((digits for digits, widest in ((4, 0.002), (3, 0.02), (2, 1.0), (1, 5.0)) if width <= widest), 0)


def three_digits(value: float) -> str:
    """A threshold to three significant digits, rounded half to even; tables/ has those that decide."""
    return f"{value:.3g}"


def cell(metric: Metric | None, count: str | None = None) -> str:
    """The value, its interval (w: Wilson's, p: Newcombe's) and what it is taken over.

    Args:
        metric: None gives an empty cell.
        count: such as "30 + 195": positives and negatives; None: n. Patients are added where these are fewer.
    """
    if metric is None:
        return ""
    fewer = metric.patients is not None and metric.patients != metric.n
    told = count or f"n={metric.n:,}"
    told += f" of {metric.patients:,} patients" if fewer else ""
    if metric.value is None:
        return f"undefined ({told})"
    return f"{with_interval(metric)} ({told})"


def with_interval(metric: Metric) -> str:
    """The value and its interval, with as many digits as the interval supports."""
    if metric.value is None:
        return "undefined"
    digits = supported(metric.low, metric.high)
    if metric.low is None or metric.high is None:
        return f"{number(metric.value, digits)} (no interval)"
    mark = {WILSON: " w", OVER_PATIENTS: " w", NEWCOMBE: " p"}.get(metric.interval or "", "")
    return f"{number(metric.value, digits)} {interval(metric.low, metric.high, digits)}{mark}"


def _rounded(value: float, digits: int, rounding: str) -> str:
    """Through the shortest decimal that gives the same float: 0.00015 is a half, though no float is exactly it."""
    exact = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits - NOISE), ROUND_HALF_EVEN)
    found = exact.quantize(Decimal(1).scaleb(-digits), rounding)
    return f"{found if found else abs(found):f}"
