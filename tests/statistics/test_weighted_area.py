import numpy as np
import pytest

from comit_ray.statistics import roc
from comit_ray.statistics.weighted import Area, RankedScores


@pytest.mark.parametrize("levels", [3, 100_000])
def test_it_is_that_of_scikit_learn_and_of_weighted_in_any_draw(levels: int) -> None:
    rng = np.random.default_rng(levels)
    labels = rng.random(60) < 0.3
    scores = (rng.integers(0, levels, 60) / levels + 0.2 * labels).astype(np.float32)
    known = rng.random(60) < 0.9
    area = Area(np.where(known, scores, np.nan), labels, known)
    other = RankedScores(np.where(known, scores, np.nan)[None], labels)
    for _ in range(25):
        rows = rng.integers(0, 60, 60)
        weights = np.bincount(rows, minlength=60)
        drawn = rows[known[rows]]
        (found,) = area(weights)
        assert found == pytest.approx(roc.auroc(scores[drawn], labels[drawn].astype(int)))
        assert found == pytest.approx(other.rates(weights).auroc()[0])


def test_one_class_or_none_has_no_area() -> None:
    area = Area([0.1, 0.2, 0.3], [True, False, False], [True, True, True])
    assert area(np.array([1, 1, 0])) == [0.0]
    assert np.isnan(area(np.array([0, 1, 2]))).all()
    assert np.isnan(Area([0.1], [True], [False])(np.array([3]))).all()
