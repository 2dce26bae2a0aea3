"""Bit flips in committed files: how many are taken for whole and read differently. The goal is none.

    python tests/benchmarks/faults/bit_flips.py --flips 1000 --rows 512 --seed 0

A chunk of predictions and masks is committed as a screen commits it. Then one bit of one of its files is flipped, and
the file is read as a resume and the reports read it, and with pyarrow's own reader. Prints one JSON line, with the cost
of the sums in bytes and in CPU microseconds an image.
"""

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from comit_ray.chunks import accounts
from comit_ray.chunks import plan as planning
from comit_ray.chunks.ownership import Owner, take_lease
from comit_ray.chunks.plan import ChunkPlan
from comit_ray.data.masks.masks import to_png
from comit_ray.errors import StorageError
from comit_ray.screening.screen_tables import layout
from comit_ray.tables import parquet, seal
from comit_ray.tables.schema import MASKS, PREDICTIONS

LAYOUT = layout(embeddings=False)


def tables(rows: int, seed: int) -> dict[str, pa.Table]:
    """A chunk of random scores and of round lungs, one image in ten failed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:224, :224]
    predictions: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    for number in range(rows):
        row: dict[str, Any] = {"image_id": f"nih/images/{number:08d}_000.png", "view": "PA", "model_id": "m"}
        row |= {"run_id": "r", "screened_at": datetime.now(UTC)}
        if number % 10 == 9:
            predictions.append(row | {"status": "failed", "reason": "truncated", "detail": "half a file"})
            continue
        scores = {f"p_{score}": float(rng.random()) for score in ("covid", "unhealthy", "other")}
        areas = {"lung_area": float(rng.random()), "disease_area": float(rng.random())}
        flags = {"covid_flag": scores["p_covid"] > 0.5, "unhealthy_flag": scores["p_unhealthy"] > 0.5}
        predictions.append(row | scores | areas | flags | {"status": "ok", "height": 1024, "width": 1024})
        radius = rng.uniform(30, 60)
        lung, disease = (np.hypot(y - 112, x - 70) < radius, np.hypot(y - 130, x - 70) < radius / 3)
        frame = {"frame_height": 224, "frame_width": 224, "fit": "stretch", "original_top": 0, "original_left": 0}
        frame |= {"rows_per_pixel": 0.2, "columns_per_pixel": 0.2}
        masks.append(frame | {"image_id": row["image_id"], "lung_png": to_png(lung), "disease_png": to_png(disease)})
    return {
        "predictions": pa.Table.from_pylist(predictions, schema=PREDICTIONS),
        "masks": pa.Table.from_pylist(masks, schema=MASKS),
    }


def committed(output: str, rows: int, seed: int) -> tuple[ChunkPlan, Owner]:
    """One chunk in `output`, and whose it is."""
    made = tables(rows, seed)
    ids = made["predictions"]["image_id"].to_pylist()
    chunk = ChunkPlan("nih-00000", planning.chunk_file("nih-00000", ids), rows)
    owner = take_lease(output, Owner("r", "m", "s"))
    planning.commit(output, chunk.file, made, LAYOUT, owner)
    return chunk, owner


def flip(output: str, chunk: ChunkPlan, owner: Owner, table: str, flips: int, seed: int) -> Counter[str]:
    """What becomes of single flipped bits of one file.

    Returns:
        `damaged`: the resume does the chunk again. `whole_but_different`: it takes it for whole, and pyarrow's own
        reader gives other values. `read_differently`: our reader gives other values, whatever the resume says.
        `harmless`: it is taken for whole, and every value is as it was.
    """
    path = Path(output, table, chunk.file)
    sound, true = path.read_bytes(), parquet.read_part(str(path))
    rng, found = random.Random(seed), Counter[str]()
    for _ in range(flips):
        bit = rng.randrange(8 * len(sound))
        data = bytearray(sound)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        whole = accounts.inspect(chunk, output, LAYOUT, owner).problem is None
        found["damaged"] += not whole
        if whole:
            found["harmless" if _values(path).equals(true) else "whole_but_different"] += 1
        with suppress(StorageError):
            found["read_differently"] += not parquet.read_part(str(path)).equals(true)
    path.write_bytes(sound)
    return found


def _values(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException):
        return pa.table({})


def cost(rows: int, seed: int) -> dict[str, float]:
    """CPU microseconds an image and bytes, with the sums over without."""
    made = tables(rows, seed)
    result: dict[str, float] = {}

    def plain(table: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue().to_pybytes()

    for name, table in made.items():
        before, after = plain(table), seal.to_bytes(table, None)
        result[f"{name}_bytes_before"], result[f"{name}_bytes_after"] = len(before), len(after)
        for word, function in (
            ("write_before", lambda t=table: plain(t)),
            ("write_after", lambda t=table: seal.to_bytes(t, None)),
            ("read_before", lambda b=before: pq.read_table(pa.BufferReader(b))),
            ("read_after", lambda b=after: _sealed_read(b)),
        ):
            result[f"{name}_{word}_us"] = round(1e6 * _cpu(function) / rows, 2)
    return result


def _sealed_read(data: bytes) -> pa.Table:
    source = pa.BufferReader(data)
    seal.check(source, "file")
    source.seek(0)
    return pq.read_table(source, page_checksum_verification=True)


def _cpu(function: Callable[[], Any], times: int = 20) -> float:
    """Least CPU seconds of several runs."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        function()
        taken.append(time.process_time() - began)
    return min(taken)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--flips", type=int, default=1000)
    options.add_argument("--rows", type=int, default=512)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as output:
        chunk, owner = committed(output, asked.rows, asked.seed)
        flipped = {
            table: dict(flip(output, chunk, owner, table, asked.flips, asked.seed))
            for table in ("predictions", "masks")
        }
    print(json.dumps({"flips": asked.flips, "rows": asked.rows, **flipped, "cost": cost(asked.rows, asked.seed)}))


if __name__ == "__main__":
    main()
