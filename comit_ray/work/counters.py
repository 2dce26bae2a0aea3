"""What a chunked job counts while it runs, through Ray's metrics: images by status and reason, bytes, batches, seconds.

Prometheus reads `ray_comit_images_total` and so on; cluster/grafana shows them. A retried task counts again: the tables
are the truth, these are for watching.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import perf_counter

import pyarrow as pa
from ray.util.metrics import Counter

from comit_ray.work.tally import Tally

METRICS = {
    "comit_images": ("Images whose row is committed", ("step", "status", "reason")),
    "comit_bytes": ("Bytes fetched, and bytes of tables before they are compressed", ("step", "stage")),
    "comit_batches": ("Chunks", ("step", "stage")),
    "comit_stage_seconds": ("Seconds of work, summed over threads and processes", ("step", "stage")),
}
"""Name -> what it counts, and its tags."""


class Counters:
    """The counters of one job; they travel to its stages.

    Args:
        step: name of the job: screen or prepare.
        tally: is told the seconds too, and what began; None: no one.
    """

    def __init__(self, step: str, tally: Tally | None = None) -> None:
        self.step, self._tally = step, tally

    def images(self, main: pa.Table) -> None:
        """Count the rows of a committed main table by status and reason."""
        counts = main.select(["status", "reason"]).group_by(["status", "reason"]).aggregate([([], "count_all")])
        for row in counts.to_pylist():
            tags = {"step": self.step, "status": row["status"], "reason": row["reason"] or ""}
            _counter("comit_images").inc(row["count_all"], tags=tags)

    def stage(self, stage: str, seconds: float, size: int = 0, batches: int = 0) -> None:
        """Add to a stage what a part of it took."""
        tags = {"step": self.step, "stage": stage}
        for name, amount in (("comit_stage_seconds", seconds), ("comit_bytes", size), ("comit_batches", batches)):
            if amount > 0:
                _counter(name).inc(amount, tags=tags)
        if self._tally is not None:
            self._tally.add(stage, seconds)

    def began(self, what: str) -> None:
        """An actor did; Ray's own metrics count them."""
        if self._tally is not None:
            self._tally.add(what, 1)

    @contextmanager
    def timed(self, stage: str, size: int = 0) -> Iterator[None]:
        """Count a chunk of a stage, and the seconds of the block."""
        began = perf_counter()
        yield
        self.stage(stage, perf_counter() - began, size, batches=1)


@cache
def _counter(name: str) -> Counter:
    """One a process: Ray keeps every object that is made."""
    description, tags = METRICS[name]
    return Counter(name, description, tag_keys=tags)
