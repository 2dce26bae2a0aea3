"""Whose masks are made with `--masks flagged`: the flagged, those near a threshold, and some at random."""

import numpy as np
import pytest
from scipy.special import expit, logit

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import run_record
from comit_ray.config.queue_config import QueueConfig
from comit_ray.inference.scores import Scores
from comit_ray.screening.mask_choice import NEAR, RANDOM, SEED, chosen, made_of_some, random_number, setting

NAMES = [name for name in map(str, range(200)) if random_number(SEED, name) < 1 - RANDOM]
"""Images that chance does not draw."""


def scores(p_covid) -> Scores:
    odds = logit(np.array(p_covid, float))
    count = len(odds)
    embedding, finite = np.zeros((count, 2), np.float32), np.ones(count, bool)
    p = expit(odds).astype(np.float32)
    return Scores(embedding, finite, 32, 32, p_covid=p, log_odds={"covid": odds})


def choice(p_covid, threshold=0.5, temperatures=None, site=False, flags=None) -> list[bool]:
    point = OperatingPoint("x", {"covid": threshold, "unhealthy": 0.5})
    found = chosen(scores(p_covid), flags or {}, point, temperatures or {}, site, NAMES[: len(p_covid)])
    return found.tolist()


NEAREST = float(expit(-NEAR))


def test_near_the_threshold_from_below_and_all_above() -> None:
    assert choice([0.01, NEAREST - 1e-6, NEAREST + 1e-6, 0.5, 0.99]) == [False, False, True, True, True]


def test_near_is_meant_for_the_scores_as_written() -> None:
    """A temperature of 2 brings more images near the threshold, as it does in the review queue."""
    far = float(expit(-2 * NEAR)) + 1e-6
    assert choice([far]) == [False]
    assert choice([far], temperatures={"covid": 2.0}) == [True]
    site = float(expit(logit(0.8) / 2))  # the same place, said on the scale as written
    below = float(expit(logit(0.8) - 2 * NEAR)) + 1e-6
    assert choice([below], 0.8, {"covid": 2.0}) == choice([below], site, {"covid": 2.0}, site=True) == [True]


def test_a_flag_of_any_score_is_enough() -> None:
    assert choice([0.01, 0.01], flags={"unhealthy": np.array([False, True])}) == [False, True]


def test_thresholds_of_zero_and_one() -> None:
    assert choice([1e-6, 0.9], threshold=0.0) == [True, True]
    assert choice([1e-6, 0.9], threshold=1.0) == [False, False]


def test_of_no_image_nothing_is_chosen() -> None:
    assert choice([]) == []


def test_the_draw_is_the_review_queues_and_a_little_more() -> None:
    assert QueueConfig().seed == SEED
    assert QueueConfig().near_threshold == NEAR
    assert QueueConfig().random_negatives < RANDOM
    ids = [f"a/{i}" for i in range(20_000)]
    point = OperatingPoint("x", {"covid": 1.0})
    drawn = chosen(scores(np.full(len(ids), 0.01)), {}, point, {}, False, ids)
    assert drawn.mean() == pytest.approx(RANDOM, abs=0.005)
    first = sorted(ids, key=lambda one: -random_number(SEED, one))[: round(0.02 * len(ids))]
    assert drawn[[int(one[2:]) for one in first]].all()


def test_the_record_tells_a_choice(tmp_path) -> None:
    for masks, some in (("all", False), ("flagged", True), ("none", False)):
        output = str(tmp_path / masks)
        run_record.open_run(output, {"masks": setting(masks)}, {}, "predictions")
        assert made_of_some(output) is some
    assert not made_of_some(str(tmp_path / "none there"))
