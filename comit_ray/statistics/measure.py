"""Measures metrics of a group of images, and chooses the kind of interval of each: Wilson's, or draws of patients."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from comit_ray.statistics.intervals import (
    Interval,
    bootstrap,
    newcombe,
    patient_codes,
    patients_of,
    scaled,
    some_patients,
    varied,
    wilson,
)
from comit_ray.statistics.metric import OVER_PATIENTS, Block, BoolArray, FloatArray, IntArray, Metric, Values


@dataclass(frozen=True)
class _Measured:
    """One metric before it has an interval.

    Args:
        metric: the metric without its interval.
        share: as in `MetricEntry`.
        all_or_none: as in `MetricEntry`.
        bounded: as in `MetricEntry`.
        positives: number of patients with a positive image, for an area under the ROC curve; else None.
        negatives: number of patients with a negative image, in the same way.
    """

    metric: Metric
    share: bool
    all_or_none: bool
    bounded: bool
    positives: int | None
    negatives: int | None

    @property
    def exact(self) -> bool:
        """Whether Wilson's interval holds: no patient has several of the counted images."""
        return self.share and self.metric.n == self.metric.patients

    @property
    def drawn(self) -> bool:
        """Whether the interval comes from draws of patients."""
        return self.metric.value is not None and not self.exact


def measure(
    blocks: Iterable[Block], patients: pd.Series, split: str, group: str, draws: int = 1000, seed: int = 0
) -> list[Metric]:
    """Computes metrics of a group of images with 95% intervals, in the order of the blocks.

    Wilson's interval, if the threshold is stored (not chosen on these images) and no patient has several of the counted
    images. Else the bootstrap that draws patients with all their images and computes everything again, thresholds
    included. If every draw gives the same value, the bootstrap says nothing: a share of none or all then gets Wilson's
    interval over patients, an area of 0 or 1 Newcombe's, and any other metric none.

    Of more than `intervals.MOST_PATIENTS` patients, so many are chosen at random once. The draws are of these, and
    their interval is brought to all patients (`intervals.scaled`). The metric itself is always that of all images.

    Args:
        blocks: the metrics. They are taken one after the other, so that a generator holds one block at a time.
        patients: (N,) patient of each image; a null is a patient of its own.
        split: name of the split.
        group: name of the group.
        draws: number of bootstrap draws.
        seed: seed of the draws.
    """
    codes_N = patient_codes(patients)
    some = some_patients(codes_N, seed)
    found: list[_Measured] = []
    of_draws: list[tuple[Values, list[int]]] = []
    for block in blocks:
        mine = list(_of_block(block, codes_N, split, group))
        drawn = [number for number, one in enumerate(mine) if one.drawn]
        if drawn:
            of_draws.append((block.values if some is None else _of_some(block, some[0], len(codes_N)), drawn))
        found += mine
    intervals = iter(_intervals(of_draws, [one for one in found if one.drawn], codes_N, some, draws, seed))
    return [_with_interval(one, next(intervals) if one.drawn else None) for one in found]


def _of_block(block: Block, codes_N: IntArray, split: str, group: str) -> Iterator[_Measured]:
    """Yields the metrics of a block over all images."""
    people = _People(codes_N)
    for entry, value in zip(block.entries, block.values(np.ones(len(codes_N), np.int64)), strict=True):
        metric = Metric(
            entry.metric,
            None if np.isnan(value) else float(value),
            int(entry.counted_N.sum()),
            split,
            group,
            entry.at,
            patients=people.of(entry.counted_N),
            level=entry.level,
            reason=entry.undefined,
        )
        positives = negatives = None
        if entry.positive_N is not None and metric.value in (0, 1):
            positives = people.of(entry.counted_N & entry.positive_N)
            negatives = people.of(entry.counted_N & ~entry.positive_N)
        yield _Measured(metric, entry.share, entry.all_or_none, entry.bounded, positives, negatives)


class _People:
    """Counts patients; the entries of a block often count the same images, which are counted once.

    Args:
        codes_N: result of `patient_codes`.
    """

    def __init__(self, codes_N: IntArray) -> None:
        self._codes_N, self._count = codes_N, 0
        self._last: BoolArray | None = None

    def of(self, chosen_N: BoolArray) -> int:
        """Returns the number of patients of the chosen images."""
        if chosen_N is not self._last:
            self._last, self._count = chosen_N, patients_of(self._codes_N[chosen_N])
        return self._count


def _of_some(block: Block, rows_M: IntArray, images: int) -> Values:
    """Returns the metrics of a block over some images."""
    if block.of_rows is not None:
        return block.of_rows(rows_M)

    def values(weights_M: IntArray) -> FloatArray:
        weights_N = np.zeros(images, np.int64)
        weights_N[rows_M] = weights_M
        return block.values(weights_N)

    return values


def _intervals(
    of_draws: Sequence[tuple[Values, list[int]]],
    found: Sequence[_Measured],
    codes_N: IntArray,
    some: tuple[IntArray, float] | None,
    draws: int,
    seed: int,
) -> list[Interval]:
    """Returns the bootstrap's interval of each metric that needs one."""
    if not found:
        return []
    mine_M = codes_N if some is None else codes_N[some[0]]

    def values(weights_M: IntArray) -> FloatArray:
        return np.concatenate([of(weights_M)[numbers] for of, numbers in of_draws])

    def statistics(rows: IntArray) -> dict[str, float | None]:
        found_F = values(np.bincount(rows, minlength=len(mine_M)))
        return {str(number): None if np.isnan(value) else float(value) for number, value in enumerate(found_F)}

    told = list(bootstrap(statistics, mine_M, draws, seed).values())
    if some is None:
        return told
    of_some_F, patients = values(np.ones(len(mine_M), np.int64)), patients_of(mine_M)
    return [
        one
        if one.low == one.high
        else scaled(one, float(mine.metric.value or 0), of_some, some[1], patients, mine.bounded)
        for one, mine, of_some in zip(told, found, of_some_F, strict=True)
    ]


def _with_interval(one: _Measured, drawn: Interval | None) -> Metric:
    value = one.metric.value
    if value is None:
        return one.metric
    interval = wilson(round(value * one.metric.n), one.metric.n) if drawn is None else _told(drawn, value, one)
    method = None if interval.low is None else interval.method
    return replace(one.metric, low=interval.low, high=interval.high, interval=method, reason=interval.reason)


def _told(interval: Interval, value: float, one: _Measured) -> Interval:
    """Returns the bootstrap's interval; if all draws gave the same value, another kind of interval or none."""
    if value not in (0, 1) or interval.low is None or interval.low != interval.high:
        return varied(interval)
    if one.positives is not None and one.negatives is not None:
        return newcombe(value, one.positives, one.negatives)
    if one.share or one.all_or_none:
        people = one.metric.patients or 0
        found = wilson(int(value) * people, people)
        return Interval(found.low, found.high, OVER_PATIENTS, found.reason)
    return varied(interval)
