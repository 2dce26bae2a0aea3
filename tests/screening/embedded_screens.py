"""Finished screens with embeddings as `comit-ray screen` leaves them, made without images and without a network."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from comit_ray.chunks import plan as chunk
from comit_ray.chunks import plan as planning
from comit_ray.chunks import run_record
from comit_ray.data.masks.masks import to_png
from comit_ray.screening.screen_tables import layout
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import EMBEDDINGS, MASKS, PREDICTIONS
from tests.support import manifest_row, mask_row, prediction_row, write_rows

WIDTH = 8
CHUNK_ROWS = 40
Vectors = dict[str, np.ndarray]


def labelled_rows(per_split: dict[str, int], chunk_rows: int = CHUNK_ROWS) -> list[dict[str, Any]]:
    """Manifest rows, every third of a split COVID-19 and every second of the others unhealthy."""
    rows: list[dict[str, Any]] = []
    for split, count in per_split.items():
        for number in range(count):
            covid = int(number % 3 == 0)
            unhealthy = int(covid or number % 2 == 0)
            name = f"a-{len(rows) // chunk_rows:05d}"
            labels = {"covid": covid, "unhealthy": unhealthy, "split": split, "chunk": name}
            rows.append(manifest_row(f"a/{split}{number:03d}", **labels))
    return rows


def separable(rows: list[dict[str, Any]], apart: float = 8.0, seed: int = 0) -> Vectors:
    """An embedding of `WIDTH` values for each row: value 0 tells COVID-19, value 1 the unhealthy, by `apart` sigma."""
    random = np.random.default_rng(seed)
    found = {}
    for row in rows:
        found[row["image_id"]] = x = random.normal(size=WIDTH)
        x[0] += apart * (row["covid"] or 0)
        x[1] += apart * (row["unhealthy"] or 0)
    return found


def write_screen(
    root: Path,
    manifest: list[dict[str, Any]],
    embeddings: Vectors,
    failed: dict[str, dict[str, Any]] | None = None,
    question: dict[str, Any] | None = None,
) -> tuple[str, str]:
    """URIs of the results and of the manifest.

    Args:
        root: directory for both.
        manifest: its rows.
        embeddings: image id -> embedding, of every image that is ok.
        failed: image id -> status, reason and detail of every other one.
        question: what to change in the run's question.
    """
    uri, output = write_rows(root / "manifest", manifest, MANIFEST), str(root / "screen")
    plan = planning.make_plan(uri, "all")
    asked = {"manifest": plan.fingerprint, "split": "all", "model_id": "network", "embeddings": True}
    run_id = run_record.open_run(output, asked | (question or {}), {"manifest": uri}, "predictions")
    images = {row["image_id"]: row for row in manifest}
    for planned in plan.chunks:
        ids = [image_id for image_id, row in images.items() if row["chunk"] == planned.chunk]
        common: dict[str, Any] = {"model_id": "network", "run_id": run_id}
        scores = [
            prediction_row(image_id, 0.2, lung_area=0.3, disease_area=0.1, **common)
            if image_id in embeddings
            else prediction_row(image_id, None, **common, **(failed or {})[image_id])
            for image_id in ids
        ]
        done = [image_id for image_id in ids if image_id in embeddings]
        png = to_png(np.ones((64, 64), bool))
        with np.errstate(over="ignore"):  # beyond float16 a value is infinite
            vectors = [{"image_id": i, "embedding": embeddings[i].astype(np.float16)} for i in done]
        tables = {
            "predictions": pa.Table.from_pylist(scores, schema=PREDICTIONS),
            "masks": pa.Table.from_pylist([mask_row(i, lung_png=png, disease_png=png) for i in done], schema=MASKS),
            "embeddings": pa.Table.from_pylist(vectors, schema=EMBEDDINGS),
        }
        chunk.commit(output, planned.file, tables, layout(embeddings=True))
    return output, uri
