"""Shows the progress and the remaining time of a chunked job, and counts its work for Ray's metrics and the benchmark.

Progress is the number of images in committed files. The counters (images by status and reason, bytes, batches, seconds)
go to Prometheus as `ray_comit_images_total` and so on; cluster/grafana shows them. A retried task counts again: the
tables are authoritative, and the counters are for watching.

`StageTimer` sums the seconds of each stage over all processes of a run (`comit-ray benchmark`). To add to a sum does
not block, because a blocked predictor would look like one that waits for images. So an addition that is still on its
way is missing when the sums are read: at most the last chunk of each process.
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
from comit_ray.tables.vocabulary import counted

OFTEN_S, SELDOM_S = 10.0, 60.0
"""Seconds between two lines: in the first minute, and later."""
DRAW_S = 2.0
"""Seconds between two updates of the bar."""


@contextmanager
def lines(done: str, plan: Plan, table: str, silent: bool = False) -> Iterator[None]:
    """Shows the progress of the block: a bar on a terminal, or a line now and then in a log or a notebook.

    Args:
        done: the verb for a finished image, such as "screened".
        plan: the chunks that the block processes.
        table: URI of the main table.
        silent: print nothing, where another process reports on many such jobs.
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
    """Returns one line: images done and asked for, the rate since the start, and the remaining time."""
    return f"{done} {rows:,} of {counted(asked, 'image')}, {pace(rows, asked, seconds)}"


def pace(rows: int, asked: int, seconds: float) -> str:
    """Returns the images per second since the start, and the remaining time at that rate, as text."""
    rate = rows / seconds if seconds > 0 else 0.0
    left = f"about {_span((asked - rows) / rate)} left" if rate else "none done yet"
    return f"{rate:,.1f} a second, {left}"


def committed_rows(plan: Plan, table: str) -> int:
    """Counts the images of the plan's chunks whose file is in the main table.

    Raises:
        StorageError: the table cannot be listed.
    """
    rows = {chunk.file: chunk.rows for chunk in plan.chunks}
    try:
        return sum(rows.get(entry.path, 0) for entry in storage.list_files(table, ".parquet"))
    except NotFoundError:
        return 0


def _tell(done: str, plan: Plan, table: str, ended: Callable[[float], bool]) -> None:
    began = time.monotonic()
    before = _rows_or_reason(plan, table)  # chunks that are processed again still have their old file
    already = before if isinstance(before, int) else 0
    while not ended(OFTEN_S if time.monotonic() - began < SELDOM_S else SELDOM_S):
        rows = _rows_or_reason(plan, table)
        seconds = time.monotonic() - began
        text = line(done, rows - already, plan.rows - already, seconds) if isinstance(rows, int) else rows
        print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}", flush=True)


def _draw(done: str, plan: Plan, table: str, ended: Callable[[float], bool]) -> None:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )  # only a bar needs it

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
        return f"the progress is not known: {error}"


def _span(seconds: float) -> str:
    """Formats a duration in seconds, minutes or hours, whichever reads best."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class _Sums:
    """The actor that holds the sums; it handles one addition after the other."""

    def __init__(self) -> None:
        self._found: dict[str, float] = defaultdict(float)

    def add(self, name: str, amount: float) -> None:
        self._found[name] += amount

    def read(self) -> dict[str, float]:
        return dict(self._found)


class StageTimer:
    """Sums the seconds of each stage, and the number of started actors, over all processes of a run.

    Create it in the driver after Ray has started; it can be passed to the stages.
    """

    def __init__(self) -> None:
        self._sums: Any = ray.remote(num_cpus=0)(_Sums).remote()

    def add(self, name: str, amount: float) -> None:
        """Adds an amount to a name of `comit_ray.chunks.plan` without waiting for the result."""
        self._sums.add.remote(name, amount)

    def read(self) -> dict[str, float]:
        """Returns name -> sum so far, with everything that this process has added."""
        found: dict[str, float] = ray.get(self._sums.read.remote())
        return found


METRICS = {
    "comit_images": ("Images whose row is committed", ("step", "status", "reason")),
    "comit_bytes": ("Bytes fetched, and bytes of tables before they are compressed", ("step", "stage")),
    "comit_batches": ("Chunks", ("step", "stage")),
    "comit_stage_seconds": ("Seconds of work, summed over threads and processes", ("step", "stage")),
}
"""Metric name -> its description and its tags."""


class Counters:
    """Counters of one job; they are passed to its stages.

    Args:
        step: name of the job: screen or prepare.
        tally: timer that also receives the seconds and the started actors; None: no timer.
    """

    def __init__(self, step: str, tally: StageTimer | None = None) -> None:
        self.step, self._tally = step, tally

    def images(self, main: pa.Table) -> None:
        """Counts the rows of a committed main table by status and reason."""
        counts = main.select(["status", "reason"]).group_by(["status", "reason"]).aggregate([([], "count_all")])
        for row in counts.to_pylist():
            tags = {"step": self.step, "status": row["status"], "reason": row["reason"] or ""}
            _counter("comit_images").inc(row["count_all"], tags=tags)

    def stage(self, stage: str, seconds: float, size: int = 0, batches: int = 0) -> None:
        """Adds seconds of work, bytes and batches to a stage."""
        tags = {"step": self.step, "stage": stage}
        for name, amount in (("comit_stage_seconds", seconds), ("comit_bytes", size), ("comit_batches", batches)):
            if amount > 0:
                _counter(name).inc(amount, tags=tags)
        if self._tally is not None:
            self._tally.add(stage, seconds)

    def began(self, what: str) -> None:
        """Tells the timer that an actor started; Ray's own metrics count actors already."""
        if self._tally is not None:
            self._tally.add(what, 1)

    @contextmanager
    def timed(self, stage: str, size: int = 0) -> Iterator[None]:
        """Measures the block, and adds its seconds and one batch to a stage."""
        began = perf_counter()
        yield
        self.stage(stage, perf_counter() - began, size, batches=1)


@cache
def _counter(name: str) -> Counter:
    """Returns a metric; each process creates it once, because Ray keeps every metric object."""
    description, tags = METRICS[name]
    return Counter(name, description, tag_keys=tags)
