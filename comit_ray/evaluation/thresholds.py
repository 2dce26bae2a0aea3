"""Outcomes at every threshold, as in WHO/TDR's toolkit for calibrating computer-aided detection.

The module gives sensitivity and specificity with intervals at given thresholds, and what they mean for readers at given
prevalences (World Health Organization and TDR 2021, "Determining the local calibration of computer-assisted detection
(CAD) thresholds and other parameters"). It also recovers the stored operating point of a screen, as a threshold that
gives the same flags. Shapes: N images, T thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.chunks import run_record
from comit_ray.errors import NotFoundError, Status
from comit_ray.evaluation.classification import PREFIXES, labelled, operating_points, why_one_class
from comit_ray.evaluation.subgroups import grouped, too_few
from comit_ray.statistics.measure import measure
from comit_ray.statistics.metric import Block, BoolArray, FloatArray, IntArray, Metric, MetricEntry, Values
from comit_ray.statistics.prevalence import at_prevalence

RECORDED = "recorded in run.json"
FROM_FLAGS = "the lowest flagged score, because the exact threshold is not recorded"


@dataclass(frozen=True)
class StoredOperatingPoint:
    """A named threshold.

    Args:
        name: name of the operating point.
        threshold: a score at or above it is flagged; a float32 value, 0 to 1.
        origin: where the threshold comes from, in words.
    """

    name: str
    threshold: float
    origin: str


def stored_operating_point(images: pd.DataFrame, label: str, results: str | None) -> StoredOperatingPoint | None:
    """The operating point behind the flags; None if there is none, if there are several, or if no threshold fits.

    The recorded threshold is used if it gives exactly the flags of the table. Otherwise the lowest flagged score is
    used, if no higher score is without a flag.

    Args:
        images: result of `screen_metrics.join_tables`.
        label: `covid` or `unhealthy`.
        results: URI of the screen's output, with `run.json`; None for a bare predictions table.

    Raises:
        StorageError: the `run.json` is not that of a run.
    """
    name = operating_points(images)[label]
    scored = (images["status"] == Status.OK) & images[f"p_{label}"].notna() & images[f"{label}_flag"].notna()
    if name is None or not scored.any():
        return None
    scores = images.loc[scored, f"p_{label}"].to_numpy(np.float32)
    flags = images.loc[scored, f"{label}_flag"].to_numpy(bool)
    recorded = None if results is None else _recorded(results, name, label)
    if recorded is not None and bool(((scores >= np.float32(recorded)) == flags).all()):
        return StoredOperatingPoint(name, float(np.float32(recorded)), RECORDED)
    lowest = scores[flags].min() if flags.any() else np.nextafter(scores.max(), np.float32(np.inf))
    if not flags.all() and scores[~flags].max() >= lowest:
        return None
    return StoredOperatingPoint(name, float(lowest), FROM_FLAGS)


def chosen_where(results: str | None) -> str:
    """Where the thresholds of a screen were chosen, in words, according to its `run.json`.

    Args:
        results: URI of the screen's output; None for a bare predictions table.

    Raises:
        StorageError: the `run.json` is not that of a run.
    """
    try:
        settings = {} if results is None else run_record.read(results).get("settings")
    except NotFoundError:
        settings = {}
    if not isinstance(settings, dict) or not settings.get("checkpoint"):
        return "it is not recorded where it was chosen"
    own = settings.get("operating_points")
    if own:
        return f"from the site's own file {own}; it is not recorded on which images it was chosen"
    return "chosen on the validation split in training"


def _recorded(results: str, name: str, label: str) -> float | None:
    try:
        question = run_record.read(results)["question"]
    except NotFoundError:
        return None
    point = question.get("operating_point")
    if not isinstance(point, dict) or point.get("name") != name:
        return None
    threshold = point.get("thresholds", {}).get(label)
    return float(threshold) if isinstance(threshold, int | float) else None


MOST = 200
"""The most thresholds of the whole table; of more different scores as many are taken, evenly by rank."""
FLAGGED = (0.01, 0.02, 0.05, 0.10, 0.15, 0.20, 0.30, 0.40, 0.50, 0.60, 0.75, 0.90)
"""The thresholds of the short table each flag at most one of these shares of the labelled images."""
GROUPED_BY = ("dataset", "site", "view")
Thresholds = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ThresholdRow:
    """The outcome of one threshold in one group of images.

    Args:
        group: `all`, or `dataset=NAME` and the like.
        threshold: a score at or above it is flagged; None in the only row of a group that is too small.
        point: name of the operating point with this threshold; None if there is none.
        sensitivity: sensitivity at `threshold`.
        specificity: specificity at `threshold`.
        at_prevalence: prevalence -> the metrics of `comit_ray.statistics.prevalence.METRICS`.
        reason: why this group has no metrics; None if it has them.
    """

    group: str
    threshold: float | None
    point: str | None = None
    sensitivity: Metric | None = None
    specificity: Metric | None = None
    at_prevalence: dict[float, dict[str, Metric]] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True)
class Scale:
    """The thresholds of one score. All are given in advance: none is chosen by its outcome.

    Args:
        all: (T,) all thresholds, rising.
        short: the thresholds of the short table, a subset.
        distinct: number of different scores.
        point: the stored operating point, whose threshold is in both; None if there is none.
    """

    all: Thresholds
    short: Thresholds
    distinct: int
    point: StoredOperatingPoint | None


def scale(images: pd.DataFrame, label: str, point: StoredOperatingPoint | None, most: int = MOST) -> Scale:
    """The thresholds of one score: its different values on labelled images, at most `most`, and the operating point.

    Args:
        images: result of `screen_metrics.join_tables`.
        label: `covid` or `unhealthy`.
        point: result of `stored_operating_point`.
        most: the most thresholds.
    """
    scores = images.loc[labelled(images, label), f"p_{label}"].to_numpy(np.float32)
    distinct = np.unique(scores)
    chosen = distinct
    if distinct.size > most:
        chosen = distinct[np.unique(np.linspace(0, distinct.size - 1, most).round().astype(int))]
    frozen = np.array([] if point is None else [point.threshold], np.float32)
    short = chosen
    if chosen.size > len(FLAGGED):
        # Number of images flagged at each threshold, falling. Each share gets the lowest threshold that flags no more.
        flagged_T = scores.size - np.searchsorted(np.sort(scores), chosen, side="left")
        places = [
            int(np.argmax(flagged_T <= share * scores.size))
            for share in FLAGGED
            if flagged_T[-1] <= share * scores.size
        ]
        short = chosen[sorted(set(places))]
    return Scale(np.union1d(chosen, frozen), np.union1d(short, frozen), int(distinct.size), point)


def rows(
    images: pd.DataFrame,
    label: str,
    thresholds: Scale,
    prevalences: Sequence[float],
    minimum: int,
    split: str,
    draws: int = 1000,
    seed: int = 0,
) -> list[ThresholdRow]:
    """A row for every threshold over all images, and for every short threshold in each dataset, site and view.

    Groups with too few patients have one row with the reason.

    Args:
        images: result of `screen_metrics.join_tables`.
        label: `covid` or `unhealthy`.
        thresholds: result of `scale`.
        prevalences: prevalences, each above 0 and below 1.
        minimum: the fewest patients with a positive image, and with a negative one, in a group; the group of all images
            needs none.
        split: name of the split.
        draws: number of bootstrap draws, used if patients have several images.
        seed: seed of the draws.
    """
    needed = list(dict.fromkeys(["status", "patient_id", label, f"p_{label}", *GROUPED_BY]))
    images = images[needed].reset_index(drop=True)
    point = thresholds.point
    found = _of_group(images, "all", label, thresholds.all, point, prevalences, split, draws, seed)
    for attribute in GROUPED_BY:
        groups = grouped(images, attribute)
        for group, mine in groups.items() if len(groups) > 1 else ():
            mine = mine.reset_index(drop=True)
            reason = _too_few(mine, label, minimum)
            if reason is None:
                found += _of_group(mine, group, label, thresholds.short, point, prevalences, split, draws, seed)
            else:
                found.append(ThresholdRow(group, None, reason=reason))
    return found


def block(images: pd.DataFrame, label: str, thresholds_T: Thresholds) -> Block:
    """T sensitivities and then T specificities at given thresholds, ready to be measured.

    Args:
        images: result of `screen_metrics.join_tables`.
        label: `covid` or `unhealthy`.
        thresholds_T: a score at or above a threshold is flagged; compared as float32.
    """
    known_N = labelled(images, label)
    positive_N = known_N & (images[label] == 1).to_numpy(bool)
    negative_N = known_N & ~positive_N
    none = why_one_class(known_N, positive_N, label) or ""
    entries = [
        MetricEntry(f"{PREFIXES[label]}{metric}_at_threshold", counted_N, float(threshold), undefined=none, share=True)
        for metric, counted_N in (("sensitivity", positive_N), ("specificity", negative_N))
        for threshold in thresholds_T
    ]
    scores_N = images[f"p_{label}"].to_numpy(np.float32, na_value=np.nan)

    def of_rows(rows_M: IntArray) -> Values:
        return _shares(scores_N[rows_M], positive_N[rows_M], negative_N[rows_M], thresholds_T)

    return Block(tuple(entries), _shares(scores_N, positive_N, negative_N, thresholds_T), of_rows)


def _shares(
    scores_N: npt.NDArray[np.float32], positive_N: BoolArray, negative_N: BoolArray, thresholds_T: Thresholds
) -> Values:
    """The values of `block` for any weights of the images."""
    orders = []
    for counted_N in (positive_N, negative_N):
        places = np.flatnonzero(counted_N)
        places = places[np.argsort(scores_N[places], kind="stable")]
        orders.append((places, np.searchsorted(scores_N[places], thresholds_T, side="left")))

    def values(weights_N: IntArray) -> FloatArray:
        below = []
        for places, below_T in orders:
            counts = np.concatenate([[0], np.cumsum(weights_N[places])])
            below.append(counts[below_T] / counts[-1] if counts[-1] else np.full(len(thresholds_T), np.nan))
        return np.concatenate([1 - below[0], below[1]])

    return values


def _of_group(
    images: pd.DataFrame,
    group: str,
    label: str,
    thresholds_T: Thresholds,
    point: StoredOperatingPoint | None,
    prevalences: Sequence[float],
    split: str,
    draws: int,
    seed: int,
) -> list[ThresholdRow]:
    found = measure([block(images, label, thresholds_T)], images["patient_id"], split, group, draws, seed)
    count = thresholds_T.size
    return [
        ThresholdRow(
            group,
            float(threshold),
            point.name if point is not None and threshold == np.float32(point.threshold) else None,
            sensitivity,
            specificity,
            {prevalence: at_prevalence(sensitivity, specificity, prevalence) for prevalence in prevalences},
        )
        for threshold, sensitivity, specificity in zip(thresholds_T, found[:count], found[count:], strict=True)
    ]


def _too_few(images: pd.DataFrame, label: str, minimum: int) -> str | None:
    known_N = labelled(images, label)
    positive_N = known_N & (images[label] == 1).to_numpy(bool)
    patients = images["patient_id"]
    return too_few(positive_N, patients, "with a positive image", minimum) or too_few(
        known_N & ~positive_N, patients, "with a negative image", minimum
    )
