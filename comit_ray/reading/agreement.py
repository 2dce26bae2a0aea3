"""Agreement of two readers: percent, Cohen's kappa (plain and quadratic) and Gwet's AC1, from a table of counts.

    table_KK[a, b]: number of images that the first reader put in category a and the second in category b

Sources: J. Cohen 1960 and 1968 (kappa, weighted kappa); K. L. Gwet 2008, "Computing inter-rater reliability and its
variance in the presence of high agreement" (AC1, which stays high where nearly all images are of one category).
"""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from comit_ray.statistics.intervals import Interval, bootstrap, varied

FloatArray = npt.NDArray[np.float64]
METRICS = ("agreement", "kappa", "kappa_quadratic", "ac1")


def count(first: npt.ArrayLike, second: npt.ArrayLike, categories: int) -> npt.NDArray[np.int64]:
    """Count how often two readers chose each pair of categories.

    Args:
        first: (N,) category chosen by the first reader for each image, whole numbers from 0.
        second: (N,) the same by the second reader, for the same images.
        categories: number of categories K.

    Returns:
        (K, K) counts; rows are the first reader's categories.

    Raises:
        ValueError: the two lists differ in length, or a category is outside its range.
    """
    a, b = np.asarray(first, np.int64), np.asarray(second, np.int64)
    if a.shape != b.shape or (a.size and not 0 <= min(a.min(), b.min()) <= max(a.max(), b.max()) < categories):
        raise ValueError(f"expected two readings of the same images in {categories} categories")
    table_KK = np.zeros((categories, categories), np.int64)
    np.add.at(table_KK, (a, b), 1)
    return table_KK


def measures(table_KK: npt.ArrayLike) -> dict[str, float | None]:
    """Compute every measure of `METRICS` from a table of counts.

    Args:
        table_KK: (K, K) counts, for at least two categories.

    Returns:
        Name of the measure -> its value. All are None if the table is empty. Kappa is None if chance alone would give
            full agreement.

    Raises:
        ValueError: the table is not a square table of counts.
    """
    table = np.asarray(table_KK, np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2 or (table < 0).any():
        raise ValueError(f"expected a square table of counts of two categories or more, got {table.shape}")
    total = table.sum()
    if not total:
        return dict.fromkeys(METRICS)
    shares = table / total
    place = np.arange(len(table))
    distance = (place[:, None] - place[None, :]) ** 2 / (len(table) - 1) ** 2
    return {
        "agreement": float(np.trace(shares)),
        "kappa": _kappa(shares, np.eye(len(table))),
        "kappa_quadratic": _kappa(shares, 1 - distance),
        "ac1": _ac1(shares),
    }


def with_intervals(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    categories: int,
    patients: Iterable[object],
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float | None, Interval]]:
    """Compute every measure of `METRICS` with its 95% interval, by a bootstrap that draws patients.

    Args:
        first: (N,) category of each reading by the first reader, whole numbers from 0.
        second: (N,) category by the second reader.
        categories: number of categories.
        patients: (N,) patient of each reading. The zones of one image belong to one patient too.
        draws: number of bootstrap draws.
        seed: seed of the draws.

    Returns:
        Name of the measure -> its value and interval.
    """
    a, b = np.asarray(first, np.int64), np.asarray(second, np.int64)
    values = measures(count(first, second, categories))
    if not a.size:
        nothing = Interval(None, None, "patient bootstrap", "no image was read by both")
        return dict.fromkeys(METRICS, (None, nothing))

    def drawn(rows: npt.NDArray[np.int64]) -> Mapping[str, float | None]:
        table = np.bincount(a[rows] * categories + b[rows], minlength=categories**2)
        return measures(table.reshape(categories, categories))

    intervals = bootstrap(drawn, list(patients), draws, seed)
    return {name: (values[name], varied(intervals[name])) for name in METRICS}


def _kappa(shares: FloatArray, weights: FloatArray) -> float | None:
    """Agreement beyond chance; None if chance gives full agreement.

    Chance agreement follows from how often each reader uses each category.
    """
    expected = float((weights * np.outer(shares.sum(axis=1), shares.sum(axis=0))).sum())
    if expected >= 1 - 1e-12:
        return None
    return (float((weights * shares).sum()) - expected) / (1 - expected)


def _ac1(shares: FloatArray) -> float:
    """Gwet's AC1; chance agreement follows from the mean share of each category (Gwet 2008, equation 9)."""
    mean = (shares.sum(axis=1) + shares.sum(axis=0)) / 2
    expected = float((mean * (1 - mean)).sum() / (len(shares) - 1))
    return (float(np.trace(shares)) - expected) / (1 - expected)
