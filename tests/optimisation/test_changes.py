"""What changes between two models is counted, and what is worse than the bounds is refused."""

from typing import Any

import numpy as np
import pytest

from comit_ray.checkpoint import operating_points
from comit_ray.config.optimise_config import BoundsConfig
from comit_ray.inference.scores import Scores, pack_masks
from comit_ray.optimisation import changes
from comit_ray.tables.vocabulary import Task

N, SIZE = 200, 16
LABELS = {
    "covid": np.array([0, 1] * (N // 2), np.int8),
    "other": np.full(N, -1, np.int8),
    "unhealthy": np.array([0, 0, 1, 1] * (N // 4), np.int8),
}


def scores(moved: float = 0.0, finite: bool = True, shift: int = 0) -> Scores:
    random = np.random.default_rng(0)
    known = {name: np.where(LABELS[name] == 1, 0.6, 0.4) + random.normal(size=N) * 0.05 for name in LABELS}
    known["covid"][::20] += moved
    mask = np.zeros((N, SIZE, SIZE), bool)
    mask[:, 4:12, 4 + shift : 12 + shift] = True
    return Scores(
        np.zeros((N, 2), np.float32),
        np.array([finite] + [True] * (N - 1)),
        SIZE,
        SIZE,
        log_odds={name: np.log(p / (1 - p)) for name, p in known.items()},
        masks={Task.LUNG: pack_masks(mask)},
        **{f"p_{name}": p.astype(np.float32) for name, p in known.items()},
    )


def points(found: Scores) -> Any:
    return operating_points.choose({n: (found.probabilities[n], LABELS[n]) for n in ("covid", "unhealthy")}, (0.9,))


def compare(now: Scores) -> dict[str, Any]:
    was = scores()
    return changes.measure(was, now, points(was), points(now), LABELS)


def test_of_the_same_scores_nothing_changes() -> None:
    found = compare(scores())
    assert found["score_p99"] == {"covid": 0.0, "other": 0.0, "unhealthy": 0.0}
    assert set(found["flags_changed"].values()) == {0.0}
    assert found["lung_iou"] == 1.0
    assert found["auroc"] == found["auroc_before"]
    assert found["auroc"]["other"] is None, "no label is known"
    assert changes.beyond(found, BoundsConfig()) == []
    assert any("lung masks: mean IoU 1.0000" in line for line in changes.lines("same", found, 2.0))


def test_flags_are_those_of_each_models_own_thresholds() -> None:
    """A constant added to every score changes the scores and no flag."""
    was = scores()
    lifted = {f"p_{n}": (p + 0.1).astype(np.float32) for n, p in was.probabilities.items()}
    now = Scores(was.embedding, was.finite, SIZE, SIZE, log_odds=was.log_odds, masks=was.masks, **lifted)
    found = changes.measure(was, now, points(was), points(now), LABELS)
    assert found["score_p99"]["covid"] == pytest.approx(0.1, abs=1e-6)
    assert max(found["flags_changed"].values()) <= 1 / N


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (scores(moved=0.3), "p_covid differs by 0.3000 at the 99th percentile, at most 0.02 is allowed"),
        (scores(moved=0.3), "AUROC of covid falls from"),
        (scores(moved=0.3), "of the flags at specificity_0.90 covid differ"),
        (scores(finite=False), "1 images have no finite scores any more"),
        (scores(shift=4), "the two lung masks have a mean IoU of 0.333, at least 0.98 is wanted"),
    ],
)
def test_what_is_worse_than_the_bounds_is_said(now: Scores, said: str) -> None:
    assert any(said in problem for problem in changes.beyond(compare(now), BoundsConfig()))
