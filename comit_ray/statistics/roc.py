"""ROC metrics and counts of images by label and flag; each metric is computed here only.

An undefined metric is None or NaN, never a number. Shapes: N images, T tables of scores, K thresholds from the
strictest to the mildest. Scores are compared as float32, as the tables store them, so that a threshold means the same
everywhere. Thresholds are not interpolated: they come from the data. The metrics of a bootstrap, which counts an image
several times, are in `weighted` and `metric`.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

ScoreArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def auroc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float | None:
    """Returns the area under the receiver operating characteristic (ROC) curve; None if a class is absent.

    Args:
        scores: (N,) finite scores; higher means more positive.
        labels: (N,) labels 0 or 1.

    Raises:
        ValueError: other labels, scores that are not finite, or different lengths.
    """
    values, positive = checked(scores, labels)
    if positive.all() or not positive.any():
        return None
    return float(area_under_roc(*_flagged(values, positive))[0])


def eer(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float | None:
    """Returns the equal error rate, where false positive and false negative rate are equal; None if a class is absent.

    Args:
        scores: (N,) finite scores; higher means more positive.
        labels: (N,) labels 0 or 1.

    Raises:
        ValueError: as `auroc`.
    """
    values, positive = checked(scores, labels)
    if positive.all() or not positive.any():
        return None
    return float(equal_error_rate(*_flagged(values, positive))[0])


def area_under_roc(true_TK: IntArray, false_TK: IntArray) -> DoubleArray:
    """Returns the areas (T,) under ROC curves that are given as counts; NaN if a class is absent.

    The share of pairs of a positive and a negative in which the positive has the higher score; ties count half (the
    statistic of Mann and Whitney). Counts are whole numbers, so only the last division rounds.

    Args:
        true_TK: flagged positives at every threshold; the first threshold flags nothing, the last everything. A
            threshold may occur several times.
        false_TK: flagged negatives at every threshold.
    """
    twice_T = (np.diff(false_TK, axis=1) * (true_TK[:, 1:] + true_TK[:, :-1])).sum(axis=1)
    pairs_T = true_TK[:, -1] * false_TK[:, -1]
    return np.where(pairs_T > 0, twice_T / np.maximum(2 * pairs_T, 1), np.nan)


def equal_error_rate(true_TK: IntArray, false_TK: IntArray) -> DoubleArray:
    """Returns equal error rates (T,): shares of flagged negatives and missed positives are equal. NaN for one class.

    A finite sample seldom has a threshold where both are equal. The rate is interpolated linearly along the ROC curve,
    between the two points where (false positive rate - false negative rate) changes its sign.

    Args:
        true_TK: as in `area_under_roc`.
        false_TK: as in `area_under_roc`.
    """
    defined_T = (true_TK[:, -1] > 0) & (false_TK[:, -1] > 0)
    hits_TK, alarms_TK = (counts / np.maximum(counts[:, -1:], 1) for counts in (true_TK, false_TK))
    excess_TK = alarms_TK + hits_TK - 1  # minus the false negative rate: from -1 to 1, never falling
    after_T = np.maximum(np.argmax(excess_TK >= 0, axis=1), 1)
    rows = np.arange(len(after_T))
    low_T, high_T = excess_TK[rows, after_T - 1], excess_TK[rows, after_T]
    share_T = -low_T / np.where(defined_T, high_T - low_T, 1)
    start_T, end_T = alarms_TK[rows, after_T - 1], alarms_TK[rows, after_T]
    return np.where(defined_T, start_T + share_T * (end_T - start_T), np.nan)


def _flagged(values: ScoreArray, positive: BoolArray) -> tuple[IntArray, IntArray]:
    """Returns (1, K) positives and negatives flagged at each different score; the first threshold flags nothing."""
    _, places = np.unique(-values, return_inverse=True)
    counts = (np.bincount(places, chosen).astype(np.int64) for chosen in (positive, ~positive))
    true, false = (np.concatenate([[0], np.cumsum(count)])[None] for count in counts)
    return true, false


def threshold_at_specificity(scores: npt.ArrayLike, labels: npt.ArrayLike, specificity: float) -> float | None:
    """Returns the lowest threshold t at which the share of negatives with score >= t is at most 1 - specificity.

    It lies midway between the highest negative that must not be flagged and the next higher score of any image, or 1 if
    no score is higher. Every threshold in this gap decides these data alike, and the middle still does if another batch
    size or memory layout shifts a score by a rounding error. Ties are never split, and the share is never rounded up
    (of 12 negatives at 0.90 one may be flagged). None if there is no negative.

    Args:
        scores: (N,) finite scores.
        labels: (N,) labels 0 or 1.
        specificity: above 0 and at most 1.

    Raises:
        ValueError: as `auroc`, or the specificity is outside its range.
    """
    values, positive = checked(scores, labels)
    if not 0 < specificity <= 1:
        raise ValueError(f"specificity must be above 0 and at most 1, got {specificity}")
    negatives = np.sort(values[~positive])[::-1]
    if not negatives.size:
        return None
    # Exact decimal arithmetic: in floating point 1 - 0.9 is a little less than 0.1, and one of ten would be lost.
    allowed = int((1 - Fraction(str(specificity))) * negatives.size)
    return _midway_above(negatives[allowed], values)


def specificity_at(scores: npt.ArrayLike, labels: npt.ArrayLike, threshold: float) -> float | None:
    """Returns the share of the negatives with score < threshold; None if there is no negative."""
    values, positive = checked(scores, labels)
    return float(np.mean(values[~positive] < np.float32(threshold))) if not positive.all() else None


def sensitivity_at(scores: npt.ArrayLike, labels: npt.ArrayLike, threshold: float) -> float | None:
    """Returns the share of the positives with score >= threshold; None if there is no positive."""
    values, positive = checked(scores, labels)
    return float(np.mean(values[positive] >= np.float32(threshold))) if positive.any() else None


def sensitivity_at_specificity(scores: npt.ArrayLike, labels: npt.ArrayLike, specificity: float) -> float | None:
    """Returns the sensitivity at a threshold chosen on these same data (the paper's way); None if a class is absent."""
    threshold = threshold_at_specificity(scores, labels, specificity)
    return None if threshold is None else sensitivity_at(scores, labels, threshold)


def iou(prediction: BoolArray, truth: BoolArray, known: BoolArray | None = None) -> float | None:
    """Returns the intersection over union of one image's mask, over pixels of known label; None if both are empty.

    Args:
        prediction: (H, W) predicted foreground.
        truth: (H, W) annotated foreground.
        known: (H, W) where the annotation is known; None: everywhere.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"masks of one shape are needed, got {prediction.shape} and {truth.shape}")
    if known is not None:
        prediction, truth = prediction & known, truth & known
    union = int((prediction | truth).sum())
    return int((prediction & truth).sum()) / union if union else None


def checked(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[ScoreArray, BoolArray]:
    """Checks the inputs and returns (N,) scores as float32 and (N,) labels as Booleans.

    Raises:
        ValueError: labels other than 0 and 1, scores that are not finite, or different lengths.
    """
    values, truth = np.asarray(scores, dtype=np.float32), np.asarray(labels)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"one score and one label an image are needed, got {values.shape} and {truth.shape}")
    if not values.size:
        return values, truth.astype(bool)
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} of {values.size} scores are not finite")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, got {sorted(set(truth.tolist()) - {0, 1})[:5]}")
    return values, truth.astype(bool)


def _midway_above(score: np.float32, values: ScoreArray) -> float:
    """Returns the float32 midway between `score` and the next higher of `values`, else 1; always above `score`."""
    step_up = np.nextafter(score, np.float32(np.inf))
    higher = values[values > score]
    ceiling = higher.min() if higher.size else max(np.float32(1), step_up)
    middle = np.float32((float(score) + float(ceiling)) / 2)  # between neighbours it may round down to `score`
    return float(max(middle, step_up))


FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The points of a curve, from one threshold to the next.

    Args:
        x: (K,) false positive rate of a ROC curve, rising; or recall of a precision-recall curve, falling.
        y: (K,) true positive rate; or precision.
        thresholds: (K,) an image is flagged if its score is at or above the threshold; infinity flags nothing.
    """

    x: FloatArray
    y: FloatArray
    thresholds: FloatArray


def roc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Curve | None:
    """Returns the receiver operating characteristic at every threshold of the data; None if a class is absent.

    Args:
        scores: (N,) finite scores; higher means more positive.
        labels: (N,) labels 0 or 1.

    Raises:
        ValueError: other labels, scores that are not finite, or different lengths.
    """
    values, positive = checked(scores, labels)
    if positive.all() or not positive.any():
        return None
    from sklearn.metrics import roc_curve  # late: a process that predicts needs no scikit-learn

    false_positive, true_positive, thresholds = roc_curve(positive, values, drop_intermediate=False)
    return Curve(*(np.asarray(part, np.float64) for part in (false_positive, true_positive, thresholds)))


def precision_recall(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Curve | None:
    """Returns precision over recall, from the lowest threshold to one that flags nothing (precision 1 by convention).

    None if a class is absent. Arguments and errors as in `roc`.
    """
    values, positive = checked(scores, labels)
    if positive.all() or not positive.any():
        return None
    from sklearn.metrics import precision_recall_curve  # late, as in `roc`

    precision, recall, thresholds = precision_recall_curve(positive, values)
    return Curve(recall, precision, np.append(np.asarray(thresholds, np.float64), np.inf))


@dataclass(frozen=True)
class Confusion:
    """Counts of images by label and flag.

    Args:
        true_positives: positive and flagged.
        false_positives: negative and flagged.
        true_negatives: negative and not flagged.
        false_negatives: positive and not flagged, that is missed.
    """

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    @classmethod
    def of(cls, flags: npt.ArrayLike, labels: npt.ArrayLike) -> "Confusion":
        """Counts images by label and flag.

        Args:
            flags: (N,) whether each image is flagged.
            labels: (N,) labels 0 or 1.

        Raises:
            ValueError: other labels, or different lengths.
        """
        flagged = np.asarray(flags, bool)
        _, positive = checked(flagged, labels)
        hits = int((flagged & positive).sum())
        false = int((flagged & ~positive).sum())
        return cls(hits, false, int((~flagged & ~positive).sum()), int(positive.sum()) - hits)
