"""Computes the outcomes of a site at every threshold, and recommends one (after the toolkit of WHO and TDR).

An image with a known truth stands for `weight` images of the archive. How many images are read at a threshold is
counted over all scored images, and needs no truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.evaluation import subgroups
from comit_ray.statistics.intervals import Interval, bootstrap

FloatArray = npt.NDArray[np.float64]
GROUPS = ("age", "sex", "view", "site")


@dataclass(frozen=True)
class Row:
    """One threshold in one group of images. The counts are estimates for the archive: sums of the images' weights.

    Args:
        group: `all`, or a subgroup such as `sex=F`.
        threshold: an image is flagged if its score is at or above this value.
        tp: true positives.
        fp: false positives.
        tn: true negatives.
        fn: false negatives.
        sensitivity: tp / (tp + fn); None without positives.
        specificity: tn / (tn + fp); None without negatives.
        ppv: positive predictive value, tp / (tp + fp).
        npv: negative predictive value, tn / (tn + fn).
        images_read: scored images of the archive that are flagged.
        cost_per_case: cost of screening all images and reading the flagged ones, divided by tp.
        judged: images whose truth is known, without weights.
        judged_positive: positive ones among them.
    """

    group: str
    threshold: float
    tp: float
    fp: float
    tn: float
    fn: float
    sensitivity: float | None
    specificity: float | None
    ppv: float | None
    npv: float | None
    images_read: int
    cost_per_case: float | None
    judged: int
    judged_positive: int

    def to_json(self) -> dict[str, Any]:
        """Return the row as a dictionary of plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Recommended:
    """An operating point for this site; if `threshold` is None, `reason` says why.

    Args:
        threshold: threshold of the score.
        at: the row of the table for all images at this threshold.
        sensitivity: sensitivity there with its 95% interval, by a bootstrap of patients.
        specificity: specificity there with its interval.
        moved: interval of the threshold itself, which every draw chooses anew; None if the capacity decides.
        reason: why none is recommended.
    """

    threshold: float | None
    at: Row | None = None
    sensitivity: Interval | None = None
    specificity: Interval | None = None
    moved: Interval | None = None
    reason: str | None = None


def table(
    judged: pd.DataFrame, scored: pd.DataFrame, thresholds: Sequence[float], cost_screened: float, cost_read: float
) -> list[Row]:
    """Make one row for every threshold: for all images, and for every group by age band, sex, view and site.

    Args:
        judged: `score`, `truth` (bool), `weight` and the columns `GROUPS` of the images whose truth is known.
        scored: `score` and the columns `GROUPS` of all scored images.
        thresholds: thresholds, in any order.
        cost_screened: cost of screening one image.
        cost_read: cost of reading one image.
    """
    parts = {"all": (judged, scored)}
    for attribute in GROUPS:
        of_judged, of_all = subgroups.grouped(judged, attribute), subgroups.grouped(scored, attribute)
        parts |= {name: (of_judged[name], rows) for name, rows in of_all.items() if name in of_judged}
    costs = (cost_screened, cost_read)
    return [row for name, (mine, all_) in parts.items() for row in _rows(name, mine, all_, thresholds, costs)]


def grid(scores: FloatArray, most: int) -> list[float]:
    """Choose the thresholds for the table: every different score, or `most` of them evenly spaced by rank."""
    different = np.unique(scores)
    if different.size > most:
        different = different[np.unique(np.linspace(0, different.size - 1, most).round().astype(int))]
    return [float(value) for value in different]


