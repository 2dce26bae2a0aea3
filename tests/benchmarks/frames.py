"""Frames of a training in mapped files: `python -m tests.benchmarks.frames COUNT [SIZE [DIRECTORY]]`.

Made-up frames (random pixels, no masks) are written as the tasks of `train --frames disk` write them; then, in a
process of its own, they are mapped and read in the order of an epoch, 32 a batch, as a worker reads them. They are
read twice: as the writing left them in the machine's memory, and after the system was asked to drop them from there,
so that they come from the disk. Prints the seconds to write, to map and to list them, images/s of a first and a second
epoch's batches (at most 200,000 images each), and resident memory, of which the pages of the files are told apart: the
system takes these back when memory is short.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from comit_ray.prepare.frames import FRAMES, FrameStore
from comit_ray.prepare.frames_on_disk import MappedFiles, mapped, rows_a_file, write_frames
from comit_ray.tables.vocabulary import Split
from comit_ray.training.batches import global_batches, items, shuffled, training_batches
from tests.benchmarks.measure import measured

BATCH, MOST = 32, 200_000


def made_up(start: int, count: int, size: int) -> pa.Table:
    """Rows `start` to `start + count` of frames; one in ten to validate on, one in fifty was left out, some fail.

    Args:
        start: number of the first.
        count: how many.
        size: side in pixels.
    """
    draw = np.random.default_rng((start, size))
    numbers = range(start, start + count)
    pixels = draw.integers(0, 256, (count, size * size), dtype=np.uint8)
    left = [number % 50 == 7 for number in numbers]
    failed = [number % 97 == 5 and not gone for number, gone in zip(numbers, left, strict=True)]
    lateral = [gone and number % 100 == 7 for number, gone in zip(numbers, left, strict=True)]
    columns = {
        "image_id": [f"made-up/{(number * 7919) % 1_000_003:07d}" for number in numbers],
        "dataset": [("north", "south")[number % 2] for number in numbers],
        "patient_id": [None if number % 11 == 0 else f"made-up/{number // 3}" for number in numbers],
        "view": [("PA", "AP", None)[number % 3] for number in numbers],
        "split": [str(Split.VAL if number // 3 % 10 == 0 else Split.TRAIN) for number in numbers],
        "left_out": [
            ("excluded: lateral" if known else "split: test") if gone else None
            for gone, known in zip(left, lateral, strict=True)
        ],
        "failed": ["truncated: half a file" if one else None for one in failed],
        "pixels": [
            None if bad or (gone and not known) else row.tobytes()
            for row, bad, gone, known in zip(pixels, failed, left, lateral, strict=True)
        ],
        "unhealthy": [number % 2 for number in numbers],
        "covid": [None if number % 5 == 0 else int(number % 4 == 0) for number in numbers],
    }
    return pa.Table.from_arrays(
        [pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(count, f.type) for f in FRAMES],
        schema=FRAMES,
    )


def memory() -> str:
    """Resident memory of this process: its own, and pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) / 1000 for line in lines if line.startswith("Rss")}
    return f"{found['RssAnon']:.0f} MB of its own, {found['RssFile']:.0f} MB of mapped files"


def read(folder: str, size: int) -> None:
    """Map the files, and take batches of two epochs."""
    names = tuple(sorted(path.name for path in Path(folder).glob("*.arrow")))
    with measured("mapped"):
        blocks = mapped(MappedFiles(folder, names))
    with measured("listed"):
        store = FrameStore(blocks, Split.TRAIN, size)
    print(f"{len(store):,} frames to train on; {memory()}")
    for epoch in range(2):
        steps = global_batches(shuffled(items(np.ones(len(store), np.int64)), 0, epoch), BATCH)[: MOST // BATCH]
        began, used, count = time.perf_counter(), time.process_time(), 0
        for batch in training_batches(store, steps, steps):
            count += len(batch)
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        print(f"epoch {epoch + 1}: {count / seconds:,.0f} images/s, {1e3 * cpu / count:.3f} ms of CPU each; {memory()}")


def _drop(folder: str) -> None:
    """Ask the system to drop the files from the machine's memory."""
    for path in Path(folder).iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """Write, then read in a process of its own."""
    count, size = int(sys.argv[1].replace("_", "")), int(sys.argv[2]) if len(sys.argv) > 2 else 128
    with tempfile.TemporaryDirectory(dir=sys.argv[3] if len(sys.argv) > 3 else None) as folder:
        rows, written, began = rows_a_file(size), 0.0, time.perf_counter()
        for start in range(0, count, rows):
            frames = made_up(start, min(rows, count - start), size)
            at = time.perf_counter()
            list(write_frames(frames, folder))
            written += time.perf_counter() - at
        used = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e9
        print(f"{count:,} frames of {size} px, {used:.1f} GB: {written:.1f} s to write", flush=True)
        print(f"({time.perf_counter() - began:.1f} s with making them up)", flush=True)
        os.sync()
        for where in ("the machine's memory", "the disk"):
            print(f"from {where}:", flush=True)
            subprocess.run([sys.executable, "-m", "tests.benchmarks.frames", "read", folder, str(size)], check=True)
            _drop(folder)


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(sys.argv[2], int(sys.argv[3]))
    else:
        main()
