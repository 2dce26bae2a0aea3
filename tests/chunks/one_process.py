"""Ray's part of a chunked job in this process: chunk after chunk through the same stages, no process started.

What is a property of the rows needs no more: what a screen writes, says and refuses. That Ray Data does its own part is
seen in tests/jobs/test_screen.py, in tests/jobs/test_prepare.py and on a cluster.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest
import ray
import torch
from ray import cloudpickle

from comit_ray.chunks import graph, nodes, ray_start
from comit_ray.chunks.graph import Commit, Node, ReadParts
from comit_ray.chunks.plan import Plan
from comit_ray.prepare import prepare_pipeline
from comit_ray.screening import screen_pipeline

CORES = 2


@contextmanager
def chunks_here() -> Iterator[None]:
    """Chunked jobs of the block (screen, prepare, ...) run in this process, as on one machine of `CORES` cores."""
    threads = torch.get_num_threads()  # a predictor sets them for its whole process
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_start, "start", lambda *settings: None)
        patch.setattr(nodes, "_other_nodes", dict)
        patch.setattr(ray, "is_initialized", lambda: False)
        patch.setattr(graph, "nodes_there", lambda: [Node(CORES, 0, 0)])
        patch.setattr(graph, "_share", lambda resource, wanted: 1.0)
        for pipeline in (screen_pipeline, prepare_pipeline):
            patch.setattr(pipeline, "Attempts", FirstTries)
        patch.setattr(graph, "read", _read)
        patch.setattr(graph, "write", _write)
        yield
    torch.set_num_threads(threads)


class FirstTries:
    """The ledger of a run in which no process ends: every try is the first."""

    def begin(self, name: str) -> int:
        return 0

    def end(self, name: str) -> None:
        return

    def give_up(self, name: str) -> int:
        return 1


def _travelled(stage: Any) -> Any:
    """As it comes out in another process."""
    return cloudpickle.loads(cloudpickle.dumps(stage))


class _Rows:
    """What a job asks of Ray Data, of rows in this process: each is a block of its own."""

    def __init__(self, rows: Iterable[pa.Table]) -> None:
        self.rows = rows

    def map_batches(self, stage: Any, fn_constructor_kwargs: dict[str, Any] | None = None, **options: Any) -> "_Rows":
        assert (options["batch_size"], options["batch_format"]) == (1, "pyarrow")
        return _Rows(self._mapped(stage, fn_constructor_kwargs))

    def _mapped(self, stage: Any, constructed_with: dict[str, Any] | None) -> Iterator[pa.Table]:
        work: Callable[[pa.Table], Any] = _travelled(stage)
        if isinstance(stage, type):
            work = stage(**_travelled(constructed_with))
        for row in self.rows:
            made = work(row)
            yield from [made] if isinstance(made, pa.Table) else made


def _parts(plan: Plan) -> _Rows:
    parts = [
        {
            "uri": part.uri,
            "chunks": [one.chunk for one in part.chunks],
            "files": [one.file for one in part.chunks],
            "superseded": json.dumps(part.superseded),
        }
        for part in plan.parts
    ]
    return _Rows([pa.Table.from_pylist([part]) for part in parts])


def _read(plan: Plan, reading: ReadParts, *reserved: Any) -> _Rows:
    return _parts(plan).map_batches(reading, batch_size=1, batch_format="pyarrow")


def _write(chunks: _Rows, commit: Commit, *reserved: Any) -> None:
    commit = _travelled(commit)
    for chunk in chunks.rows:
        commit.write([chunk], None)
