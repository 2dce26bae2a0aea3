"""The quick figures are those of comit_ray.statistics.roc."""

from collections.abc import Callable

import numpy as np
import pytest

from comit_ray.statistics import roc
from comit_ray.statistics.weighted import FloatArray, RankedScores, Rates

Figure = tuple[Callable[[Rates], FloatArray], Callable[..., float | None]]


def sensitivity(at: float) -> Figure:
    return (
        lambda rates: rates.sensitivity(at),
        lambda scores, labels: roc.sensitivity_at_specificity(scores, labels, at),
    )


FIGURES: dict[str, Figure] = {
    "auroc": (Rates.auroc, roc.auroc),
    "eer": (Rates.eer, roc.eer),
    **{f"sensitivity at {at}": sensitivity(at) for at in (0.5, 0.9, 0.99, 1.0)},
}


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("levels", [5, 100_000])
def test_equals_the_metric_of_the_drawn_images(figure: str, levels: int) -> None:
    """Many ties, and none; images drawn several times or never; images without a score."""
    rng = np.random.default_rng(levels)
    quick, slow = FIGURES[figure]
    labels = rng.random(60) < 0.3
    scores = (rng.integers(0, levels, (7, 60)) / levels + 0.2 * labels).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = np.nan
    ranked = RankedScores(scores, labels)
    for _ in range(20):
        rows = rng.integers(0, 60, 60)
        found = quick(ranked.rates(np.bincount(rows, minlength=60)))
        for table, value in zip(scores, found, strict=True):
            drawn = rows[~np.isnan(table[rows])]
            assert value == pytest.approx(slow(table[drawn], labels[drawn]), abs=1e-12)


@pytest.mark.parametrize("figure", FIGURES)
def test_one_class_has_no_figure(figure: str) -> None:
    """Only that table whose scored images are of one class."""
    ranked = RankedScores([[0.1, 0.2, np.nan], [0.1, 0.2, 0.3]], [0, 0, 1])
    found = FIGURES[figure][0](ranked.rates([1, 1, 1]))
    assert np.isnan(found).tolist() == [True, False]
    assert np.isnan(FIGURES[figure][0](ranked.rates([1, 1, 0]))).all()


def test_all_scores_alike() -> None:
    rates = RankedScores([[0.5, 0.5, 0.5, 0.5]], [1, 0, 1, 0]).rates([1, 1, 1, 1])
    assert rates.auroc().tolist() == [0.5]
    assert rates.sensitivity(0.9).tolist() == [0.0]
