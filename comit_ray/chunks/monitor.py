"""How far a chunked job is, in plain lines for a log: counted in the storage, where a committed chunk is a file."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from comit_ray.chunks.plan import Plan
from comit_ray.errors import NotFoundError, StorageError
from comit_ray.storage import storage

OFTEN_S, SELDOM_S = 10.0, 60.0
"""Seconds between two lines, in the first minute and later."""


@contextmanager
def lines(done: str, plan: Plan, table: str, silent: bool = False) -> Iterator[None]:
    """Print a line now and then while the block runs; none on a terminal, where Ray draws bars.

    Args:
        done: a word for what is done: "screened".
        plan: what the block does.
        table: URI of the main table.
        silent: print nothing, where another process tells of many such jobs.
    """
    if silent or sys.stdout.isatty():
        yield
        return
    ended = threading.Event()
    teller = threading.Thread(target=_tell, args=(done, plan, table, ended.wait), daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def line(done: str, rows: int, asked: int, seconds: float) -> str:
    """One line: what is done of what was asked, the rate since the start, and how long the rest takes at that rate."""
    rate = rows / seconds if seconds > 0 else 0.0
    left = f"about {_span((asked - rows) / rate)} left" if rate else "none done yet"
    return f"{done} {rows:,} of {asked:,} images, {rate:,.1f} a second, {left}"


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
