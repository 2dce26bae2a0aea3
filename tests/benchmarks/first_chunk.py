"""Seconds from the command of a screen to its first committed chunk, with small first chunks and without.

    python -m tests.benchmarks.first_chunk MANIFEST CHECKPOINT OUTPUT [IMAGES [RUNS [OPTIONS OF THE SCREEN ...]]]

The two screens take turns on the same images (1,500, three turns), so that a busy machine delays both. A screen is
ended once it has committed a chunk, but for the last turn: there the whole screen is timed.
"""

import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from comit_ray.data.manifest import manifest
from tests.benchmarks.screen_against_script import CHUNK_ROWS, repeated


def equal_chunks(rows: pa.Table) -> pa.Table:
    """The same rows in chunks of the same size."""
    names = [f"images-{number:05d}" for number in np.arange(len(rows)) // CHUNK_ROWS]
    at = rows.schema.get_field_index("chunk")
    return rows.set_column(at, rows.schema.field(at), pa.array(names))


def screened(uri: str, checkpoint: str, output: Path, options: list[str], whole: bool) -> tuple[float, float | None]:
    """Seconds to the first chunk, and of the whole screen if it may end by itself."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "jobs/screen.py", "--manifest", uri, "--checkpoint", checkpoint]
    began = time.monotonic()
    with open(f"{output}.log", "w") as log:
        job = subprocess.Popen([*command, "--output", str(output), *options], stdout=log, stderr=subprocess.STDOUT)
        while not any((output / "predictions").glob("**/*.parquet")):
            if job.poll() is not None:
                raise SystemExit(f"the screen ended without a chunk: {output}.log")
            time.sleep(0.05)
        first = time.monotonic() - began
        if whole:
            job.wait()
            return first, time.monotonic() - began
        job.send_signal(signal.SIGINT)
        job.wait()
    return first, None


def main(uri: str, checkpoint: str, output: str, images: str = "1500", runs: str = "3", *options: str) -> None:
    """Print the seconds of each turn and the ratio of the medians."""
    place = Path(output)
    place.mkdir(parents=True, exist_ok=True)
    rows = repeated(manifest.read(uri), int(images))
    for name, table in (("growing", rows), ("equal", equal_chunks(rows))):
        manifest.write(str(place / name), table, 2048)
    found: dict[str, list[float]] = {"growing": [], "equal": []}
    for turn in range(int(runs)):
        for name, seconds in found.items():
            last = turn == int(runs) - 1
            first, whole = screened(str(place / name), checkpoint, place / f"{name} results", list(options), last)
            seconds.append(first)
            of_all = "" if whole is None else f", the whole screen {whole:.1f} s"
            print(f"{name} chunks: first after {first:.1f} s{of_all}", flush=True)
    ratio = statistics.median(found["growing"]) / statistics.median(found["equal"])
    print(
        f"small first chunks: {ratio:.2f} of the seconds to the first chunk ({int(runs)} turns, {int(images):,} images)"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
