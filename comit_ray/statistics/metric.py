"""`Metric`, one number of a report with its interval, and blocks of metrics that are computed together.

All metrics are computed from how often each image counts. So a bootstrap draw is only a set of weights: an image of a
patient drawn twice counts twice, an image of a patient not drawn does not count. Shapes: N images, F metrics. A
`Metric` is one number of a report, as in `metrics.json`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

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
        bounded: whether the metric lies between 0 and 1.
    """

    metric: str
    counted_N: BoolArray
    at: float | str | None = None
    level: Level = "image"
    undefined: str = "there is nothing to count"
    share: bool = False
    all_or_none: bool = False
    positive_N: BoolArray | None = None
    bounded: bool = True


Values = Callable[[IntArray], FloatArray]
"""Maps (N,) weights of images to (F,) values of metrics, NaN where undefined."""


@dataclass(frozen=True)
class Block:
    """Metrics that are computed together.

    Args:
        entries: descriptions of the F metrics.
        values: maps (N,) weights of the images to (F,) values, NaN where undefined.
        of_rows: maps rows (M,) of images to `values` of only these images; None if there is no quicker way than weights
            of 0 for the others. It serves archives with too many images to compute everything again in every draw.
    """

    entries: tuple[MetricEntry, ...]
    values: Values
    of_rows: Callable[[IntArray], Values] | None = None


@dataclass(frozen=True)
class Ratio:
    """A metric that divides one sum over images by another: a share, a mean, or pixels by pixels.

    Args:
        entry: description of the metric.
        parts_N: what the numerator sums; Booleans for a share.
        wholes_N: what the denominator sums.
    """

    entry: MetricEntry
    parts_N: FloatArray | BoolArray
    wholes_N: FloatArray | BoolArray


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
    return Ratio(entry, hits & counted, counted)


def mean(metric: str, values_N: npt.ArrayLike, at: float | str | None = None, undefined: str = "") -> Ratio:
    """Returns the mean of the values that are not NaN."""
    values = np.asarray(values_N, np.float64)
    known = ~np.isnan(values)
    entry = MetricEntry(metric, known, at, undefined=undefined)
    return Ratio(entry, np.where(known, values, 0.0), known.astype(np.float64))


def undefined(metric: str, images: int, why: str) -> Block:
    """Returns a metric without a value, for as many images, none of which count."""
    return Block((MetricEntry(metric, np.zeros(images, bool), undefined=why),), lambda _: np.array([np.nan]))


AT_ONCE = 5_000_000
"""Numbers of ratios and images up to which their sums are one product of matrices."""


def ratios(found: Sequence[Ratio]) -> Block:
    """Returns several ratios as one block."""

    def of_rows(rows_M: IntArray | None) -> Values:
        pairs = [
            tuple(part if rows_M is None else part[rows_M] for part in (one.parts_N, one.wholes_N)) for one in found
        ]
        at_once = bool(pairs) and len(pairs) * len(pairs[0][0]) <= AT_ONCE
        stacked = [np.stack(sums).astype(np.float64) for sums in zip(*pairs, strict=True)] if at_once else []

        def values(weights_N: IntArray) -> FloatArray:
            if at_once:
                part_F, whole_F = (sums_FN @ weights_N for sums_FN in stacked)
            else:
                part_F, whole_F = (
                    np.array([_sum(one, weights_N) for one in sums]) for sums in zip(*pairs, strict=True)
                )
            return np.where(whole_F > 0, part_F / np.where(whole_F > 0, whole_F, 1), np.nan)

        return values

    return Block(tuple(one.entry for one in found), of_rows(None), of_rows)


def of_few(block: Block, rows_M: IntArray, images: int) -> Block:
    """Returns a block of M images as one of all N images, of which the others have no part in it.

    Args:
        block: metrics of the M images.
        rows_M: their places among all images, rising.
        images: N.
    """

    def whole(counted_M: BoolArray) -> BoolArray:
        counted_N = np.zeros(images, bool)
        counted_N[rows_M] = counted_M
        return counted_N

    def of_rows(rows_K: IntArray) -> Values:
        """Of a rising choice of all images."""
        assert block.of_rows is not None, "a block of ratios"
        mine_M = np.isin(rows_M, rows_K)
        few = block.of_rows(np.flatnonzero(mine_M))
        places = np.searchsorted(rows_K, rows_M[mine_M])
        return lambda weights_K: few(weights_K[places])

    entries = (replace(entry, counted_N=whole(entry.counted_N)) for entry in block.entries)
    return Block(tuple(entries), lambda weights_N: block.values(weights_N[rows_M]), of_rows)


def _sum(values_N: FloatArray | BoolArray, weights_N: IntArray) -> float:
    """The weighted sum; Booleans need no copy as numbers."""
    if values_N.dtype == np.bool_:
        return float(weights_N.sum(where=np.asarray(values_N, bool)))
    return float(values_N @ weights_N)
