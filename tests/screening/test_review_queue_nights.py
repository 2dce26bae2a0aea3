"""The queue night by night: new images are ranked among themselves, and nobody who was queued loses the place."""

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.queue_config import QueueConfig
from comit_ray.screening.results_folder import read_images, write_queue
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.review_schema import REVIEWS
from comit_ray.tables.schema import PREDICTIONS, REVIEW_QUEUE
from tests.screening import queue_in_pandas
from tests.screening.queue_of_tables import queue_of
from tests.support import manifest_row, mask_row, prediction_row, supersede, write_results

POINT = OperatingPoint("specificity_0.90", {"covid": 0.5, "unhealthy": 0.5})
NIGHTS = [date(2026, 11, 1), date(2026, 11, 2), date(2026, 11, 3)]
NONE_DRAWN = QueueConfig(random_negatives=0)


def tables(*nights: dict[str, float]) -> tuple[pa.Table, pa.Table]:
    """Predictions and manifest of images by night, with their score of COVID-19."""
    rows = [(name, score, day) for day, night in zip(NIGHTS, nights, strict=False) for name, score in night.items()]
    predictions = [prediction_row(f"a/{name}", score) for name, score, _ in rows]
    manifest = [manifest_row(f"a/{name}", added_on=day, chunk=f"{day}-a") for name, _, day in rows]
    return pa.Table.from_pylist(predictions, schema=PREDICTIONS), pa.Table.from_pylist(manifest, schema=MANIFEST)


def queue(*nights: dict[str, float], config: QueueConfig = NONE_DRAWN) -> list[str]:
    built = queue_of(*tables(*nights), config, {"m": POINT})
    assert built.schema.equals(REVIEW_QUEUE, check_metadata=True)
    assert built["rank"].to_pylist() == list(range(1, len(built) + 1))
    return [name.removeprefix("a/") for name in built["image_id"].to_pylist()]


def test_one_night_is_the_queue_of_a_screen() -> None:
    predictions, manifest = tables({str(number): number / 100 for number in range(100)})
    config = QueueConfig(random_negatives=0.1, capacity=40)
    assert queue_of(predictions, manifest, config, {"m": POINT}).equals(
        queue_in_pandas.build_queue(predictions, manifest, config, POINT)
    )


def test_new_images_follow_those_of_earlier_nights_however_urgent() -> None:
    first, second = {"low": 0.6, "high": 0.9, "none": 0.01}, {"urgent": 0.99, "just": 0.51}
    assert queue(first) == ["high", "low"]
    assert queue(first, second) == ["high", "low", "urgent", "just"]
    assert queue(first, second, {"third": 1.0}) == ["high", "low", "urgent", "just", "third"]


def test_the_capacity_is_a_nights() -> None:
    config = QueueConfig(random_negatives=0, capacity=1)
    assert queue({"a": 0.9, "b": 0.8}, {"c": 0.99, "d": 0.98}, config=config) == ["a", "c"]


def test_random_negatives_are_drawn_with_one_chance_and_stand_for_all() -> None:
    """Of small nights not one each: 200 nights of 5 images would else give 200 of 1,000 instead of about 50."""
    first = {f"f{number}": 0.01 for number in range(1000)}
    predictions, manifest = tables(first)
    for number in range(200):
        day = date.fromordinal(NIGHTS[0].toordinal() + number + 1)
        rows = [prediction_row(f"a/{number}-{i}", 0.01) for i in range(5)]
        predictions = pa.concat_tables([predictions, pa.Table.from_pylist(rows, schema=PREDICTIONS)])
        known = [manifest_row(row["image_id"], added_on=day, chunk=str(day)) for row in rows]
        manifest = pa.concat_tables([manifest, pa.Table.from_pylist(known, schema=MANIFEST)])
    built = queue_of(predictions, manifest, QueueConfig(random_negatives=0.05), {"m": POINT})
    drawn = [name for name in built["image_id"].to_pylist() if not name.startswith("a/f")]
    assert len(built) - len(drawn) == 50
    assert 25 <= len(drawn) <= 75
    assert sum(built["sampling_weight"].to_pylist()) == pytest.approx(2000, rel=1e-5)
    again = queue_of(predictions, manifest, QueueConfig(random_negatives=0.05), {"m": POINT})
    assert again.equals(built)


def test_images_without_a_day_are_the_first_night() -> None:
    predictions, manifest = tables({"old": 0.6}, {"new": 0.9})
    days = pa.array([None, NIGHTS[1]], pa.date32())
    manifest = manifest.set_column(manifest.schema.get_field_index("added_on"), "added_on", days)
    assert queue_of(predictions, manifest, NONE_DRAWN, {"m": POINT})["image_id"].to_pylist() == ["a/old", "a/new"]


