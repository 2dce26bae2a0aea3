"""Predictive values at a given prevalence, from a sensitivity and a specificity.

An evaluation set seldom resembles an archive: its share of positives depends on how it was collected. Sensitivity and
specificity do not depend on this share (as long as positives and negatives are of the same kinds); predictive values
do.

Intervals are derived from those of sensitivity and specificity, which come from different images and so are
independent, except for patients with images of both classes. The method is the method of variance estimates recovery,
"MOVER" (G. Y. Zou and A. Donner 2008, "Construction of confidence limits about effect measures: a general approach"; of
a ratio: A. Donner and G. Y. Zou 2012, "Closed-form confidence intervals for functions of the normal mean and standard
deviation", equation 9). A bootstrap would treat a specificity of 1 on 30 images as certain.
"""

import math
from dataclasses import dataclass, replace

from comit_ray.statistics.metric import Metric

METHOD = "MOVER of sensitivity and specificity"
METRICS = ("ppv", "npv", "sent", "sent_per_case")
"""Share of the flagged that is positive; share of the others that is negative; share of images that is flagged and so
sent to readers; images sent per positive image among them."""
UNDEFINED = {
    "ppv": "no image is flagged at this threshold",
    "npv": "every image is flagged at this threshold",
    "sent": "",
    "sent_per_case": "no positive image is flagged at this threshold",
}
NO_END = "its upper end has no bound"


@dataclass(frozen=True)
class Bounded:
    """A share with its interval.

    Args:
        value: measured value.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @property
    def rest(self) -> "Bounded":
        """The complement, 1 minus the share."""
        return Bounded(1 - self.value, 1 - self.high, 1 - self.low)


def at_prevalence(sensitivity: Metric, specificity: Metric, prevalence: float) -> dict[str, Metric]:
    """Returns the metrics of `METRICS`, in its order; null with a reason if undefined.

    Args:
        sensitivity: sensitivity at a threshold.
        specificity: specificity at the same threshold in the same group of images.
        prevalence: share of positive images, between 0 and 1.

    Raises:
        ValueError: the prevalence is outside its range.
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"a prevalence must be above 0 and below 1, got {prevalence}")
    n = sensitivity.n + specificity.n
    reason = "; ".join(dict.fromkeys(one.reason for one in (sensitivity, specificity) if one.reason)) or None
    blank = Metric("", None, n, sensitivity.split, sensitivity.group, sensitivity.at, reason=reason)
    if sensitivity.value is None or specificity.value is None:
        return {name: replace(blank, metric=name) for name in METRICS}
    values = _values(sensitivity.value, specificity.value, prevalence)
    found, rejected = _bounded(sensitivity), _bounded(specificity)
    ends = {} if found is None or rejected is None else _intervals(found, rejected, prevalence)
    metrics = {}
    for name, value in values.items():
        metric = replace(blank, metric=name, value=value)
        if value is None:
            metric = replace(metric, reason=UNDEFINED[name])
        elif name in ends:
            low, high = ends[name]
            bounded = math.isfinite(high)
            metric = (
                replace(metric, low=low, high=high, interval=METHOD, reason=None)
                if bounded
                else replace(metric, reason=NO_END)
            )
        metrics[name] = metric
    return metrics


def ratio_interval(above: Bounded, below: Bounded) -> tuple[float, float]:
    """Returns the interval of the ratio of two independent shares (Donner and Zou 2012, equation 9).

    Its upper end is infinite where the lower end of `below` is 0.
    """
    product = above.value * below.value
    # The equation's lower end, with the difference of roots moved to the denominator: unchanged, it would divide by 0
    # where below.high is twice the value, and lose its digits near there.
    first, last = above.low * (2 * above.value - above.low), below.low * (2 * below.value - below.low)
    root = math.sqrt(max(0.0, product**2 - first * below.high * (2 * below.value - below.high)))
    low = first / (product + root) if first else 0.0
    root = math.sqrt(max(0.0, product**2 - above.high * (2 * above.value - above.high) * last))
    return low, (product + root) / last if last else math.inf


def sum_interval(first: Bounded, second: Bounded, weight: float) -> tuple[float, float]:
    """Returns the interval of weight * first + (1 - weight) * second, of independent shares (Zou and Donner 2008)."""
    value = weight * first.value + (1 - weight) * second.value
    down = math.hypot(weight * (first.value - first.low), (1 - weight) * (second.value - second.low))
    up = math.hypot(weight * (first.high - first.value), (1 - weight) * (second.high - second.value))
    return max(0.0, value - down), min(1.0, value + up)


def _values(sensitivity: float, specificity: float, prevalence: float) -> dict[str, float | None]:
    hits, alarms = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    misses, rejected = prevalence * (1 - sensitivity), (1 - prevalence) * specificity
    return {
        "ppv": hits / (hits + alarms) if hits + alarms else None,
        "npv": rejected / (rejected + misses) if rejected + misses else None,
        "sent": hits + alarms,
        "sent_per_case": (hits + alarms) / hits if hits else None,
    }


def _intervals(sensitivity: Bounded, specificity: Bounded, prevalence: float) -> dict[str, tuple[float, float]]:
    """Computes the intervals; predictive values rise and fall with the likelihood ratios of a flag and of no flag."""
    odds = prevalence / (1 - prevalence)
    flag_low, flag_high = ratio_interval(sensitivity, specificity.rest)
    none_low, none_high = ratio_interval(sensitivity.rest, specificity)
    ppv = _share(odds * flag_low), _share(odds * flag_high)
    return {
        "ppv": ppv,
        "npv": (1 - _share(odds * none_high), 1 - _share(odds * none_low)),
        "sent": sum_interval(sensitivity, specificity.rest, prevalence),
        "sent_per_case": (1 / ppv[1] if ppv[1] else math.inf, 1 / ppv[0] if ppv[0] else math.inf),
    }


def _share(odds: float) -> float:
    return odds / (1 + odds) if math.isfinite(odds) else 1.0


def _bounded(metric: Metric) -> Bounded | None:
    if metric.value is None or metric.low is None or metric.high is None:
        return None
    # A percentile of draws may differ by a rounding error from the value that it bounds.
    return Bounded(metric.value, min(metric.low, metric.value), max(metric.high, metric.value))
