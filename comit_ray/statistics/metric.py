"""`Metric`, one number of a report with its interval, and `measure`, which chooses the kind of interval.

All metrics are computed from how often each image counts. So a bootstrap draw is only a set of weights: an image of a
patient drawn twice counts twice, an image of a patient not drawn does not count. Shapes: N images, F metrics. A
`Metric` is one number of a report, as in `metrics.json`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.statistics.intervals import Interval, bootstrap, newcombe, patient_codes, varied, wilson

Level = Literal["image", "study", "patient"]
"""Unit that is counted: a study or a patient is flagged if any of its images is flagged."""
LEVELS: tuple[Level, ...] = ("image", "study", "patient")


@dataclass(frozen=True)
class Metric:
    """One metric of a group of images, with its 95% interval.

    Args:
        metric: name of the metric; the same for every `at`, group and level.
        value: a fraction; None if it is undefined.
        n: number that the metric is computed from: positives for a sensitivity, negatives for a specificity, flagged
            ones for a precision, otherwise all that count. It counts images, or studies or patients at another `level`.
        split: split that was scored.
        group: `all`, or `dataset=NAME`.
        at: the specificity or sensitivity at which it holds, the name of an operating point, or a status.
        low: lower end of the interval; None if there is no interval.
        high: upper end of the interval.
        interval: method of the interval (`comit_ray.statistics.intervals.Interval`); None if there is no interval.
        patients: number of patients among the `n`; an image without a patient id counts as one.
        level: what is counted.
        reason: why there is no value, or no interval.
    """

    metric: str
    value: float | None
    n: int
    split: str
    group: str
    at: float | str | None = None
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    patients: int | None = None
    level: Level = "image"
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain values, in a fixed order."""
        return asdict(self)


FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

OVER_PATIENTS = "wilson over patients"
"""Interval for a share of 0 or 1, for which every draw of a bootstrap is equal: patients are counted, each as one."""


@dataclass(frozen=True)
class MetricEntry:
    """Description of one metric, without its value.

    Args:
        metric: name of the metric.
        counted_N: the images (at another level: one image per unit) that it is computed from.
        at: as in `Metric`.
        level: as in `Metric`.
        undefined: why it has no value, if it has none.
        share: whether the metric is a share of the counted images at a threshold that does not come from them, so that
            Wilson's interval holds if no patient has several.
        all_or_none: whether 0 and 1 mean that none, or all, of the counted images are hits, as for a share.
        positive_N: for an area under the ROC curve, which of the counted images are positive.
    """

    metric: str
    counted_N: BoolArray
    at: float | str | None = None
    level: Level = "image"
    undefined: str = "there is nothing to count"
    share: bool = False
    all_or_none: bool = False
    positive_N: BoolArray | None = None


@dataclass(frozen=True)
class Block:
    """Metrics that are computed together.

    Args:
        entries: descriptions of the F metrics.
        values: maps (N,) weights of the images to (F,) values, NaN where undefined.
    """

    entries: tuple[MetricEntry, ...]
    values: Callable[[IntArray], FloatArray]


@dataclass(frozen=True)
class Ratio:
    """A metric that divides one sum over images by another: a share, a mean, or pixels by pixels.

    Args:
        entry: description of the metric.
        parts_N: what the numerator sums.
        wholes_N: what the denominator sums.
    """

    entry: MetricEntry
    parts_N: FloatArray
    wholes_N: FloatArray


def share(
    metric: str,
    hits_N: npt.ArrayLike,
    counted_N: npt.ArrayLike,
    at: float | str | None = None,
    level: Level = "image",
    undefined: str = "there is nothing to count",
) -> Ratio:
    """Returns the share of the counted images that are hits."""
    hits, counted = np.asarray(hits_N, bool), np.asarray(counted_N, bool)
    entry = MetricEntry(metric, counted, at, level, undefined, share=True)
    return Ratio(entry, (hits & counted).astype(np.float64), counted.astype(np.float64))


def mean(metric: str, values_N: npt.ArrayLike, at: float | str | None = None, undefined: str = "") -> Ratio:
    """Returns the mean of the values that are not NaN."""
    values = np.asarray(values_N, np.float64)
    known = ~np.isnan(values)
    entry = MetricEntry(metric, known, at, undefined=undefined)
    return Ratio(entry, np.where(known, values, 0.0), known.astype(np.float64))


