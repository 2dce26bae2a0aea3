"""How far a distribution is from every mix of some others: an archive may hold more of one source than training did."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

FloatArray = npt.NDArray[np.float64]

POINTS = 400
"""Most places at which the distributions are compared."""


def gap(values_N: FloatArray, groups: Sequence[FloatArray]) -> tuple[float, float]:
    """The Kolmogorov-Smirnov distance, 0..1, of the values from the mix of the groups that is nearest to them.

    And how many values the mix is worth (Kish 1965, "Survey sampling": 1 / sum of weight squared / number).

    The weights of the mix (at least 0, of sum 1) that make the largest difference of the cumulative distributions
    smallest are the solution of a linear program. With one group it is the two-sample distance.

    Args:
        values_N: at least one.
        groups: at least one, each of at least one value.
    """
    places_X = np.unique(np.concatenate([values_N, *groups]))
    if len(places_X) > POINTS:
        places_X = np.unique(np.quantile(places_X, np.linspace(0, 1, POINTS), method="nearest"))
    mine_X = _cumulative(values_N, places_X)
    theirs_XG = np.stack([_cumulative(group, places_X) for group in groups], axis=1)
    # Unknowns: the weights, and the largest difference d, with |theirs @ weights - mine| <= d everywhere.
    limit_X1 = np.ones((len(places_X), 1))
    solved = linprog(
        c=[0.0] * len(groups) + [1.0],
        A_ub=np.block([[theirs_XG, -limit_X1], [-theirs_XG, -limit_X1]]),
        b_ub=np.concatenate([mine_X, -mine_X]),
        A_eq=[[1.0] * len(groups) + [0.0]],
        b_eq=[1.0],
        bounds=(0, None),
    )
    assert solved.x is not None, f"equal weights would do: {solved.message}"
    *weights_G, distance = solved.x
    worth = 1 / sum(weight**2 / len(group) for weight, group in zip(weights_G, groups, strict=True))
    return float(np.clip(distance, 0, 1)), float(worth)


def _cumulative(values_N: FloatArray, places_X: FloatArray) -> FloatArray:
    return np.searchsorted(np.sort(values_N), places_X, side="right") / len(values_N)
