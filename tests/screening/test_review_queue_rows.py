"""The queue in SQL against the one in pandas, row by row, on made-up archives that have every kind of row."""

import json
from dataclasses import asdict
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.queue_config import QueueConfig
from comit_ray.screening import drift, drift_signals, review_queue
from comit_ray.screening.results_folder import UNREAD_CSV, write_queue
from comit_ray.screening.review_reasons import MOST_URGENT_FIRST
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import PREDICTIONS
from tests.benchmarks.archive_of_rows import manifest_rows, prediction_rows
from tests.screening import queue_in_pandas

POINT = OperatingPoint("specificity_0.90", {"covid": 0.35, "unhealthy": 0.6})
ROWS = 2_000
COVID = ("p_covid", "covid_flag")
DAYS = [date(2026, 11, day) for day in (1, 2, 5)]


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))


@cache
def archive(nights: bool, no_heads: tuple[str, ...] = ()) -> tuple[pa.Table, pa.Table]:
    """Predictions and manifest; with nights, of three days and of two models in the last."""
    predictions, manifest = prediction_rows(0, ROWS, seed=1), manifest_rows(0, ROWS, seed=1)
    draw = np.random.default_rng(2)
    scored = np.array([status == "ok" for status in predictions["status"].to_pylist()])
    severe = pa.array(draw.uniform(0, 18, ROWS).round(1).astype(np.float32), mask=~scored | (draw.random(ROWS) < 0.1))
    frontal = pa.array(draw.beta(8, 1, ROWS).astype(np.float32), mask=~scored | (draw.random(ROWS) < 0.1))
    predictions = with_column(with_column(predictions, "severity", severe), "p_frontal_chest", frontal)
    for name in no_heads:
        predictions = with_column(predictions, name, pa.nulls(ROWS))
    if nights:
        night = draw.integers(0, 4, ROWS)
        manifest = with_column(manifest, "added_on", [[None, *DAYS][one] for one in night])
        models = ["0123456789ab" if one < 3 or at % 2 else "ffff" for at, one in enumerate(night)]
        predictions = with_column(predictions, "model_id", models)
    return predictions, manifest


@pytest.mark.parametrize(
    ("config", "no_heads", "trusted", "nights"),
    [
        (QueueConfig(), (), None, False),
        (QueueConfig(capacity=150, random_negatives=0.3, near_threshold=2.0), (), True, False),
        (QueueConfig(capacity=40, quotas={"child": 0.5, "failed": 0.25}, seed=7, min_disease_area=0), (), None, False),
        (
            QueueConfig(random_negatives=0, max_disease_outside=0.1, child_age=70),
            COVID,
            None,
            False,
        ),
        (QueueConfig(random_negatives=1), (*COVID, "p_unhealthy", "unhealthy_flag"), None, False),
        (QueueConfig(untrusted="random", capacity=300), (), False, False),
        (QueueConfig(untrusted="all", order="severity"), (), False, False),
        (QueueConfig(order="severity", capacity=200), (), False, False),
        (QueueConfig(), (), None, True),
        (QueueConfig(capacity=60, random_negatives=0.2, quotas={"random_negative": 0.3}), (), True, True),
        (QueueConfig(untrusted="random", capacity=70), (), False, True),
        (QueueConfig(untrusted="random", order="severity"), (), False, True),
    ],
)
def test_it_is_that_of_pandas_row_by_row(
    config: QueueConfig, no_heads: tuple[str, ...], trusted: bool | None, nights: bool, tmp_path: Path
) -> None:
    predictions, manifest = archive(nights, no_heads)
    results = str(tmp_path / "results")
    for at in range(4):
        piece = slice(at * ROWS // 4, (at + 1) * ROWS // 4)
        some = predictions[piece.start : piece.stop]
        parquet.write_table(f"{results}/predictions/c-{at}.parquet", some)
        parquet.write_table(f"{tmp_path}/manifest/part-{at:05d}.parquet", manifest[piece.start : piece.stop])
    if trusted is not None:
        far = drift_signals.Signal("view", drift_signals.SignalKind.NAMES, 1.0, differs=True)
        said = drift.Drift("m", ROWS, ROWS, (far,), calibrated=trusted)
        (tmp_path / "results" / "drift.json").write_text(json.dumps(asdict(said)))
    assert write_queue(results, str(tmp_path / "manifest"), config, POINT, memory_gib=0.25)

    points = dict.fromkeys(predictions["model_id"].unique().to_pylist(), POINT)
    queue = queue_in_pandas.build_nights(predictions, manifest, config, points, trusted)
    everything = config.model_copy(update={"capacity": None})
    whole = queue_in_pandas.build_nights(predictions, manifest, everything, points, trusted)
    unread = queue_in_pandas.unread_images(predictions, manifest.select(PLACES), queue, whole)
    for name, expected in (("review_queue/queue", queue), ("unread/unread", unread)):
        found = parquet.read_part(f"{results}/{name}.parquet")
        parquet.write_table(f"{tmp_path}/expected.parquet", expected)
        expected = parquet.read_part(f"{tmp_path}/expected.parquet")
        assert found.schema.equals(expected.schema, check_metadata=True)
        assert found.num_rows == expected.num_rows > 0
        for column in found.column_names:
            ours, theirs = found[column].to_pylist(), known(expected[column]).to_pylist()
            if column == "sampling_weight" and nights:  # a sum of rounded weights there
                np.testing.assert_allclose(ours, theirs, rtol=1e-6)
            else:
                assert ours == theirs, column
    parquet.write_csv(f"{tmp_path}/unread.csv", unread)
    assert (tmp_path / "results" / UNREAD_CSV).read_bytes() == (tmp_path / "unread.csv").read_bytes()


PLACES = [*queue_in_pandas.MANIFEST_COLUMNS, "dataset", "site", "acquired_on"]


def known(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Null where pandas made NaN of null."""
    floating = pa.types.is_floating(column.type)
    return pa.array(column.to_pandas(), from_pandas=True) if floating else column.combine_chunks()


def test_the_made_up_archive_has_every_kind_of_row(tmp_path: Path) -> None:
    predictions, manifest = archive(nights=True)
    assert predictions.schema.equals(PREDICTIONS)
    assert manifest.schema.equals(MANIFEST)
    points = dict.fromkeys(predictions["model_id"].unique().to_pylist(), POINT)
    found = [
        queue_in_pandas.build_nights(predictions, manifest, QueueConfig(untrusted=untrusted), points, False)["reasons"]
        for untrusted in ("ranked", "all")
    ]
    assert {reason for column in found for reasons in column.to_pylist() for reason in reasons} == {
        str(reason) for reason in MOST_URGENT_FIRST
    }
    assert set(predictions["status"].to_pylist()) == {"ok", "failed", "excluded"}
    assert predictions["disease_area"].null_count > sum(status != "ok" for status in predictions["status"].to_pylist())
    assert review_queue.MANIFEST_COLUMNS == queue_in_pandas.MANIFEST_COLUMNS
