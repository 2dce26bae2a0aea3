"""What decoding in processes of their own costs: images a second with them over without, in the same run.

    python -m tests.benchmarks.faults.decoding_apart FOLDER --images 300 --rounds 5

Reads the images of a folder as a screen's reading task does, with two threads, in turns with and without processes.
Prints one JSON line: seconds of each round, the ratio of their medians, and the CPU seconds of all processes together.
"""

import argparse
import json
import os
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from comit_ray.chunks.reading import read_part
from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images import decoder_processes
from comit_ray.screening.fetch import fail_row, fetch_row
from comit_ray.tables.manifest_schema import MANIFEST
from tests.support import manifest_row

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Of this process and of all below it, those that ended included."""
    times: dict[int, tuple[int, float]] = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                words = (directory / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            times[int(directory.name)] = int(words[1]), sum(map(int, words[11:15])) / TICKS
    mine = {os.getpid()}
    while more := {pid for pid, (parent, _) in times.items() if parent in mine} - mine:
        mine |= more
    return sum(times[pid][1] for pid in mine)


def resident_mb(pid: int) -> float:
    """Memory of one process that it shares with no other, and its part of what it shares."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split("Pss:")[1].split()[0]) / 1000


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    endings = (".png", ".jpg", ".jpeg", ".dcm")
    files = [path for path in sorted(Path(asked.folder).rglob("*")) if path.suffix.lower() in endings]
    files = (files * (1 + asked.images // len(files)))[: asked.images]
    rows: list[dict[str, Any]] = [manifest_row(f"a/{n}", uri=str(path)) for n, path in enumerate(files)]
    table = pa.Table.from_pylist(rows, schema=MANIFEST)
    found: dict[str, list[float]] = {"with": [], "without": []}
    cpu: dict[str, list[float]] = {"with": [], "without": []}
    statuses: dict[str, list[str]] = {}
    for number in range(asked.rounds + 1):
        for name in ("with", "without") if number % 2 else ("without", "with"):
            limits = DecodeLimits(processes=name == "with")
            reading = partial(fetch_row, frame=FrameConfig(), limits=limits)
            began, before = time.perf_counter(), cpu_seconds()
            [(_, made)] = read_part(table, ["a-00000"], reading, fail_row, asked.threads, limits.max_bytes)
            if number:  # the first round warms the page cache, and starts the processes
                found[name].append(time.perf_counter() - began)
                cpu[name].append(cpu_seconds() - before)
            statuses[name] = [row["status"] for row in made]
    assert statuses["with"] == statuses["without"]
    host = decoder_processes._pool._host
    assert host is not None
    children = Path(f"/proc/{host._process.pid}/task/{host._process.pid}/children").read_text().split()
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    size = sum(path.stat().st_size for path in files) / len(files)
    print(
        json.dumps(
            {
                "images": len(files),
                "ok": statuses["with"].count("ok"),
                "mean_kb": round(size / 1000),
                "images_a_second": {name: round(len(files) / median, 1) for name, median in medians.items()},
                "throughput_with_over_without": round(medians["without"] / medians["with"], 3),
                "cpu_with_over_without": round(statistics.median(cpu["with"]) / statistics.median(cpu["without"]), 3),
                "seconds": {name: [round(one, 2) for one in seconds] for name, seconds in found.items()},
                "resident_mb_of_host_and_processes": [round(resident_mb(host._process.pid))]
                + [round(resident_mb(int(pid))) for pid in children],
            }
        )
    )


if __name__ == "__main__":
    main()