def recommend(
    judged: pd.DataFrame,
    scored: pd.DataFrame,
    *,
    sensitivity: float | None,
    capacity: int | None,
    fewest: float,
    draws: int,
    seed: int,
    costs: tuple[float, float] = (0.0, 0.0),
) -> Recommended:
    """Recommend the highest threshold that reaches a sensitivity, or the lowest that a reading capacity allows.

    Args:
        judged: as in `table`, with the column `patient_id`.
        scored: as in `table`.
        sensitivity: the sensitivity to reach; ignored if `capacity` is given.
        capacity: number of images of the archive that can be read.
        fewest: smallest weighted number of positives for which a threshold is recommended.
        draws: number of bootstrap draws.
        seed: seed of the draws.
        costs: costs of one screening and of one reading.
    """
    score, truth, weight = _columns(judged)
    positives = float(weight[truth].sum())
    if truth.all():
        return Recommended(None, reason="no negative image is known, at least 1 is needed")
    if positives < fewest:
        return Recommended(None, reason=f"{positives:.0f} positive images are known, at least {fewest:g} are needed")

    def choose(rows: npt.NDArray[np.int64]) -> float | None:
        if capacity is not None:
            return within_capacity(scored["score"].to_numpy(np.float64), capacity)
        assert sensitivity is not None, "the configuration asks for one of both"
        return reaching(score[rows], truth[rows], weight[rows], sensitivity)

    chosen = choose(np.arange(len(score)))
    if chosen is None:
        return Recommended(
            None, reason=f"more than {capacity:,} images have the highest score: no threshold fits the capacity"
        )

    def drawn(rows: npt.NDArray[np.int64]) -> Mapping[str, float | None]:
        hit, sick, heavy = score[rows] >= chosen, truth[rows], weight[rows]
        return {
            "sensitivity": _share(heavy[sick & hit], heavy[sick]),
            "specificity": _share(heavy[~sick & ~hit], heavy[~sick]),
            "threshold": choose(rows),
        }

    found = bootstrap(drawn, judged["patient_id"], draws, seed)
    moved = None if capacity is not None else found["threshold"]
    at = _rows("all", judged, scored, [chosen], costs)[0]
    return Recommended(chosen, at, found["sensitivity"], found["specificity"], moved)


def reaching(score: FloatArray, truth: npt.NDArray[np.bool_], weight: FloatArray, sensitivity: float) -> float | None:
    """Return the highest threshold that finds at least this share of the positive weight; None without positives."""
    order = np.argsort(-score[truth], kind="stable")
    values, heavy = score[truth][order], weight[truth][order]
    if not values.size:
        return None
    reached = np.cumsum(heavy) / heavy.sum()
    return float(values[min(int(np.argmax(reached >= sensitivity - 1e-12)), values.size - 1)])


def within_capacity(scores: FloatArray, capacity: int) -> float | None:
    """Return the lowest threshold that flags at most `capacity` images; None if even the highest score flags more."""
    different, counted = np.unique(scores, return_counts=True)
    flagged = np.cumsum(counted[::-1])[::-1]
    fits = np.flatnonzero(flagged <= capacity)
    return float(different[fits[0]]) if fits.size else None


def _rows(
    group: str, judged: pd.DataFrame, scored: pd.DataFrame, thresholds: Sequence[float], costs: tuple[float, float]
) -> list[Row]:
    score, truth, weight = _columns(judged)
    every = scored["score"].to_numpy(np.float64)
    found = []
    for threshold in thresholds:
        hit = score >= threshold
        tp, fp = float(weight[hit & truth].sum()), float(weight[hit & ~truth].sum())
        tn, fn = float(weight[~hit & ~truth].sum()), float(weight[~hit & truth].sum())
        read = int((every >= threshold).sum())
        cost = (every.size * costs[0] + read * costs[1]) / tp if tp > 0 else None
        row = Row(
            group=group,
            threshold=float(threshold),
            tp=tp,
            fp=fp,
            tn=tn,
            fn=fn,
            sensitivity=_of(tp, fn),
            specificity=_of(tn, fp),
            ppv=_of(tp, fp),
            npv=_of(tn, fn),
            images_read=read,
            cost_per_case=cost,
            judged=len(judged),
            judged_positive=int(truth.sum()),
        )
        found.append(row)
    return found


def _columns(judged: pd.DataFrame) -> tuple[FloatArray, npt.NDArray[np.bool_], FloatArray]:
    return (
        judged["score"].to_numpy(np.float64),
        judged["truth"].to_numpy(np.bool_),
        judged["weight"].to_numpy(np.float64),
    )


def _share(part: FloatArray, whole: FloatArray) -> float | None:
    return float(part.sum() / whole.sum()) if whole.sum() > 0 else None


def _of(part: float, rest: float) -> float | None:
    return part / (part + rest) if part + rest > 0 else None
