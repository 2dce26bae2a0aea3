"""Metrics of many score tables at once, with images weighted by how often a bootstrap draw took them.

They equal the metrics of `comit_ray.statistics.roc` (tested), but do not sort again for every draw. Shapes: T tables of
scores (each of one seed of a variant), N images, the same in every table.

`Area` computes only the area under the ROC curve, for one table. `Rates` gives it too, for many tables with all their
rates. But a report by subgroups needs it a hundred thousand times, and so computes only the counts for it.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from comit_ray.statistics import roc

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rates:
    """Flagged images at every threshold, from the strictest to the lowest.

    Args:
        true_TN: flagged positives if image i of the sorted scores is the last flagged one; ties are not split.
        false_TN: flagged negatives in the same way.
    """

    true_TN: IntArray
    false_TN: IntArray

    @property
    def defined_T(self) -> BoolArray:
        """Whether both classes occur, per table."""
        return np.asarray((self.true_TN[:, -1] > 0) & (self.false_TN[:, -1] > 0))

    def auroc(self) -> FloatArray:
        """Returns the areas (T,) under the ROC curve; NaN if a class is absent."""
        return roc.area_under_roc(_from_zero(self.true_TN), _from_zero(self.false_TN))

    def eer(self) -> FloatArray:
        """Returns equal error rates (T,); NaN if a class is absent."""
        return roc.equal_error_rate(_from_zero(self.true_TN), _from_zero(self.false_TN))

    def sensitivity(self, specificity: float) -> FloatArray:
        """Returns sensitivities (T,), each at its table's own threshold, as in `roc.sensitivity_at_specificity`.

        Args:
            specificity: above 0 and at most 1.
        """
        share = 1 - Fraction(str(specificity))  # exact, because in floating point one false positive could be lost
        allowed_T = share.numerator * self.false_TN[:, -1] // share.denominator
        flagged_T = (self.false_TN <= allowed_T[:, None]).sum(axis=1)
        hits_T = _from_zero(self.true_TN)[np.arange(len(flagged_T)), flagged_T]
        return self._where_defined(hits_T / np.maximum(self.true_TN[:, -1], 1))

    def _where_defined(self, values_T: FloatArray) -> FloatArray:
        return np.where(self.defined_T, values_T, np.nan)


class RankedScores:
    """Tables of scores that are sorted once.

    Args:
        scores_TN: scores, compared as float32 like the stored tables; NaN for an image without a score.
        labels_N: whether each image is positive.
    """

    def __init__(self, scores_TN: npt.ArrayLike, labels_N: npt.ArrayLike) -> None:
        scores = np.asarray(scores_TN, np.float32)
        scored = ~np.isnan(scores)
        place = _place_type(scores.shape[1])
        order = np.argsort(np.where(scored, -scores, np.float32(np.inf)), axis=1, kind="stable")
        self._order_TN: npt.NDArray[np.integer] = order.astype(place, copy=False)
        ordered = np.take_along_axis(scores, self._order_TN, axis=1)
        images = scores.shape[1]
        is_last = np.ones(scores.shape, bool)
        is_last[:, :-1] = ordered[:, 1:] != ordered[:, :-1]  # NaN differs from everything and has no weight
        places = np.where(is_last, np.arange(images, dtype=place), images)
        self._last_TN: npt.NDArray[np.integer] = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]
        positive = np.asarray(labels_N, bool)[self._order_TN]
        known = np.take_along_axis(scored, self._order_TN, axis=1)
        self._positive_TN, self._negative_TN = positive & known, ~positive & known

    def rates(self, weights_N: npt.ArrayLike) -> Rates:
        """Returns the rates with every image counted by its weight.

        Args:
            weights_N: whole numbers, how often each image counts.
        """
        weights = np.asarray(weights_N, np.int64)

        def flagged(chosen_TN: BoolArray) -> IntArray:
            counts_TN = weights[self._order_TN]
            counts_TN *= chosen_TN
            return np.take_along_axis(np.cumsum(counts_TN, axis=1, out=counts_TN), self._last_TN, axis=1)

        return Rates(flagged(self._positive_TN), flagged(self._negative_TN))


MANY = 1_000_000
"""Images above which places take half the memory; with fewer, they take less time."""


def _place_type(images: int) -> "np.dtype[np.integer]":
    return np.dtype(np.int32 if MANY < images < np.iinfo(np.int32).max else np.int64)


def _from_zero(counts_TN: IntArray) -> IntArray:
    """Returns the counts with a first threshold that flags nothing."""
    return np.concatenate([np.zeros((len(counts_TN), 1), counts_TN.dtype), counts_TN], axis=1)


class Area:
    """The area under a ROC curve for scores that are sorted once.

    Args:
        scores_N: scores, compared as float32; scores outside `known_N` are ignored.
        positive_N: whether each image is positive.
        known_N: which images count.
    """

    def __init__(self, scores_N: npt.ArrayLike, positive_N: npt.ArrayLike, known_N: npt.ArrayLike) -> None:
        rows = np.flatnonzero(np.asarray(known_N, bool))
        scores = np.asarray(scores_N, np.float32)[rows]
        order = np.argsort(-scores, kind="stable")
        self._rows_M = rows[order]
        self._positive_M = np.asarray(positive_N, bool)[self._rows_M].astype(np.int64)
        _, self._starts_G = np.unique(-scores[order], return_index=True)
        self._ties = self._starts_G.size < self._rows_M.size

    def __call__(self, weights_N: IntArray) -> FloatArray:
        """Returns the area, (1,); NaN if a class is absent.

        Args:
            weights_N: how often each image counts.
        """
        weights_M = weights_N[self._rows_M]
        positives = weights_M * self._positive_M
        negatives = weights_M - positives
        if self._ties:
            positives, negatives = (np.add.reduceat(counts, self._starts_G) for counts in (positives, negatives))
        # A first threshold flags nothing.
        true_1K, false_1K = np.zeros((2, 1, len(positives) + 1), np.int64)
        np.cumsum(positives, out=true_1K[0, 1:])
        np.cumsum(negatives, out=false_1K[0, 1:])
        return roc.area_under_roc(true_1K, false_1K)
