"""Measures calibration: Brier score, calibration errors, intercept and slope, with intervals.

Of images of one share of positives: a score that is calibrated there is not where the share is another. Binned errors
are in `calibration_bins.BINS` bins of equal numbers of images (`ece`), or of equal width (`ece_equal_width`).

The reliability diagram of a screen's scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.checkpoint.temperature import FEWEST
from comit_ray.evaluation.classification import NAMES, PREFIXES, labelled, why_one_class
from comit_ray.evaluation.pictures import reliability_picture
from comit_ray.evaluation.pictures.picture import Picture, nothing, written
from comit_ray.evaluation.pictures.reliability_picture import Reliability
from comit_ray.evaluation.screen_metrics import absent_heads
from comit_ray.statistics.calibration_metrics import (
    BinKind,
    ScoreBins,
    errors_by_chance,
    fit_intercept,
    fit_slope,
    log_odds,
)
from comit_ray.statistics.metric import (
    Block,
    BoolArray,
    FloatArray,
    IntArray,
    Metric,
    MetricEntry,
    measure,
    ratios,
    share,
)

METRICS = ("brier", "ece", "ece_equal_width", "calibration_slope", "calibration_intercept")
BY_CHANCE = "ece_if_calibrated"
"""The error that these images would have by chance, were their scores perfectly calibrated: mean, and 95% of draws."""
LABELS_DRAWN = "labels drawn from the scores"
KINDS: dict[str, BinKind] = {"ece": "equal mass", "ece_equal_width": "equal width"}
REFLECTED = "{}, reflected"
PARTED = "a threshold parts the classes, or all scores are alike: no slope fits best"


@dataclass(frozen=True)
class Bin:
    """Images of like scores.

    Args:
        low: lowest score.
        high: highest score.
        mean: mean score.
        observed: share of positives; n is the number of images, the interval Wilson's where it holds.
    """

    low: float
    high: float
    mean: float
    observed: Metric


def calibration_metrics(images: pd.DataFrame, split: str, draws: int = 1000, seed: int = 0) -> list[Metric]:
    """The figures of both scores that there are, over all images and over each of several datasets alone.

    Intervals are of draws of patients. Of the two errors, whose draws lie above the truth as they do themselves, they
    are reflected: see `error_interval`.

    Args:
        images: of `comit_ray.evaluation.screen_metrics.join_tables`.
        split: its name.
        draws: of the bootstrap, and of labels for `ece_if_calibrated`.
        seed: of the draws.
    """
    images = images.reset_index(drop=True)
    absent = absent_heads(images)
    labels = [label for label in PREFIXES if label not in absent]
    datasets = [(f"dataset={name}", rows) for name, rows in images.groupby("dataset")]
    found: list[Metric] = []
    for group, rows in [("all", images), *(datasets if len(datasets) > 1 else [])]:
        for label in labels:
            figures_F = measure([block(rows, label)], rows["patient_id"], split, group, draws, seed)
            found += _with_chance(figures_F, rows, label, draws, seed)
    return found


def block(images: pd.DataFrame, label: str) -> Block:
    """What `measure` measures: the five figures of `METRICS`, of `unhealthy` with its prefix.

    Undefined, with a reason, where a class has fewer than 10 images, or a score is no number from 0 to 1.

    Args:
        images: of `comit_ray.evaluation.screen_metrics.join_tables`.
        label: `covid` or `unhealthy`.
    """
    known_N, positive_N, scores_N = _taken(images, label)
    why = _why_none(known_N, positive_N, scores_N, label)
    entries = tuple(
        MetricEntry(f"{PREFIXES[label]}{metric}", known_N, undefined=why or PARTED if "slope" in metric else why or "")
        for metric in METRICS
    )
    if why is not None:
        return Block(entries, lambda weights_N: np.full(len(METRICS), np.nan))
    bins = ScoreBins(np.where(known_N, scores_N, np.nan), positive_N)
    # Of unknown images nothing may enter a sum, not even as NaN times 0.
    rows = np.flatnonzero(known_N)
    x, y = log_odds(scores_N[rows]), positive_N[rows]
    squares = (scores_N[rows] - y) ** 2
    once = np.ones(rows.size, np.int64)
    joint, alone = fit_slope(x, y, once), fit_intercept(x, y, once)
    start = (0.0, 1.0) if np.isnan(joint[1]) else joint

    def values(weights_N: IntArray) -> FloatArray:
        weights = weights_N[rows]
        whole = int(weights.sum())
        return np.array(
            [
                float(weights @ squares) / whole if whole else np.nan,
                bins.equal_mass(weights_N).error(),
                bins.equal_width(weights_N).error(),
                fit_slope(x, y, weights, start)[1],
                fit_intercept(x, y, weights, alone),
            ]
        )

    return Block(entries, values)


def reliability(images: pd.DataFrame, label: str, split: str, draws: int = 1000, seed: int = 0) -> list[Bin]:
    """At most `BINS` bins of as equal numbers of images as ties allow, from low scores to high; none without an ECE.

    Args:
        images: of `comit_ray.evaluation.screen_metrics.join_tables`.
        label: `covid` or `unhealthy`.
        split: its name.
        draws: of the bootstrap, where a patient has several images in a bin.
        seed: of the draws.
    """
    images = images.reset_index(drop=True)
    known_N, positive_N, scores_N = _taken(images, label)
    if _why_none(known_N, positive_N, scores_N, label) is not None:
        return []
    places_N = ScoreBins(np.where(known_N, scores_N, np.nan), positive_N).places("equal mass")
    held = [int(place) for place in np.unique(places_N[known_N])]
    shares = [share(f"{PREFIXES[label]}observed_in_bin", positive_N, places_N == place, place) for place in held]
    observed = measure([ratios(shares)], images["patient_id"], split, "all", draws, seed)
    within = [scores_N[places_N == place] for place in held]
    return [
        Bin(float(mine.min()), float(mine.max()), float(mine.mean()), metric)
        for mine, metric in zip(within, observed, strict=True)
    ]


def error_interval(error: Metric, by_chance: npt.ArrayLike) -> Metric:
    """The interval of a binned error, its bias turned back.

    A binned error lies above the true one, for it adds up chance deviations, and a bootstrap draw's lies above that
    again: percentiles of draws never hold the true error of scores that are calibrated. So the lower end is as far
    below the error as the draws reach above it, and 0 where chance alone explains the error; the upper end is the
    draws', or as far above the error as the draws reach below. (Of 200 such intervals 91 to 98% held the true error
    where log-odds were simulated at slopes from 0.5 to 1, with 60 to 1,000 images; of percentiles alone 0 to 97%.)

    Args:
        error: with the percentiles of draws of patients.
        by_chance: errors that calibrated scores would have (`errors_by_chance`).
    """
    if error.value is None or error.low is None or error.high is None:
        return error
    explained = error.value <= float(np.percentile(np.asarray(by_chance), 97.5))
    low = 0.0 if explained else max(0.0, 2 * error.value - error.high)
    high = max(error.high, 2 * error.value - error.low)
    return replace(error, low=low, high=high, interval=REFLECTED.format(error.interval))


def _with_chance(found: Sequence[Metric], images: pd.DataFrame, label: str, draws: int, seed: int) -> list[Metric]:
    """The figures, the errors' intervals reflected, and what chance alone would give."""
    known_N, _, scores_N = _taken(images, label)
    prefix = PREFIXES[label]
    told: list[Metric] = []
    for metric in found:
        kind = KINDS.get(metric.metric.removeprefix(prefix))
        if kind is None:
            told.append(metric)
            continue
        by_chance = np.zeros(0)
        if metric.value is not None:
            patients = images["patient_id"][known_N].to_numpy(object)
            by_chance = errors_by_chance(scores_N[known_N], patients, kind, draws, seed)
            metric = error_interval(metric, by_chance)
        told.append(metric)
        if kind == "equal mass":
            told.append(_chance(metric, f"{prefix}{BY_CHANCE}", by_chance))
    return told


