"""Confidence intervals (95% by default): Wilson's for one share, the bootstrap by patient for other metrics.

It also computes the spread of a metric over seeds, which shows what another initialisation and order of training
change.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

IntArray = npt.NDArray[np.int64]

LEVEL = 0.95
Z = 1.959963984540054
"""The 97.5% point of the standard normal distribution."""
MOST_UNDEFINED = 0.05
"""Share of draws without a value above which there is no interval, because the rest would not represent all draws."""
WILSON, NEWCOMBE = "wilson", "newcombe over patients"
PATIENTS, IMAGES = "patient bootstrap", "image bootstrap"


@dataclass(frozen=True)
class Interval:
    """A 95% interval.

    Args:
        low: lower end; None if there is no interval.
        high: upper end.
        method: `wilson`, `patient bootstrap`, or `image bootstrap` if no patient has several images, so that patients
            and images are the same.
        reason: why there is no interval.
    """

    low: float | None
    high: float | None
    method: str
    reason: str | None = None


def wilson(hits: int, n: int, level: float = LEVEL) -> Interval:
    """Computes Wilson's score interval of a share. It needs independent cases, and a threshold that is not from them.

    E. B. Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Args:
        hits: number of hits, 0 to n.
        n: number of cases; without cases there is no interval.
        level: confidence level, between 0 and 1.

    Raises:
        ValueError: hits outside 0 to n.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"hits must be from 0 to n, got {hits} of {n}")
    if n == 0:
        return Interval(None, None, WILSON, "there is nothing to count")
    share = hits / n
    z = Z if level == LEVEL else float(ndtri((1 + level) / 2))
    middle = share + z**2 / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    whole = 1 + z**2 / n
    # With no hits, or only hits, one end is exact; rounding would shift it a little.
    low, high = (middle - half) / whole, (middle + half) / whole
    return Interval(0.0 if hits == 0 else low, 1.0 if hits == n else high, WILSON)


def newcombe(area: float, positives: int, negatives: int) -> Interval:
    """Computes Newcombe's score interval of an area under the ROC curve; it also works for areas of 0 and 1.

    R. G. Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2",
    method 5: the areas t with |area - t| = z * sqrt(V(t)), where V is the variance of Hanley and McNeil (1982) with the
    mean number of both classes in place of each.

    Args:
        area: the area, 0 to 1.
        positives: number of independent positives, at least 1.
        negatives: number of independent negatives, at least 1.
    """
    if min(positives, negatives) < 1:
        return Interval(None, None, NEWCOMBE, "one class alone")
    others = (positives + negatives) / 2 - 1

    def beyond(t: float) -> float:
        spread = 1 + others * ((1 - t) / (2 - t) + t / (1 + t))
        return (area - t) ** 2 - Z**2 * t * (1 - t) * spread / (positives * negatives)

    from scipy.optimize import brentq  # late: half a second of CPU, and a screen imports this module at its start

    low = 0.0 if area == 0 else brentq(beyond, 0, area - 1e-12)
    high = 1.0 if area == 1 else brentq(beyond, area + 1e-12, 1)
    return Interval(float(low), float(high), NEWCOMBE)


