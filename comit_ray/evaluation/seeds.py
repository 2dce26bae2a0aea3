"""The spread of a figure over seeds: what another initialisation and order of training changes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Over the seeds that have a value.

    Args:
        mean: of the values; None where no seed has one.
        deviation: standard deviation with n - 1; None for fewer than two values.
        low: the lowest value.
        high: the highest.
        n: seeds with a value.
        missing: seeds without.
    """

    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None
    n: int
    missing: int


def spread(values: Sequence[float | None]) -> Spread:
    """The spread of a figure over seeds.

    Args:
        values: one a seed; None where it is undefined or the seed failed.

    Raises:
        ValueError: a value that is not finite; what is undefined is None.
    """
    known = np.array([value for value in values if value is not None], np.float64)
    if not np.isfinite(known).all():
        raise ValueError(f"values must be finite or None, got {known[~np.isfinite(known)][0]}")
    missing = len(values) - known.size
    if not known.size:
        return Spread(None, None, None, None, 0, missing)
    deviation = float(known.std(ddof=1)) if known.size > 1 else None
    return Spread(float(known.mean()), deviation, float(known.min()), float(known.max()), known.size, missing)
