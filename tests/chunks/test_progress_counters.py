"""What is counted, with Ray's counter replaced by one that remembers."""

from typing import Any

import pyarrow as pa
import pytest

from comit_ray.chunks import progress
from comit_ray.chunks.plan import FETCH, WRITE
from comit_ray.chunks.progress import METRICS, Counters


@pytest.fixture
def counted(monkeypatch) -> dict[tuple[str, ...], float]:
    """(metric, the values of its tags) -> sum."""
    found: dict[tuple[str, ...], float] = {}

    class Remembering:
        def __init__(self, name: str) -> None:
            self.name = name

        def inc(self, amount: float, tags: dict[str, str]) -> None:
            assert set(tags) == set(METRICS[self.name][1])
            key = (self.name, *(tags[tag] for tag in METRICS[self.name][1]))
            found[key] = found.get(key, 0) + amount

    monkeypatch.setattr(progress, "_counter", Remembering)
    return found


def test_images_are_counted_by_status_and_reason(counted: dict[Any, float]) -> None:
    main = pa.table({"status": ["ok", "ok", "failed", "excluded"], "reason": [None, None, "truncated", "lateral"]})
    Counters("screen").images(main)
    Counters("screen").images(main.slice(0, 1))
    assert counted == {
        ("comit_images", "screen", "ok", ""): 3,
        ("comit_images", "screen", "failed", "truncated"): 1,
        ("comit_images", "screen", "excluded", "lateral"): 1,
    }


def test_a_stage_counts_seconds_bytes_and_chunks(counted: dict[Any, float]) -> None:
    Counters("prepare").stage(FETCH, 1.5, 100, batches=1)
    with Counters("prepare").timed(WRITE, 7):
        pass
    assert counted["comit_stage_seconds", "prepare", FETCH] == 1.5
    assert counted["comit_bytes", "prepare", FETCH] == 100
    assert counted["comit_bytes", "prepare", WRITE] == 7
    assert counted["comit_batches", "prepare", WRITE] == 1
    assert counted["comit_stage_seconds", "prepare", WRITE] > 0


def test_nothing_is_no_sample(counted: dict[Any, float]) -> None:
    """Ray refuses to count 0."""
    Counters("prepare").stage(FETCH, 0.0, 0)
    assert counted == {}
