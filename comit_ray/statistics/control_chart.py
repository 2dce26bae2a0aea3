"""Control charts of shares and counts: is this period like all earlier ones together, or has something changed?

A period (a night, a week) has `count` of `total` images with some property. It is compared with all earlier periods
together. An alarm needs two kinds of evidence, and the weaker of the two decides:

1. By chance alone: the exact tail of the beta-binomial distribution that the earlier counts predict (Jeffreys' prior),
   so that three failures of five images are judged as well as three hundred of five thousand.
2. By how much earlier periods differed from each other: as in Laney's p' chart (D. Laney 2002, "Improved control charts
   for attributes", Quality Engineering 14), the width of the limits is multiplied by the spread of the earlier periods'
   z scores, and never made narrower. Shares are compared after the arcsine transformation (Freeman and Tukey 1950).
   The spread is itself an estimate, so the limits are those of Student's t. `BELIEF` periods of mere chance are
   assumed beforehand, because otherwise the first weeks would have no limits.

Many comparisons are made: every chart, every period, both sides. `look_level` divides the accepted false alarms of a
year by the comparisons of a year (Bonferroni), which holds however the charts depend on each other, and by `SAFETY`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, logsumexp, ndtr, stdtr

FloatArray = npt.NDArray[np.float64]

BELIEF = 8
"""Number of assumed periods that differ by chance alone, in addition to the observed ones."""
MOST_OF_AN_ALARM = 16.0
"""Most that an alarm adds to the sum of squares for the spread: four standard deviations."""
SAFETY = 3.0
"""Further divisor of the false alarms, because the spread of periods is estimated: simulated years whose periods differ
twice as much as by chance have two to three times the alarms that the p-values promise."""
EXACT = 2000
"""Most images of a period for which the tail is summed exactly; above, the arcsine of a share counts as normal."""


@dataclass(frozen=True)
class PeriodLook:
    """One period on a chart.

    Attributes:
        count: number of images with the property.
        total: number of images that could have it.
        before: number of periods that it is compared with.
        expected: share of the earlier periods (0..1), or their mean for a chart of counts; None if there is nothing to
            compare with.
        low: least share (or count) without an alarm; None if there are no limits yet.
        high: largest share (or count) without an alarm.
        p: p-value of the two-sided comparison (0..1); None if there was none.
        alarm: whether the period lies outside the limits.
        squared: squared z score by chance alone.
    """

    count: int
    total: int
    before: int
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    alarm: bool = False
    squared: float = 0.0

    @property
    def share(self) -> float | None:
        """Share of the period (0..1); None without images."""
        return self.count / self.total if self.total else None


def look_level(false_alarms: float, charts: int, periods_a_year: float) -> float:
    """Returns the p-value below which one comparison is an alarm.

    Args:
        false_alarms: accepted number of false alarms per year, over all charts together.
        charts: number of charts.
        periods_a_year: number of periods per year on a chart.
    """
    return min(0.05, false_alarms / (SAFETY * max(1.0, charts * periods_a_year)))


def shares(
    counts: Sequence[int],
    totals: Sequence[int],
    level: float,
    least_before: int,
    comparable: Sequence[object] | None = None,
) -> list[PeriodLook]:
    """Makes a chart of shares, with every period against all earlier ones that gave no alarm.

    Args:
        counts: number of images with the property, one per period, in order.
        totals: number of images that could have it, one per period.
        level: p-value of an alarm, from `look_level`.
        least_before: least number of earlier periods with images for limits to exist.
        comparable: values that must be equal for periods to be compared, such as the model; None: all are comparable.

    Raises:
        ValueError: a count is outside 0 to its total.
    """
    looks: list[PeriodLook] = []
    for at, (count, total) in enumerate(zip(counts, totals, strict=True)):
        if not 0 <= count <= total:
            raise ValueError(f"expected a count from 0 to {total}, got {count}")
        mine = [
            one
            for one in range(at)
            if totals[one] and not looks[one].alarm and (comparable is None or comparable[one] == comparable[at])
        ]
        before = [counts[one] for one in mine], [totals[one] for one in mine]
        alarmed = [
            look.squared
            for one, look in enumerate(looks)
            if look.alarm and (comparable is None or comparable[one] == comparable[at])
        ]
        looks.append(share_look(count, total, *before, level, least_before, alarmed))
    return looks


def share_look(
    count: int,
    total: int,
    counts: Sequence[int],
    totals: Sequence[int],
    level: float,
    least_before: int,
    alarmed: Sequence[float] = (),
) -> PeriodLook:
    """Compares one period with earlier ones.

    Args:
        count: number of images with the property.
        total: number of images that could have it.
        counts: number of images with the property in earlier periods.
        totals: number of images that could have it in earlier periods, at least one each.
        level: p-value of an alarm.
        least_before: least number of earlier periods.
        alarmed: `squared` of earlier periods that gave an alarm.
    """
    hits, known = sum(counts), sum(totals)
    if not total or not known:
        return PeriodLook(count, total, len(totals))
    if len(totals) < least_before:
        return PeriodLook(count, total, len(totals), hits / known)
    spread = _spread(counts, totals, hits / known, alarmed)
    p, low, high = _judged(count, total, hits, known, spread, BELIEF + len(totals) - 1, level)
    squared = (float(_arcsine(count, total)) - float(_arcsine(hits, known))) ** 2 * (4 * total + 2)
    return PeriodLook(count, total, len(totals), hits / known, low / total, high / total, p, p < level, squared)


def counts(values: Sequence[int], level: float, least_before: int) -> list[PeriodLook]:
    """Makes a chart of images per period, by square roots, whose variance is a quarter by chance alone.

    Args:
        values: number of images per period, in order; 0 for a period without images.
        level: p-value of an alarm.
        least_before: least number of earlier periods for limits to exist.
    """
    roots_M = np.sqrt(np.asarray(values, np.float64) + 0.375)
    looks: list[PeriodLook] = []
    for at, value in enumerate(values):
        mine = [one for one in range(at) if not looks[one].alarm]
        if len(mine) < max(2, least_before):
            looks.append(PeriodLook(value, value, len(mine)))
            continue
        before_M = roots_M[mine]
        mean, freedom = float(before_M.mean()), len(mine) - 1
        wide = math.sqrt(max(0.25, float(before_M.var(ddof=1))) * (1 + 1 / len(mine)))
        p = 2 * float(stdtr(freedom, -abs(roots_M[at] - mean) / wide))
        reach = _t_quantile(level, freedom) * wide
        low = max(0.0, mean - reach) ** 2 - 0.375
        high = (mean + reach) ** 2 - 0.375
        looks.append(
            PeriodLook(value, value, len(mine), float(mean**2 - 0.375), max(0.0, low), max(0.0, high), p, p < level)
        )
    return looks


def _t_quantile(level: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(-stdtrit(freedom, level / 2))


def _arcsine(count: npt.ArrayLike, total: npt.ArrayLike) -> FloatArray:
    count, total = np.asarray(count, np.float64), np.asarray(total, np.float64)
    return np.arcsin(np.sqrt((count + 0.375) / (total + 0.75)))


def _spread(counts_: Sequence[int], totals: Sequence[int], share: float, alarmed: Sequence[float]) -> float:
    """Returns the variance of the earlier periods over that of chance alone, with `BELIEF` included; at least 1.

    It is the larger of two estimates: from shares after the arcsine transformation, and from counts (Pearson), which
    detects single periods far above a small share. Periods that gave an alarm count too, up to a limit: without them
    the usual spread would seem smaller than it is, and alarms would cause more alarms.
    """
    total_M = np.asarray(totals, np.float64)
    z_M = (_arcsine(counts_, totals) - math.asin(math.sqrt(share))) * np.sqrt(4 * total_M + 2)
    chance_M = total_M * share * (1 - share)
    pearson_M = (np.asarray(counts_) - total_M * share) ** 2 / np.maximum(chance_M, 1e-12)
    squares = max(float((z_M**2).sum()), float(pearson_M.sum()))
    squares += sum(min(one, MOST_OF_AN_ALARM) for one in alarmed)
    return max(1.0, (BELIEF + squares) / (BELIEF + len(z_M) + len(alarmed) - 1))


def _judged(
    count: int, total: int, hits: int, known: int, spread: float, freedom: int, level: float
) -> tuple[float, int, int]:
    """Returns the p-value of a count of `total`, and the least and largest counts that give no alarm."""
    expected = float(_arcsine(hits, known))
    alone = math.sqrt(1 / (4 * total + 2) + 1 / (4 * known + 2))
    wide = alone * math.sqrt(spread)
    if total > EXACT:
        z = abs(float(_arcsine(count, total)) - expected) / wide
        p = 2 * max(float(stdtr(freedom, -z)), float(ndtr(-z * math.sqrt(spread))))
        reach = max(_t_quantile(level, freedom), _t_quantile(level, 10**9) / math.sqrt(spread)) * wide
        ends = (math.sin(min(max(expected + side * reach, 0.0), math.pi / 2)) ** 2 for side in (-1, 1))
        low, high = (min(max(end * (total + 0.75) - 0.375, 0.0), float(total)) for end in ends)
        return p, math.ceil(low), math.floor(high)
    count_K = np.arange(total + 1)
    between_K = 2 * stdtr(freedom, -np.abs(_arcsine(count_K, total) - expected) / wide)
    # Images of one period are alike where periods differ, so the earlier images count as the fewer independent ones.
    typical = known / (freedom - BELIEF + 1)
    alike = (typical - 1) / (spread - 1) - 1 if spread > 1 and typical > spread else math.inf
    worth = min(1.0, alike / (alike + known)) if alike < math.inf else 1.0
    p_K = np.maximum(between_K, tails(total, (hits + 0.5) * worth, (known - hits + 0.5) * worth))
    inside = np.flatnonzero(p_K >= level)
    return float(p_K[count]), int(inside[0]), int(inside[-1])


def tails(total: int, a: float, b: float) -> FloatArray:
    """Returns (total + 1,) twice the smaller tail of the beta-binomial distribution at each count, at most 1."""
    k = np.arange(total + 1)
    log_pmf = (
        gammaln(total + 1) - gammaln(k + 1) - gammaln(total - k + 1)
        + gammaln(k + a) + gammaln(total - k + b) - gammaln(total + a + b)
        - gammaln(a) - gammaln(b) + gammaln(a + b)
    )  # fmt: skip
    pmf = np.exp(log_pmf - logsumexp(log_pmf))
    lower, upper = np.cumsum(pmf), np.cumsum(pmf[::-1])[::-1]
    found: FloatArray = np.minimum(1.0, 2 * np.minimum(lower, upper))
    return found
