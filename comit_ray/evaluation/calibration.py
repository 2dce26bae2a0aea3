"""Measures calibration: Brier score, calibration errors, intercept and slope, with intervals.

The metrics hold for the share of positives in these images: calibrated scores are not calibrated at another share.
Binned errors use `calibration_metrics.BINS` bins with equal numbers of images (`ece`) or of equal width
(`ece_equal_width`). The module also draws the reliability diagram.
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
from comit_ray.evaluation.screen_metrics import absent_heads, by_dataset
from comit_ray.statistics.calibration_metrics import (
    BinKind,
    ScoreBins,
    errors_by_chance,
    fit_intercept,
    fit_slope,
    log_odds,
)
from comit_ray.statistics.measure import measure
from comit_ray.statistics.metric import (
    Block,
    BoolArray,
    FloatArray,
    IntArray,
    Metric,
    MetricEntry,
    Values,
    ratios,
    share,
)
from comit_ray.tables.vocabulary import counted

METRICS = ("brier", "ece", "ece_equal_width", "calibration_slope", "calibration_intercept")
BY_CHANCE = "ece_if_calibrated"
"""The error that perfectly calibrated scores of these images would have by chance: mean, and 95% of draws."""
LABELS_DRAWN = "labels drawn from the scores"
KINDS: dict[str, BinKind] = {"ece": "equal mass", "ece_equal_width": "equal width"}
REFLECTED = "{}, reflected"
PARTED = "a threshold separates the classes, or all scores are equal, so that no slope fits best"


@dataclass(frozen=True)
class Bin:
    """Images with similar scores.

    Args:
        low: lowest score, 0 to 1.
        high: highest score, 0 to 1.
        mean: mean score, 0 to 1.
        observed: share of positives; n is the number of images, and the interval is Wilson's if it holds.
    """

    low: float
    high: float
    mean: float
    observed: Metric


def calibration_metrics(images: pd.DataFrame, split: str, draws: int = 1000, seed: int = 0) -> list[Metric]:
    """Measures the calibration of both scores, over all images and over each dataset if there are several.

    Intervals come from bootstrap draws of patients. Those of the two binned errors are reflected, because the draws lie
    above the true error: see `error_interval`.

    Args:
        images: result of `screen_metrics.join_tables`.
        split: name of the split.
        draws: number of bootstrap draws, and of draws of labels for `ece_if_calibrated`.
        seed: seed of the draws.
    """
    images = images.reset_index(drop=True)
    absent = absent_heads(images)
    labels = [label for label in PREFIXES if label not in absent]
    found: list[Metric] = []
    for group, rows in by_dataset(images, alone=False):
        for label in labels:
            figures_F = measure([block(rows, label)], rows["patient_id"], split, group, draws, seed)
            found += _with_chance(figures_F, rows, label, draws, seed)
    return found


def block(images: pd.DataFrame, label: str) -> Block:
    """The metrics of `METRICS` for one score, ready to be measured.

    They are undefined, with a reason, if a class has fewer than 10 images, or a score lies outside 0 to 1.

    Args:
        images: result of `screen_metrics.join_tables`.
        label: `covid` or `unhealthy`.
    """
    known_N, positive_N, scores_N = _taken(images, label)
    why = _why_none(known_N, positive_N, scores_N, label)
    entries = tuple(
        MetricEntry(
            f"{PREFIXES[label]}{metric}",
            known_N,
            undefined=why or PARTED if "slope" in metric else why or "",
            bounded=not metric.startswith("calibration"),
        )
        for metric in METRICS
    )
    if why is not None:
        return Block(entries, lambda weights_N: np.full(len(METRICS), np.nan))

    def of_rows(rows_M: IntArray) -> Values:
        return _values(known_N[rows_M], positive_N[rows_M], scores_N[rows_M])

    return Block(entries, _values(known_N, positive_N, scores_N), of_rows)


def _values(known_N: BoolArray, positive_N: BoolArray, scores_N: FloatArray) -> Values:
    """The values of `block` for any weights of the images."""
    bins = ScoreBins(np.where(known_N, scores_N, np.nan), positive_N)
    # Images without a label must not enter a sum, not even as NaN times 0.
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

    return values


def reliability(images: pd.DataFrame, label: str, split: str, draws: int = 1000, seed: int = 0) -> list[Bin]:
    """Bins the scores, from low to high: at most `BINS` bins of as equal size as ties allow; none without an ECE.

    Args:
        images: result of `screen_metrics.join_tables`.
        label: `covid` or `unhealthy`.
        split: name of the split.
        draws: number of bootstrap draws, used if a patient has several images in a bin.
        seed: seed of the draws.
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
    """The interval of a binned error, corrected for its bias.

    A binned error lies above the true error, because it adds up chance deviations. The error of a bootstrap draw lies
    above that again, so that percentiles of draws never contain the true error of calibrated scores. Therefore the
    lower end is as far below the error as the draws reach above it, and 0 if chance alone explains the error. The upper
    end is that of the draws, or as far above the error as the draws reach below it, whichever is higher. (In
    simulations with slopes of the log-odds from 0.5 to 1 and 60 to 1,000 images, 91 to 98% of 200 such intervals
    contained the true error; of percentile intervals 0 to 97% did.)

    Args:
        error: the error, with percentiles of draws of patients as its interval.
        by_chance: errors that calibrated scores would have, result of `errors_by_chance`.
    """
    if error.value is None or error.low is None or error.high is None:
        return error
    explained = error.value <= float(np.percentile(np.asarray(by_chance), 97.5))
    low = 0.0 if explained else max(0.0, 2 * error.value - error.high)
    high = max(error.high, 2 * error.value - error.low)
    return replace(error, low=low, high=high, interval=REFLECTED.format(error.interval))