def _chance(error: Metric, metric: str, by_chance: FloatArray) -> Metric:
    nothing = replace(error, metric=metric, value=None, low=None, high=None, interval=None)
    if not by_chance.size:
        return nothing
    low, high = np.percentile(by_chance, (2.5, 97.5))
    mean = float(by_chance.mean())
    return replace(nothing, value=mean, low=float(low), high=float(high), interval=LABELS_DRAWN, reason=None)


def _taken(images: pd.DataFrame, label: str) -> tuple[BoolArray, BoolArray, FloatArray]:
    """(N,) whether label and score are known, whether it is positive, and the scores."""
    known_N = labelled(images, label)
    positive_N = known_N & (images[label] == 1).to_numpy(bool)
    return known_N, positive_N, images[f"p_{label}"].to_numpy(np.float64, na_value=np.nan)


def _why_none(known_N: BoolArray, positive_N: BoolArray, scores_N: FloatArray, label: str) -> str | None:
    """Why calibration cannot be judged; None where it can."""
    one_class = why_one_class(known_N, positive_N, label)
    if one_class is not None:
        return one_class
    positives = int(positive_N.sum())
    negatives = int(known_N.sum()) - positives
    if min(positives, negatives) < FEWEST:
        return (
            f"{positives} images labelled {NAMES[label]} and {negatives} not: at least {FEWEST} of each are needed to "
            "judge calibration"
        )
    outside = int(((scores_N[known_N] < 0) | (scores_N[known_N] > 1)).sum())
    return f"{outside} scores lie outside 0 to 1: they are no probabilities" if outside else None


NAME = "reliability"


def reliability_diagram(images: pd.DataFrame, bins: Mapping[str, Sequence[Bin]], output: str) -> Picture:
    """A panel a score that has bins.

    Args:
        images: of `comit_ray.evaluation.screen_metrics.join_tables`.
        bins: label -> bins of `calibration.reliability`.
        output: URI of the report.

    Raises:
        StorageError: it cannot be written.
    """
    caption = (
        "Reliability: above, the share of positives over the mean score of bins of equal numbers of images, with 95% "
        "intervals; on the dotted line scores are probabilities, below it they are too high, above it too low. Below, "
        "how many images have such a score. It holds for the share of positives in these images alone."
    )
    panels = {}
    for label, mine in bins.items():
        if mine:
            panels[NAMES[label]] = _panel(images[labelled(images, label)], label, mine)
            counts = f"{NAMES[label]}: {sum(one.observed.n for one in mine):,} images in {len(mine)} bins"
            caption += f" {counts}."
    if not panels:
        return nothing(NAME, caption, "no score has enough labelled images of both classes")
    return written(output, NAME, caption, reliability_picture.draw(panels))


def _panel(known: pd.DataFrame, label: str, bins: Sequence[Bin]) -> Reliability:
    return Reliability(
        [one.mean for one in bins],
        [float(one.observed.value) for one in bins if one.observed.value is not None],
        [one.observed.low for one in bins],
        [one.observed.high for one in bins],
        known[f"p_{label}"].to_numpy(np.float64),
        (known[label] == 1).to_numpy(bool),
    )
