"""A screen against what a user would write.

`python -m tests.benchmarks.screen_against_script MANIFEST CHECKPOINT OUTPUT`

Screen and plain script (tests/benchmarks/plain_script.py) take turns on the same files, each as its own command, so
that both pay for their start. The script runs with its threads and workers at their best, which a first round finds.
Prints the images, and the median and the spread of images a second and of their ratio over the runs. A ratio above 1:
the screen is faster. Run it on a machine that does nothing else. Options:

    --runs N      turns after the first round (5)
    --images N    of the manifest's files, repeated where there are fewer (6,000)
    --screen ...  options of the screen, the last on the line (`--screen --predictors 1`)
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.data.manifest import manifest, manifest_chunks
from comit_ray.tables import parquet

CHUNK_ROWS = 512
RASTER = (".png", ".jpg", ".jpeg")


class Took(NamedTuple):
    """Of one command: seconds, and seconds of CPU that the whole machine was busy with (0: it does not tell)."""

    seconds: float
    cpu: float


def repeated(table: pa.Table, images: int) -> pa.Table:
    """So many rows: the raster files of a manifest that are not excluded, again and again, under new names."""
    known = pc.and_(pc.is_null(table["excluded"]), pc.is_null(table["member"]))
    raster = pa.array([str(uri).lower().endswith(RASTER) for uri in table["uri"].to_pylist()])
    table = table.filter(pc.and_(known, raster))
    if not len(table):
        raise SystemExit("the manifest has no loose PNG or JPEG file that is not excluded: the script reads no other")
    turns, which = np.divmod(np.arange(images), len(table))
    rows = table.take(pa.array(which))
    names = [f"{name}/{turn}" for name, turn in zip(rows["image_id"].to_pylist(), turns, strict=True)]
    for column, values in (("image_id", pa.array(names)), ("patient_id", pa.array(names))):
        rows = rows.set_column(rows.schema.get_field_index(column), rows.schema.field(column), values)
    at = rows.schema.get_field_index("chunk")
    return rows.set_column(at, rows.schema.field(at), manifest_chunks.chunk_names(rows, CHUNK_ROWS))


def timed(command: Sequence[str]) -> Took:
    """Run it; what it prints is shown only where it fails."""
    began, busy = time.monotonic(), _busy()
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    took = Took(time.monotonic() - began, _busy() - busy)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return took


def _busy() -> float:
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, *_ = map(int, stat.read_text().splitlines()[0].split()[1:])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def shapes(cores: int) -> Iterator[tuple[int, int]]:
    """Workers and threads of the script that are worth a try on so many cores."""
    for workers in sorted({0, 1, cores // 2, cores}):
        for threads in sorted({max(1, cores - workers), cores}):
            yield workers, threads


def spread(values: Sequence[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def prepare(manifest_uri: str, output: Path, images: int) -> Path:
    """Write OUTPUT/manifest, with so many rows, and the paths of their files a line each; returns the latter."""
    rows = repeated(parquet.read_table(manifest_uri), images)
    output.mkdir(parents=True)
    manifest.write(str(output / "manifest"), rows, CHUNK_ROWS)
    files = output / "files.txt"
    files.write_text("\n".join(str(one).removeprefix("file://") for one in rows["uri"].to_pylist()))
    return files


def screened(output: Path, uri: str, screen: Sequence[str]) -> Took:
    """Screen OUTPUT/manifest as a command with these options; its results are removed."""
    target = output / "screen"
    options = ["--manifest", str(output / "manifest"), "--checkpoint", uri, "--output", str(target), *screen]
    took = timed(["jobs/screen.py", *options])
    shutil.rmtree(target)
    return took


def main(manifest_uri: str, uri: str, output: Path, runs: int, images: int, screen: Sequence[str]) -> None:
    """Compare and print."""
    files = prepare(manifest_uri, output, images)

    def script(workers: int, threads: int) -> Took:
        target = output / "script"
        options = ["--workers", str(workers), "--threads", str(threads)]
        took = timed(["-m", "tests.benchmarks.plain_script", str(files), uri, str(target), *options])
        shutil.rmtree(target)
        return took

    first = {shape: script(*shape).seconds for shape in shapes(os.cpu_count() or 1)}
    for (workers, threads), seconds in first.items():
        print(f"script, {workers} workers, {threads} threads: {images / seconds:.2f} images/s", flush=True)
    best = min(first, key=lambda shape: first[shape])
    scripts, screens = [], []
    for _ in range(runs):
        scripts.append(script(*best))
        screens.append(screened(output, uri, screen))
    print(
        f"{images:,} images, {runs} runs in turn, start and end included; the script with {best[0]} workers and "
        f"{best[1]} threads"
    )
    for name, took in (("script", scripts), ("screen", screens)):
        rates, cpus = [images / one.seconds for one in took], [one.cpu for one in took]
        print(f"{name}: {spread(rates)} images/s, {spread([1000 * cpu / images for cpu in cpus])} ms of CPU an image")
    ratios = [script.seconds / screen.seconds for script, screen in zip(scripts, screens, strict=True)]
    print(f"screen over script: {spread(ratios)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("checkpoint")
    parser.add_argument("output", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--images", type=int, default=6_000)
    parser.add_argument("--screen", nargs=argparse.REMAINDER, default=[])
    asked = parser.parse_args()
    main(asked.manifest, asked.checkpoint, asked.output, asked.runs, asked.images, asked.screen)