def _with_chance(found: Sequence[Metric], images: pd.DataFrame, label: str, draws: int, seed: int) -> list[Metric]:
    """The metrics with the errors' intervals reflected, and the error that chance alone would give."""
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
            by_chance = errors_by_chance(scores_N[known_N], images["patient_id"][known_N], kind, draws, seed)
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
    """(N,) whether label and score are known, whether the image is positive, and the scores."""
    known_N = labelled(images, label)
    positive_N = known_N & (images[label] == 1).to_numpy(bool)
    return known_N, positive_N, images[f"p_{label}"].to_numpy(np.float64, na_value=np.nan)


def _why_none(known_N: BoolArray, positive_N: BoolArray, scores_N: FloatArray, label: str) -> str | None:
    """Why calibration cannot be judged; None if it can."""
    one_class = why_one_class(known_N, positive_N, label)
    if one_class is not None:
        return one_class
    positives = int(positive_N.sum())
    negatives = int(known_N.sum()) - positives
    if min(positives, negatives) < FEWEST:
        return (
            f"calibration needs at least {FEWEST} images of each class, and there are {positives} labelled "
            f"{NAMES[label]} and {negatives} labelled not"
        )
    outside = int(((scores_N[known_N] < 0) | (scores_N[known_N] > 1)).sum())
    return f"the scores are no probabilities: {outside} of them outside 0 to 1" if outside else None


NAME = "reliability"


def reliability_diagram(images: pd.DataFrame, bins: Mapping[str, Sequence[Bin]], output: str) -> Picture:
    """Draws the reliability diagram, a panel for each score that has bins.

    Args:
        images: result of `screen_metrics.join_tables`.
        bins: label -> result of `reliability`.
        output: URI of the report.

    Raises:
        StorageError: the picture cannot be written.
    """
    caption = (
        "Reliability. The upper plot groups images with similar scores into bins of equal size, and shows the share of "
        "positives in each bin over its mean score, with 95% intervals. On the dotted line scores can be read as "
        "probabilities; below it they are too high, above it too low. The lower plot shows the number of images by "
        "score. The diagram holds only for the share of positives in these images."
    )
    panels = {}
    for label, mine in bins.items():
        if mine:
            panels[NAMES[label]] = _panel(images[labelled(images, label)], label, mine)
            images_in_bins = counted(sum(one.observed.n for one in mine), "image")
            counts = f"{NAMES[label]}: {images_in_bins} in {counted(len(mine), 'bin')}"
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
