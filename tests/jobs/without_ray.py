"""A screen in this process, without Ray: the stages of its graph one after the other, as they are."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pyarrow as pa
import pytest

from comit_ray.chunks import graph, nodes, ray_start
from comit_ray.chunks.plan import Plan
from comit_ray.screening import screen_pipeline
from comit_ray.screening.pool_sizes import Pool


class Silent:
    """Counters and tries that count nothing."""

    def __init__(self, *_: Any) -> None:
        """Takes what the real ones take."""

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *_, **__: 0

    @contextmanager
    def timed(self, *_: Any) -> Iterator[None]:
        """Times nothing."""
        yield


class Chunks:
    """What stands for a dataset of chunks."""

    def __init__(self, blocks: Iterable[pa.Table]) -> None:
        self.blocks = blocks

    def map_batches(self, stage: Callable[..., Any], *, fn_constructor_kwargs: dict[str, Any], **_: Any) -> "Chunks":
        """The stage's actor, made here, on every chunk."""
        actor = stage(**fn_constructor_kwargs)
        return Chunks(actor(block) for block in self.blocks)


def read(plan: Plan, reading: graph.ReadParts, *_: Any) -> Chunks:
    """Stands for `graph.read`."""
    parts = (pa.Table.from_pylist([row]) for row in graph.rows_of(plan))
    return Chunks(chunk for part in parts for chunk in reading(part))


def write(chunks: Chunks, commit: graph.Commit, *_: Any) -> None:
    """Stands for `graph.write`."""
    commit.write(chunks.blocks, None)


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Screens of this test run in this process."""
    monkeypatch.setattr(graph, "read", read)
    monkeypatch.setattr(graph, "write", write)
    monkeypatch.setattr(graph, "chunk_context", lambda cpus: nullcontext())
    monkeypatch.setattr(graph, "in_an_actor", lambda: True)
    monkeypatch.setattr(screen_pipeline, "Counters", Silent)
    monkeypatch.setattr(screen_pipeline, "Attempts", Silent)
    monkeypatch.setattr(screen_pipeline, "pool_of", lambda *_: Pool(1, 1, None, None, 1, 1.0, 1.0, 1.0))
    monkeypatch.setattr(ray_start, "start", lambda: None)
    monkeypatch.setattr(nodes, "check", lambda *_: None)
