"""Seconds and memory of one block of work, in a process of its own."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def measured(what: str) -> Iterator[None]:
    """Print how long the block took, its CPU seconds, and how far the process's peak resident memory grew."""
    before, started, used = peak_mb(), time.perf_counter(), time.process_time()
    yield
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    print(f"{what}: {seconds:.1f} s, {cpu:.1f} s of CPU, peak {peak_mb():.0f} MB ({before:.0f} MB before)", flush=True)


def peak_mb() -> float:
    """The most resident memory this process has had.

    On Linux from `/proc`: `getrusage` would give a child its parent's peak.
    """
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