def test_rows_of_two_models_are_judged_by_the_point_of_their_own() -> None:
    predictions = [prediction_row("a/1", 0.45), prediction_row("a/2", 0.45, model_id="n")]
    manifest = [manifest_row(f"a/{number}", added_on=NIGHTS[0]) for number in (1, 2)]
    rows = (pa.Table.from_pylist(predictions, schema=PREDICTIONS), pa.Table.from_pylist(manifest, schema=MANIFEST))
    near = OperatingPoint("specificity_0.90", {"covid": 0.46, "unhealthy": 0.9})
    built = queue_of(*rows, NONE_DRAWN, {"m": OperatingPoint("x", {"covid": 0.9}), "n": near})
    assert built["image_id"].to_pylist() == ["a/2"]


def verdict(results: str, image_id: str, said: str, revision: int = 1, reader: str = "r1") -> None:
    row = dict.fromkeys(REVIEWS.names)
    row |= {"image_id": image_id, "reader": reader, "revision": revision, "verdict": said, "submission": "s" * 8}
    known = {field.name for field in REVIEWS if not field.nullable}
    blank = {"role": "reader", "blinded": False, "model_id": "m", "run_id": "r", "findings": [], "seconds": 0.0}
    blank |= {"read_at": 0, "abnormal": None}
    row |= {name: blank[name] for name in known if row[name] is None}
    name = f"{reader}-{hash(image_id) & 0xFFFFFFFFFFFFFFFF:016x}-{revision:04d}.parquet"
    parquet.write_table(f"{results}/reviews/{name}", pa.Table.from_pylist([row], schema=REVIEWS))


def test_what_was_read_keeps_its_rank_and_leaves_the_list_to_read(tmp_path: Path) -> None:
    predictions, manifest = tables({"a": 0.9, "b": 0.8, "c": 0.7}, {"d": 0.9})
    scored = [
        prediction_row(name, score)
        for name, score in zip(predictions["image_id"].to_pylist(), (0.9, 0.8, 0.7, 0.9), strict=True)
    ]
    results, uri = write_results(tmp_path, manifest.to_pylist(), scored, [mask_row(row["image_id"]) for row in scored])
    assert read_images(results) == frozenset()
    verdict(results, "a/a", "normal")
    verdict(results, "a/b", "abnormal")
    verdict(results, "a/b", "withdrawn", revision=2)
    assert read_images(results) == {"a/a"}
    write_queue(results, uri, NONE_DRAWN, POINT)
    whole = parquet.read_table(f"{results}/review_queue")
    assert whole["image_id"].to_pylist() == ["a/a", "a/b", "a/c", "a/d"]
    assert csv_ids(results) == ["a/b", "a/c", "a/d"]
    verdict(results, "a/b", "normal", reader="r2")
    write_queue(results, uri, NONE_DRAWN.model_copy(update={"since": "2026-11-02"}), POINT)
    assert csv_ids(results) == ["a/d"]
    write_queue(results, uri, NONE_DRAWN, POINT)
    assert csv_ids(results) == ["a/c", "a/d"]
    assert parquet.read_table(f"{results}/review_queue").equals(whole)
    write_queue(results, uri, NONE_DRAWN.model_copy(update={"since": "2026-11-03"}), POINT)
    assert csv_ids(results) == []


def csv_ids(results: str) -> list[str]:
    lines = (Path(results) / "queue.csv").read_text().splitlines()
    at = lines[0].replace('"', "").split(",").index("image_id")
    return [line.replace('"', "").split(",")[at] for line in lines[1:]]


def test_an_earlier_version_of_a_file_is_queued_no_more(tmp_path: Path) -> None:
    rows = [
        manifest_row("a/1", added_on=NIGHTS[0]),
        manifest_row("a/1@2", patient_id="a/1", added_on=NIGHTS[1], version=2),
    ]
    scored = [prediction_row("a/1", 0.9), prediction_row("a/1@2", 0.8)]
    results, uri = write_results(tmp_path, rows, scored, [mask_row("a/1"), mask_row("a/1@2")])
    supersede(tmp_path / "manifest", {"a/1": "a/1@2"})
    write_queue(results, uri, NONE_DRAWN, POINT)
    assert parquet.read_table(f"{results}/review_queue")["image_id"].to_pylist() == ["a/1@2"]


def test_an_earlier_version_that_failed_is_no_image_that_nobody_has_read(tmp_path: Path) -> None:
    rows = [manifest_row("a/1", added_on=NIGHTS[0]), manifest_row("a/1@2", added_on=NIGHTS[1], version=2)]
    rows.append(manifest_row("a/2", added_on=NIGHTS[1]))
    broken: dict[str, Any] = {"reason": "truncated", "detail": "half a file"}
    scored = [
        prediction_row("a/1", None, **broken),
        prediction_row("a/1@2", 0.8),
        prediction_row("a/2", None, **broken),
    ]
    results, uri = write_results(tmp_path, rows, scored, [mask_row("a/1@2")])
    supersede(tmp_path / "manifest", {"a/1": "a/1@2"})
    write_queue(results, uri, NONE_DRAWN, POINT)
    assert parquet.read_table(f"{results}/unread")["image_id"].to_pylist() == ["a/2"]


def test_since_is_a_day() -> None:
    with pytest.raises(ValidationError, match="expected a day such as 2026-11-30, got '2026-02-31'"):
        QueueConfig(since="2026-02-31")
    assert QueueConfig(since="2026-02-28").since == "2026-02-28"
