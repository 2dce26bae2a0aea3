"""Curves, and figures of merit at one threshold. What is undefined is None, never a number.

AUROC, EER and the sensitivity at a specificity are in `comit_ray.metrics`, for training needs them too; those of a
bootstrap, which counts an image several times, in `weighted` and `measure`. Scores are compared as float32, as the
tables store them. Nothing is interpolated: a threshold lies where the data have one.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from comit_ray.metrics import checked

FloatArray = npt.NDArray[np.float64]


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
    false_positive, true_positive, thresholds = roc_curve(positive, values, drop_intermediate=False)
    return Curve(*(np.asarray(part, np.float64) for part in (false_positive, true_positive, thresholds)))


def precision_recall(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Curve | None:
    """Precision over recall, from the mildest threshold to the one that flags nothing (recall 0, by convention 1).

    None if a class is absent. Arguments and errors as `roc`.
    """
    values, positive = checked(scores, labels)
    if positive.all() or not positive.any():
        return None
    precision, recall, thresholds = precision_recall_curve(positive, values)
    return Curve(recall, precision, np.append(np.asarray(thresholds, np.float64), np.inf))


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float | None:
    """Sum over thresholds of precision times the gain in recall; None if a class is absent.

    Arguments and errors as `roc`.
    """
    values, positive = checked(scores, labels)
    if positive.all() or not positive.any():
        return None
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
