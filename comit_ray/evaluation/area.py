"""The area under the ROC curve alone, of images that each count as often as a bootstrap draw took them.

`weighted` gives it too, of many score tables and with all their rates; a report by subgroups asks for it a hundred
thousand times, of one table each. Tested to be the same.
"""

import numpy as np
import numpy.typing as npt

from comit_ray.statistics.metric import FloatArray, IntArray


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
