"""Figures of merit of many score tables at once, each image counted as often as a bootstrap draw took it.

The same figures as those of `comit_ray.statistics.roc` (tested equal), without sorting again for every draw.
Shapes: T tables of scores (a seed of a variant each), N images, the same in every table.

The area under the ROC curve alone, of images that each count as often as a bootstrap draw took them.

`weighted` gives it too, of many score tables and with all their rates; a report by subgroups asks for it a hundred
thousand times, of one table each. Tested to be the same.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rates:
    """Images flagged at every threshold, from the strictest to the mildest.

    Args:
        true_TN: positives flagged where image i of the sorted scores is the last one to be flagged, ties not split.
        false_TN: negatives flagged there.
    """

    true_TN: IntArray
    false_TN: IntArray

    @property
    def defined_T(self) -> BoolArray:
        """Whether both classes are there."""
        return np.asarray((self.true_TN[:, -1] > 0) & (self.false_TN[:, -1] > 0))

    def auroc(self) -> FloatArray:
        """(T,) areas under the ROC curve; NaN where a class is absent."""
        true_TN, false_TN = _from_zero(self.true_TN), _from_zero(self.false_TN)
        twice = (np.diff(false_TN, axis=1) * (true_TN[:, 1:] + true_TN[:, :-1])).sum(axis=1)
        return self._where_defined(twice / np.maximum(2 * true_TN[:, -1] * false_TN[:, -1], 1))

    def eer(self) -> FloatArray:
        """(T,) equal error rates, interpolated as `comit_ray.statistics.roc.eer` does; NaN where a class is absent."""
        true_TN = _from_zero(self.true_TN) / np.maximum(self.true_TN[:, -1:], 1)
        false_TN = _from_zero(self.false_TN) / np.maximum(self.false_TN[:, -1:], 1)
        excess_TN = false_TN + true_TN - 1
        after_T = np.maximum(np.argmax(excess_TN >= 0, axis=1), 1)
        rows = np.arange(len(after_T))
        low, high = excess_TN[rows, after_T - 1], excess_TN[rows, after_T]
        share = -low / np.where(self.defined_T, high - low, 1)
        start, end = false_TN[rows, after_T - 1], false_TN[rows, after_T]
        return self._where_defined(start + share * (end - start))

    def sensitivity(self, specificity: float) -> FloatArray:
        """(T,) sensitivities at each table's own threshold, as `roc.sensitivity_at_specificity` has it.

        Args:
            specificity: above 0 and at most 1.
        """
        share = 1 - Fraction(str(specificity))  # exact: in floating point one false positive could be lost
        allowed_T = share.numerator * self.false_TN[:, -1] // share.denominator
        flagged_T = (self.false_TN <= allowed_T[:, None]).sum(axis=1)
        hits_T = _from_zero(self.true_TN)[np.arange(len(flagged_T)), flagged_T]
        return self._where_defined(hits_T / np.maximum(self.true_TN[:, -1], 1))

    def _where_defined(self, values_T: FloatArray) -> FloatArray:
        return np.where(self.defined_T, values_T, np.nan)


class RankedScores:
    """Tables of scores, sorted once.

    Args:
        scores_TN: scores, compared as float32 as the tables store them; NaN where an image has none.
        labels_N: whether each image is positive.
    """

    def __init__(self, scores_TN: npt.ArrayLike, labels_N: npt.ArrayLike) -> None:
        scores = np.asarray(scores_TN, np.float32)
        scored = ~np.isnan(scores)
        self._order_TN = np.argsort(np.where(scored, -scores, np.inf), axis=1, kind="stable")
        ordered = np.take_along_axis(scores, self._order_TN, axis=1)
        images = scores.shape[1]
        is_last = np.ones(scores.shape, bool)
        is_last[:, :-1] = ordered[:, 1:] != ordered[:, :-1]  # NaN differs from all, and weighs nothing
        places = np.where(is_last, np.arange(images), images)
        self._last_TN = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]
        positive = np.asarray(labels_N, bool)[self._order_TN]
        known = np.take_along_axis(scored, self._order_TN, axis=1)
        self._positive_TN, self._negative_TN = positive & known, ~positive & known

    def rates(self, weights_N: npt.ArrayLike) -> Rates:
        """The rates, every image counted as often as its weight says.

        Args:
            weights_N: times that each image counts, whole numbers.
        """
        weights_TN = np.asarray(weights_N, np.int64)[self._order_TN]
        true_TN, false_TN = (
            np.take_along_axis(np.cumsum(weights_TN * chosen, axis=1), self._last_TN, axis=1)
            for chosen in (self._positive_TN, self._negative_TN)
        )
        return Rates(true_TN, false_TN)


def _from_zero(counts_TN: IntArray) -> IntArray:
    """With the threshold before them that flags nothing."""
    return np.concatenate([np.zeros((len(counts_TN), 1), counts_TN.dtype), counts_TN], axis=1)


class Area:
    """Scores sorted once.

    Args:
        scores_N: scores, compared as float32; those outside `known_N` are not read.
        positive_N: whether each image is positive.
        known_N: the images that count.
    """

    def __init__(self, scores_N: npt.ArrayLike, positive_N: npt.ArrayLike, known_N: npt.ArrayLike) -> None:
        rows = np.flatnonzero(np.asarray(known_N, bool))
        scores = np.asarray(scores_N, np.float32)[rows]
        order = np.argsort(scores, kind="stable")
        self._rows_M = rows[order]
        self._positive_M = np.asarray(positive_N, bool)[self._rows_M].astype(np.int64)
        _, self._starts_G = np.unique(scores[order], return_index=True)
        self._ties = self._starts_G.size < self._rows_M.size

    def __call__(self, weights_N: IntArray) -> FloatArray:
        """(1,) area; NaN where a class is absent.

        Args:
            weights_N: times that each image counts.
        """
        weights_M = weights_N[self._rows_M]
        positives = weights_M * self._positive_M
        negatives = weights_M - positives
        if self._ties:
            positives, negatives = (np.add.reduceat(counts, self._starts_G) for counts in (positives, negatives))
        up_to = np.cumsum(negatives)
        pairs = int(positives.sum()) * int(up_to[-1]) if up_to.size else 0
        # A positive stands above the negatives with lower scores, and above half of those with its own.
        above = 2 * up_to - negatives
        return np.array([int(positives @ above) / (2 * pairs) if pairs else np.nan])
