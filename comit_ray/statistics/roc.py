"""Curves, and metrics at one threshold. What is undefined is None, never a number.

AUROC, EER and the sensitivity at a specificity are in `comit_ray.statistics.roc`, for training needs them too; those of
a bootstrap, which counts an image several times, in `weighted` and `measure`. Scores are compared as float32, as the
tables store them. Nothing is interpolated: a threshold lies where the data have one.

Figures of merit that training and evaluation share. What is undefined is None, never a number.

Scores are compared as float32, as the tables store them, so that a threshold means the same everywhere.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

ScoreArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


def auroc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float | None:
    """Area under the receiver operating characteristic; None if a class is absent.

    Args:
        scores: (N,) finite scores, higher meaning more positive.
        labels: (N,) 0 or 1.

    Raises:
        ValueError: for other labels, scores that are not finite, or unequal lengths.
    """
    values, positive = checked(scores, labels)
    if positive.all() or not positive.any():
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, values))


def eer(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float | None:
    """Equal error rate: where the false positive rate equals the false negative rate; None if a class is absent.

    A finite sample seldom has a threshold where both are equal: the rate is interpolated linearly along the ROC curve,
    between the two of its points where (false positive rate - false negative rate) changes sign.

    Args:
        scores: (N,) finite scores, higher meaning more positive.
        labels: (N,) 0 or 1.

    Raises:
        ValueError: as `auroc`.
    """
    values, positive = checked(scores, labels)
    if positive.all() or not positive.any():
        return None
    from sklearn.metrics import roc_curve  # late: as above

    false_positive, true_positive, _ = roc_curve(positive, values, drop_intermediate=False)
    excess = false_positive + true_positive - 1  # over the false negative rate: from -1 to 1, never falling
    after = int(np.argmax(excess >= 0))
    before = after - 1
    share = -excess[before] / (excess[after] - excess[before])
    return float(false_positive[before] + share * (false_positive[after] - false_positive[before]))


def threshold_at_specificity(scores: npt.ArrayLike, labels: npt.ArrayLike, specificity: float) -> float | None:
    """A threshold t that flags as much as it may: the share of negatives with score >= t is at most 1 - specificity.

    It lies midway between the highest negative that must not be flagged and the next higher score of any image, or 1
    where no score is higher. Every threshold of that gap decides these data alike; the middle of it still does where
    another batch size or memory layout moves a score by a rounding error. Ties are never split, and the share is never
    rounded up (12 negatives at 0.90: one may be flagged). None if there is no negative.

    Args:
        scores: (N,) finite scores.
        labels: (N,) 0 or 1.
        specificity: above 0 and at most 1.

    Raises:
        ValueError: as `auroc`, or for a specificity outside its range.
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
    """Share of the negatives with score < threshold; None if there is none."""
    values, positive = checked(scores, labels)
    return float(np.mean(values[~positive] < np.float32(threshold))) if not positive.all() else None


def sensitivity_at(scores: npt.ArrayLike, labels: npt.ArrayLike, threshold: float) -> float | None:
    """Share of the positives with score >= threshold; None if there is none."""
    values, positive = checked(scores, labels)
    return float(np.mean(values[positive] >= np.float32(threshold))) if positive.any() else None


def sensitivity_at_specificity(scores: npt.ArrayLike, labels: npt.ArrayLike, specificity: float) -> float | None:
    """Sensitivity at the threshold of these very data (the paper's way); None if a class is absent."""
    threshold = threshold_at_specificity(scores, labels, specificity)
    return None if threshold is None else sensitivity_at(scores, labels, threshold)


def iou(prediction: BoolArray, truth: BoolArray, known: BoolArray | None = None) -> float | None:
    """Intersection over union of one image's mask, over the pixels whose truth is known; None if both are empty.

    Args:
        prediction: (H, W) where the model says foreground.
        truth: (H, W) where foreground is.
        known: (H, W) where the truth is known; None: everywhere.

    Raises:
        ValueError: if the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"masks of one shape are needed, got {prediction.shape} and {truth.shape}")
    if known is not None:
        prediction, truth = prediction & known, truth & known
    union = int((prediction | truth).sum())
    return int((prediction & truth).sum()) / union if union else None


def checked(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[ScoreArray, BoolArray]:
    """(N,) scores as float32 and (N,) labels as Booleans.

    Raises:
        ValueError: for labels other than 0 and 1, scores that are not finite, or unequal lengths.
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
    """The float32 midway between `score` and the next higher of `values`, else 1; always above `score`."""
    step_up = np.nextafter(score, np.float32(np.inf))
    higher = values[values > score]
    ceiling = higher.min() if higher.size else max(np.float32(1), step_up)
    middle = np.float32((float(score) + float(ceiling)) / 2)  # of neighbouring float32 it may round down to `score`
    return float(max(middle, step_up))


