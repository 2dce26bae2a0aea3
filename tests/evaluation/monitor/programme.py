"""A programme that was never screened: tables of made-up nights, as a screen would have left them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from comit_ray.tables import parquet
from comit_ray.tables.schema import PREDICTIONS, SCREENED_IMAGES
from tests.support import prediction_row, write_rows

FIRST = datetime(2024, 3, 4, 22, tzinfo=UTC)
DEVICES = (("north", "X1"), ("north", "X2"), ("south", "X1"))


def night(number: int, images: int, seed: int, drifted: str | None = None, failing: str | None = None) -> list[dict]:
    """Rows of one night, predictions and facts of the manifest in one; `drifted`: device at site of brighter images."""
    draw = np.random.default_rng((seed, number))
    rows = []
    for index in range(images):
        site, device = DEVICES[int(draw.integers(len(DEVICES)))]
        strange = f"{device} at {site}" == drifted
        failed = draw.random() < (0.6 if site == failing else 0.02)
        facts = {"dataset": "ward", "site": site, "device": device, "patient_id": f"ward/{number}-{index}"}
        at = FIRST + timedelta(days=number, seconds=index)
        image_id = f"ward/{number:03d}-{index:04d}"
        if failed:
            rows.append(prediction_row(image_id, None, screened_at=at) | facts)
            continue
        brightness = draw.normal(0.8 if strange else 0.5, 0.05)
        score = float(draw.beta(1, 9))
        row = prediction_row(image_id, score, screened_at=at, pixel_mean=float(brightness), threshold=0.3)
        rows.append(row | facts | {"embedding_distance": float(draw.lognormal(0.0, 0.2))})
    return rows


def write(results: Path, nights: Sequence[list[dict]]) -> None:
    """`predictions/`, a file a night, and `images/`."""
    for number, rows in enumerate(nights):
        known = [{name: row[name] for name in row if name in PREDICTIONS.names} for row in rows]
        parquet.write_table(
            f"{results}/predictions/n-{number:05d}.parquet", pa.Table.from_pylist(known, schema=PREDICTIONS)
        )
    facts = [
        {name: row.get(name) for name in SCREENED_IMAGES.names} | {"uri": f"/nowhere/{row['image_id']}"}
        for rows in nights
        for row in rows
    ]
    write_rows(results / "images", facts, SCREENED_IMAGES)
