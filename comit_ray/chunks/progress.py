"""Shows the progress of a chunked job, as a bar or as lines: it counts the committed files in the storage.

What one run took, summed over its processes: for whoever measures it (`jobs/benchmark.py`).

Nobody waits for an addition, for a predictor that waits would be measured as one without images. So one that is under
way when the sums are read is not in them: at most the last chunk of a process.

What a chunked job counts while it runs, through Ray's metrics: images by status and reason, bytes, batches, seconds.

Prometheus reads `ray_comit_images_total` and so on; cluster/grafana shows them. A retried task counts again: the tables
are the truth, these are for watching.
"""

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from time import perf_counter
from typing import Any

import pyarrow as pa
import ray
from ray.util.metrics import Counter

from comit_ray.chunks.plan import Plan
from comit_ray.errors import NotFoundError, StorageError
from comit_ray.storage import storage

OFTEN_S, SELDOM_S = 10.0, 60.0
"""Seconds between two lines, in the first minute and later."""
DRAW_S = 2.0
"""Seconds between two looks at the storage for a bar."""


@contextmanager
def lines(done: str, plan: Plan, table: str, silent: bool = False) -> Iterator[None]:
    """Show how far the block is while it runs: a bar on a terminal, a line now and then in a log or a notebook.

    Args:
        done: a word for what is done: "screened".
        plan: what the block does.
        table: URI of the main table.
        silent: print nothing, where another process tells of many such jobs.
    """
    if silent:
        yield
        return
    ended = threading.Event()
    show = _draw if sys.stdout.isatty() else _tell
    teller = threading.Thread(target=show, args=(done, plan, table, ended.wait), daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def line(done: str, rows: int, asked: int, seconds: float) -> str:
    """One line: what is done of what was asked, the rate since the start, and how long the rest takes at that rate."""
    return f"{done} {rows:,} of {asked:,} images, {pace(rows, asked, seconds)}"


def pace(rows: int, asked: int, seconds: float) -> str:
    """The rate since the start, and how long the rest takes at that rate."""
    rate = rows / seconds if seconds > 0 else 0.0
    left = f"about {_span((asked - rows) / rate)} left" if rate else "none done yet"
    return f"{rate:,.1f} a second, {left}"


def committed_rows(plan: Plan, table: str) -> int:
    """Images of the plan's chunks whose file is in the main table.

    Raises:
        StorageError: it cannot be listed.
    """
    rows = {chunk.file: chunk.rows for chunk in plan.chunks}
    try:
        return sum(rows.get(entry.path, 0) for entry in storage.list_files(table, ".parquet"))
    except NotFoundError:
        return 0


def _tell(done: str, plan: Plan, table: str, ended: Callable[[float], bool]) -> None:
    began = time.monotonic()
    before = _rows_or_reason(plan, table)  # chunks that are done again have their old file
    already = before if isinstance(before, int) else 0
    while not ended(OFTEN_S if time.monotonic() - began < SELDOM_S else SELDOM_S):
        rows = _rows_or_reason(plan, table)
        seconds = time.monotonic() - began
        text = line(done, rows - already, plan.rows - already, seconds) if isinstance(rows, int) else rows
        print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}", flush=True)


def _draw(done: str, plan: Plan, table: str, ended: Callable[[float], bool]) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # for people alone

    began = time.monotonic()
    before = _rows_or_reason(plan, table)
    already = before if isinstance(before, int) else 0
    columns = (
        TextColumn(done),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, refresh_per_second=2) as progress:
        bar = progress.add_task("", total=plan.rows - already)
        over = False
        while not over:
            over = ended(DRAW_S)
            rows = _rows_or_reason(plan, table)
            if isinstance(rows, int):
                progress.update(
                    bar,
                    completed=rows - already,
                    description=pace(rows - already, plan.rows - already, time.monotonic() - began),
                )
            else:
                progress.update(bar, description=rows)


def _rows_or_reason(plan: Plan, table: str) -> int | str:
    try:
        return committed_rows(plan, table)
    except StorageError as error:
        return f"how much is done cannot be told: {error}"


def _span(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class _Sums:
    """An actor. One process adds after the other."""

    def __init__(self) -> None:
        self._found: dict[str, float] = defaultdict(float)

    def add(self, name: str, amount: float) -> None:
        self._found[name] += amount

    def read(self) -> dict[str, float]:
        return dict(self._found)


class StageTimer:
    """Seconds by stage, and actors that began.

    It is made in the driver, once Ray runs, and travels with what the stages are given.
    """

    def __init__(self) -> None:
        self._sums: Any = ray.remote(num_cpus=0)(_Sums).remote()

    def add(self, name: str, amount: float) -> None:
        """Add to a name of `comit_ray.chunks.plan`, in a moment."""
        self._sums.add.remote(name, amount)

    def read(self) -> dict[str, float]:
        """Name -> its sum so far, what this process added with it."""
        found: dict[str, float] = ray.get(self._sums.read.remote())
        return found


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

    def __init__(self, step: str, tally: StageTimer | None = None) -> None:
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