def bootstrap(
    statistics: Callable[[IntArray], Mapping[str, float | None]],
    clusters: Sequence[object] | npt.NDArray[Any] | pd.Series,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Computes percentile intervals of many statistics, from the same draws of patients.

    A draw takes as many patients as there are, with replacement, each with all their images. Images of one patient are
    alike; drawn one by one they would make the interval too narrow. Everything that a statistic derives from the
    images, thresholds included, is derived again in each draw.

    Args:
        statistics: takes (M,) rows of the drawn images, a row as often as it was drawn, and returns name -> value, None
            if undefined. Every draw must return the same names.
        clusters: (N,) patient of each image; a null is a patient of its own.
        draws: number of draws, at least 1.
        seed: seed of the draws.

    Returns:
        Name -> interval. It has no ends but a reason if there is only one patient, or if more than 5% of the draws have
            no value.

    Raises:
        ValueError: there is no image, or no draw.
    """
    codes_N = patient_codes(clusters)
    if not codes_N.size or draws < 1:
        raise ValueError(f"at least one image and one draw are needed, got {codes_N.size} and {draws}")
    order_N = np.argsort(codes_N, kind="stable")
    sizes_C = np.bincount(codes_N)
    starts_C = np.cumsum(sizes_C) - sizes_C
    method = PATIENTS if sizes_C.max() > 1 else IMAGES
    if sizes_C.size == 1:
        names = statistics(np.arange(codes_N.size))
        return {
            name: Interval(None, None, method, "one patient alone: there is nothing to draw from") for name in names
        }
    rng = np.random.default_rng(seed)
    found: dict[str, list[float | None]] = {}
    for _ in range(draws):
        chosen = rng.integers(sizes_C.size, size=sizes_C.size)
        for name, value in statistics(order_N[_spans(starts_C[chosen], sizes_C[chosen])]).items():
            found.setdefault(name, []).append(value)
    return {name: _percentiles(values, draws, method) for name, values in found.items()}


def varied(interval: Interval) -> Interval:
    """Returns the bootstrap's interval unless all its draws gave the same value: a point would claim certainty."""
    if interval.low is None or interval.low != interval.high:
        return interval
    return Interval(None, None, interval.method, "every draw of patients gives the same value")


MOST_PATIENTS = 50_000
"""Patients above which an interval comes from draws of so many of them (`some_patients`)."""
SCALED = "{}, scaled from {:,} patients"


def some_patients(codes_N: IntArray, seed: int = 0, most: int = MOST_PATIENTS) -> tuple[IntArray, float] | None:
    """Draws patients without replacement where there are too many to compute everything again in every draw.

    Args:
        codes_N: result of `patient_codes`.
        seed: seed of the draw.
        most: number of patients to draw.

    Returns:
        The rows (M,) of the drawn patients in order, and the factor by which an interval from them is too wide, turned
            over: sqrt(drawn / all). None if there are no more than `most` patients.
    """
    patients = int(codes_N.max(initial=-1)) + 1
    if patients <= most:
        return None
    taken_C = np.zeros(patients, bool)
    taken_C[np.random.default_rng(seed).choice(patients, most, replace=False)] = True
    return np.flatnonzero(taken_C[codes_N]), math.sqrt(most / patients)


def scaled(interval: Interval, value: float, of_some: float, factor: float, patients: int, bounded: bool) -> Interval:
    """Brings the interval of a metric over some patients to all patients.

    The deviations of a draw shrink with the root of the number of patients (the m out of n bootstrap of P. Bickel,
    F. Goetze and W. van Zwet 1997, "Resampling fewer than n observations").

    Args:
        interval: interval of the metric over the drawn patients.
        value: the metric over all patients.
        of_some: the metric over the drawn patients.
        factor: of `some_patients`.
        patients: number of drawn patients, for the name of the method.
        bounded: whether the metric lies between 0 and 1.
    """
    method = SCALED.format(interval.method, patients)
    if interval.low is None or interval.high is None or math.isnan(of_some):
        return Interval(None, None, method, interval.reason or f"the metric has no value over {patients:,} patients")
    low, high = (value + (end - of_some) * factor for end in (interval.low, interval.high))
    return Interval(max(0.0, low), min(1.0, high), method) if bounded else Interval(low, high, method)


def patient_codes(patients: Sequence[object] | npt.NDArray[Any] | pd.Series) -> IntArray:
    """Returns codes (N,): a whole number from 0 for each patient; a null is a patient of its own."""
    whole = isinstance(patients, pd.Series | np.ndarray) and pd.api.types.is_integer_dtype(patients.dtype)
    values = patients if whole else np.asarray(patients, dtype=object)  # whole numbers need no Python object each
    found: IntArray = pd.factorize(values)[0].astype(np.int64, copy=False)  # type: ignore[arg-type]
    alone = found < 0
    found[alone] = found.max(initial=-1) + 1 + np.arange(int(alone.sum()))
    return found


def patients_of(codes_M: IntArray) -> int:
    """Returns the number of different patients among codes (M,) of `patient_codes`."""
    return int(np.count_nonzero(np.bincount(codes_M)))


def _spans(starts: IntArray, sizes: IntArray) -> IntArray:
    """Returns start, start + 1, ... of every span, one span after another."""
    ends = np.cumsum(sizes)
    rows: IntArray = np.arange(ends[-1]) + np.repeat(starts - (ends - sizes), sizes)
    return rows


def _percentiles(values: list[float | None], draws: int, method: str) -> Interval:
    defined = [value for value in values if value is not None]
    undefined = draws - len(defined)
    if undefined > MOST_UNDEFINED * draws:
        return Interval(None, None, method, f"{undefined:,} of {draws:,} draws of patients have no value")
    low, high = np.percentile(defined, (2.5, 97.5))
    return Interval(float(low), float(high), method)


@dataclass(frozen=True)
class Spread:
    """Spread of a metric over the seeds that have a value.

    Args:
        mean: mean of the values; None if no seed has a value.
        deviation: standard deviation with n - 1; None for fewer than two values.
        low: lowest value.
        high: highest value.
        n: number of seeds with a value.
        missing: number of seeds without a value.
    """

    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None
    n: int
    missing: int


def spread(values: Sequence[float | None]) -> Spread:
    """Computes the spread of a metric over seeds.

    Args:
        values: one value per seed; None if it is undefined or the seed failed.

    Raises:
        ValueError: a value is not finite; undefined values must be None.
    """
    known = np.array([value for value in values if value is not None], np.float64)
    if not np.isfinite(known).all():
        raise ValueError(f"values must be finite or None, got {known[~np.isfinite(known)][0]}")
    missing = len(values) - known.size
    if not known.size:
        return Spread(None, None, None, None, 0, missing)
    deviation = float(known.std(ddof=1)) if known.size > 1 else None
    return Spread(float(known.mean()), deviation, float(known.min()), float(known.max()), known.size, missing)