def undefined(metric: str, images: int, why: str) -> Block:
    """Returns a metric without a value, for as many images, none of which count."""
    return Block((MetricEntry(metric, np.zeros(images, bool), undefined=why),), lambda _: np.array([np.nan]))


def ratios(found: Sequence[Ratio]) -> Block:
    """Returns several ratios as one block."""
    parts_FN, wholes_FN = (np.stack([getattr(one, name) for one in found]) for name in ("parts_N", "wholes_N"))

    def values(weights_N: IntArray) -> FloatArray:
        part_F, whole_F = parts_FN @ weights_N, wholes_FN @ weights_N
        return np.where(whole_F > 0, part_F / np.where(whole_F > 0, whole_F, 1), np.nan)

    return Block(tuple(one.entry for one in found), values)


def measure(
    blocks: Sequence[Block], patients: pd.Series, split: str, group: str, draws: int = 1000, seed: int = 0
) -> list[Metric]:
    """Computes metrics of a group of images with 95% intervals, in the order of the blocks.

    Wilson's interval, if the threshold is stored (not chosen on these images) and no patient has several of the counted
    images. Else the bootstrap that draws patients with all their images and computes everything again, thresholds
    included. If every draw gives the same value, the bootstrap says nothing: a share of none or all then gets Wilson's
    interval over patients, an area of 0 or 1 Newcombe's, and any other metric none.

    Args:
        blocks: the metrics.
        patients: (N,) patient of each image; a null is a patient of its own.
        split: name of the split.
        group: name of the group.
        draws: number of bootstrap draws.
        seed: seed of the draws.
    """
    entries = [entry for block in blocks for entry in block.entries]
    codes_N = patient_codes(patients)

    def values(weights_N: IntArray) -> FloatArray:
        return np.concatenate([block.values(weights_N) for block in blocks])

    whole_F = values(np.ones(len(codes_N), np.int64))
    patients_F = [len(np.unique(codes_N[entry.counted_N])) for entry in entries]
    counts_F = [int(entry.counted_N.sum()) for entry in entries]
    defined = ~np.isnan(whole_F)
    exact = [entry.share and n == count for entry, n, count in zip(entries, counts_F, patients_F, strict=True)]
    drawn = [number for number in range(len(entries)) if defined[number] and not exact[number]]

    def statistics(rows: IntArray) -> dict[str, float | None]:
        found_F = values(np.bincount(rows, minlength=len(codes_N)))
        return {str(number): None if np.isnan(found_F[number]) else float(found_F[number]) for number in drawn}

    intervals = bootstrap(statistics, patients.to_numpy(object), draws, seed) if drawn else {}
    metrics = []
    for number, (entry, n, people) in enumerate(zip(entries, counts_F, patients_F, strict=True)):
        metric = Metric(
            entry.metric, None, n, split, group, entry.at, patients=people, level=entry.level, reason=entry.undefined
        )
        if defined[number]:
            value = float(whole_F[number])
            interval = (
                wilson(round(value * n), n) if exact[number] else _told(intervals[str(number)], value, entry, codes_N)
            )
            method = None if interval.low is None else interval.method
            metric = replace(
                metric, value=value, low=interval.low, high=interval.high, interval=method, reason=interval.reason
            )
        metrics.append(metric)
    return metrics


def _told(interval: Interval, value: float, entry: MetricEntry, codes_N: IntArray) -> Interval:
    """Returns the bootstrap's interval; if all draws gave the same value, another kind of interval or none."""
    if value not in (0, 1) or interval.low is None or interval.low != interval.high:
        return varied(interval)

    def patients(chosen_N: BoolArray) -> int:
        return len(np.unique(codes_N[chosen_N]))

    if entry.positive_N is not None:
        negative_N = entry.counted_N & ~entry.positive_N
        return newcombe(value, patients(entry.counted_N & entry.positive_N), patients(negative_N))
    if entry.share or entry.all_or_none:
        people = patients(entry.counted_N)
        found = wilson(int(value) * people, people)
        return Interval(found.low, found.high, OVER_PATIENTS, found.reason)
    return varied(interval)