@dataclass(frozen=True)
class Curve:
    """Points of a curve, from one threshold to the next.

    Args:
        x: (K,) false positive rate of a ROC curve, rising; recall of a precision-recall curve, falling.
        y: (K,) true positive rate; precision.
        thresholds: (K,) flagged is a score at or above it; infinity flags nothing.
    """

    x: FloatArray
    y: FloatArray
    thresholds: FloatArray


def roc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Curve | None:
    """The receiver operating characteristic, every threshold of the data; None if a class is absent.

    Args:
        scores: (N,) finite scores, higher meaning more positive.
        labels: (N,) 0 or 1.

    Raises:
        ValueError: for other labels, scores that are not finite, or unequal lengths.
    """
    values, positive = checked(scores, labels)
    if positive.all() or not positive.any():
        return None
    from sklearn.metrics import roc_curve  # late: a process that predicts needs no scikit-learn

    false_positive, true_positive, thresholds = roc_curve(positive, values, drop_intermediate=False)
    return Curve(*(np.asarray(part, np.float64) for part in (false_positive, true_positive, thresholds)))


def precision_recall(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Curve | None:
    """Precision over recall, from the mildest threshold to the one that flags nothing (recall 0, by convention 1).

    None if a class is absent. Arguments and errors as `roc`.
    """
    values, positive = checked(scores, labels)
    if positive.all() or not positive.any():
        return None
    from sklearn.metrics import precision_recall_curve  # late, as in `roc`

    precision, recall, thresholds = precision_recall_curve(positive, values)
    return Curve(recall, precision, np.append(np.asarray(thresholds, np.float64), np.inf))


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float | None:
    """Sum over thresholds of precision times the gain in recall; None if a class is absent.

    Arguments and errors as `roc`.
    """
    values, positive = checked(scores, labels)
    if positive.all() or not positive.any():
        return None
    from sklearn.metrics import average_precision_score  # late, as in `roc`

    return float(average_precision_score(positive, values))


def specificity_at_sensitivity(scores: npt.ArrayLike, labels: npt.ArrayLike, sensitivity: float) -> float | None:
    """Specificity at the strictest threshold that finds at least this share of the positives.

    None if a class is absent. Ties are never split, and the share is never rounded down (12 positives at 0.90: 11
    must be found).

    Args:
        scores: (N,) finite scores.
        labels: (N,) 0 or 1.
        sensitivity: above 0 and at most 1.

    Raises:
        ValueError: as `roc`, or for a sensitivity outside its range.
    """
    values, positive = checked(scores, labels)
    if not 0 < sensitivity <= 1:
        raise ValueError(f"sensitivity must be above 0 and at most 1, got {sensitivity}")
    if positive.all() or not positive.any():
        return None
    found = np.sort(values[positive])[::-1]
    # Exact decimal arithmetic: in floating point 0.7 * 10 is a little less than 7, or 0.1 * 30 a little more than 3.
    needed = math.ceil(Fraction(str(sensitivity)) * found.size)
    return float(np.mean(values[~positive] < found[needed - 1]))


@dataclass(frozen=True)
class Confusion:
    """Counts of images by label and flag, and what follows from them; None where the whole is empty.

    Args:
        true_positives: positive and flagged.
        false_positives: negative and flagged.
        true_negatives: negative and not flagged.
        false_negatives: positive and not flagged: the missed.
    """

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    @classmethod
    def of(cls, flags: npt.ArrayLike, labels: npt.ArrayLike) -> "Confusion":
        """Count.

        Args:
            flags: (N,) whether each image is flagged.
            labels: (N,) 0 or 1.

        Raises:
            ValueError: for other labels, or unequal lengths.
        """
        flagged = np.asarray(flags, bool)
        _, positive = checked(flagged, labels)
        hits = int((flagged & positive).sum())
        false = int((flagged & ~positive).sum())
        return cls(hits, false, int((~flagged & ~positive).sum()), int(positive.sum()) - hits)

    @classmethod
    def at(cls, scores: npt.ArrayLike, labels: npt.ArrayLike, threshold: float) -> "Confusion":
        """Count those with a score at or above a threshold as flagged; errors as `roc`."""
        values, _ = checked(scores, labels)
        return cls.of(values >= np.float32(threshold), labels)

    @property
    def sensitivity(self) -> float | None:
        """Flagged of the positive; recall is another name."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> float | None:
        """Not flagged of the negative."""
        return _share(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def precision(self) -> float | None:
        """Positive of the flagged."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def accuracy(self) -> float | None:
        """Right of all."""
        right = self.true_positives + self.true_negatives
        return _share(right, right + self.false_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN)."""
        twice = 2 * self.true_positives
        return _share(twice, twice + self.false_positives + self.false_negatives)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
