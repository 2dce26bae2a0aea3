"""Formats numbers: rounded half to even, the ends of an interval outward, p-values up, scores down.

Rounding never makes an interval narrower or a p-value smaller: it always rounds away from the claim.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from comit_ray.statistics.intervals import NEWCOMBE, WILSON
from comit_ray.statistics.metric import OVER_PATIENTS, Metric
from comit_ray.tables.vocabulary import counted

DIGITS = 4
"""Digits after the decimal point of a fraction, unless the caller asks for another number."""
NOISE = 8
"""Number of digits, beyond those printed, that rounding considers; further digits are floating-point noise."""
ROUNDING = "Numbers are rounded half to even, ends of intervals outward, p-values up, scores of single images down."
"""The sentence of a report about its rounding."""


def number(value: float, digits: int = DIGITS) -> str:
    """The value with `digits` digits after the decimal point, rounded half to even."""
    return _rounded(value, digits, ROUND_HALF_EVEN)


def interval(low: float, high: float, digits: int = DIGITS) -> str:
    """The interval `[low, high]`; the lower end is rounded down and the upper end up."""
    return f"[{_rounded(low, digits, ROUND_FLOOR)}, {_rounded(high, digits, ROUND_CEILING)}]"


def p_value(value: float, digits: int = 3) -> str:
    """The p-value, rounded up, at most 1 and never 0, because a smaller one claims more."""
    return _rounded(min(max(value, 10.0**-digits), 1.0), digits, ROUND_CEILING)


def score(value: float, digits: int = DIGITS) -> str:
    """The score of one image, rounded down, so that 0.4999 never looks as if it reached a threshold of 0.5."""
    return _rounded(value, digits, ROUND_FLOOR)


def points(count: int) -> str:
    """How many percentage points one of `count` cases is worth, rounded up: no metric of these cases is finer."""
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
    """A threshold with three significant digits. The exact thresholds, which decide flags, are in tables/."""
    return f"{value:.3g}"


def cell(metric: Metric | None, count: str | None = None) -> str:
    """The cell of a metric: its value, its interval (w: Wilson's, p: Newcombe's), and the number of images.

    The number of patients is added if it differs from n.

    Args:
        metric: the metric; None gives an empty cell.
        count: positives and negatives, such as "30 + 195"; None gives n.
    """
    if metric is None:
        return ""
    told = count or f"n={metric.n:,}"
    if metric.patients is not None and metric.patients != metric.n:
        told += f" of {counted(metric.patients, 'patient')}"
    if metric.value is None:
        return f"undefined ({told})"
    return f"{with_interval(metric)} ({told})"


def with_interval(metric: Metric) -> str:
    """The value and its interval, with as many digits as the interval supports; `undefined` without a value."""
    if metric.value is None:
        return "undefined"
    digits = supported(metric.low, metric.high)
    if metric.low is None or metric.high is None:
        return f"{number(metric.value, digits)} (no interval)"
    mark = {WILSON: " w", OVER_PATIENTS: " w", NEWCOMBE: " p"}.get(metric.interval or "", "")
    return f"{number(metric.value, digits)} {interval(metric.low, metric.high, digits)}{mark}"


def _rounded(value: float, digits: int, rounding: str) -> str:
    """Rounds the shortest decimal that gives the same float: 0.00015 counts as a half, though no float equals it."""
    exact = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits - NOISE), ROUND_HALF_EVEN)
    found = exact.quantize(Decimal(1).scaleb(-digits), rounding)
    return f"{found if found else abs(found):f}"
