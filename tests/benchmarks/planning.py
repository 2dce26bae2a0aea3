"""Planning and resuming a screen of ten million images without any: `python -m tests.benchmarks.planning [ROWS [DIR]]`.

Writes a manifest and the finished chunks of its first half (not counted), then plans in a process of its own what a
resumed `screen.py` does before its first image: the plan, and which chunks are committed.
"""

import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from comit_ray.chunks import accounts, plan
from comit_ray.chunks.plan import chunk_file
from comit_ray.data.manifest import manifest
from comit_ray.screening.screen_tables import layout
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import MASKS, PREDICTIONS
from tests.benchmarks.measure import measured

CHUNK, PART = 512, 2_048


def write(rows: int, folder: Path, finished: float = 0.5) -> None:
    """A manifest of `rows` images, three a patient, and the first share of its chunks as a screen leaves them."""
    numbers = np.arange(rows)
    text = {
        "image_id": [f"big/{number // 1000:05d}/{number:08d}.dcm" for number in numbers],
        "uri": [f"s3://archive/{number // 1000:05d}/{number:08d}.dcm" for number in numbers],
        "patient_id": [f"big/{number // 3:07d}" for number in numbers],
        "chunk": [f"big-{number // CHUNK:05d}" for number in numbers],
        "view": np.where(numbers % 2, "PA", "AP"),
        "split": np.array(["train", "val", "test"])[numbers // 3 % 3],
    }
    same = {"dataset": "big", "view_source": "benchmark", "findings": [], "file_size": 1, "file_tag": "1"}
    columns = [
        pa.array(text[field.name], field.type)
        if field.name in text
        else pa.repeat(pa.scalar(same.get(field.name), field.type), rows)
        for field in MANIFEST
    ]
    table = pa.Table.from_arrays(columns, schema=MANIFEST)
    with measured(f"manifest of {rows:,} rows written"):
        manifest.write(str(folder / "manifest"), table, PART)
    ids = table["image_id"]
    with measured(f"{finished:.0%} of its chunks written"):
        for start in range(0, int(rows * finished), CHUNK):
            finish(folder / "results", f"big-{start // CHUNK:05d}", ids.slice(start, CHUNK).to_pylist())


def finish(results: Path, chunk: str, ids: list[str]) -> None:
    """The files of a finished chunk."""
    common = {"status": "ok", "model_id": "m", "run_id": "r", "screened_at": datetime(2026, 1, 1, tzinfo=UTC)}
    frame = {"frame_height": 224, "frame_width": 224, "fit": "stretch", "original_top": 0, "original_left": 0}
    frame |= {"rows_per_pixel": 1, "columns_per_pixel": 1}
    file = chunk_file(chunk, ids)
    predictions = pa.Table.from_pylist([{"image_id": one, "p_covid": 0.1} | common for one in ids], schema=PREDICTIONS)
    masks = pa.Table.from_pylist([{"image_id": one} | frame for one in ids], schema=MASKS)
    parquet.write_table(str(results / "masks" / file), masks)
    parquet.write_table(str(results / "predictions" / file), predictions)


def resume(folder: Path) -> None:
    """What is left to do."""
    with measured("planned, and what is committed found"):
        whole = plan.make_plan(str(folder / "manifest"), "all")
        done = accounts.committed(whole, str(folder / "results"), layout(embeddings=False))
        left = whole.without(done)
    print(f"{whole.rows:,} rows in {len(whole.chunks):,} chunks, {len(done):,} committed, {left.rows:,} rows are left")


if __name__ == "__main__":
    if sys.argv[1:2] == ["resume"]:
        resume(Path(sys.argv[2]))
    else:
        count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
        with tempfile.TemporaryDirectory() as made:
            where = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(made)
            write(count, where)
            subprocess.run([sys.executable, "-m", "tests.benchmarks.planning", "resume", str(where)], check=True)
