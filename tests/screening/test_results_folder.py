"""A results folder answers by month, site, device and patient without another place."""

import csv
import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import run_record
from comit_ray.chunks.plan import make_plan
from comit_ray.config.queue_config import QueueConfig
from comit_ray.data.masks.masks import to_png
from comit_ray.errors import REASON_WORDS, Reason
from comit_ray.screening.results_folder import in_words, unread_lines, write_images, write_queue
from comit_ray.tables.review_schema import REVIEWS
from comit_ray.tables.schema import PREDICTIONS, SCREENED_IMAGES, UNREAD
from comit_ray.tables.vocabulary import REVIEW_WORDS, ReviewReason
from tests.conftest import REPOSITORY
from tests.support import manifest_row, mask_row, prediction_row, write_results, write_rows

POINT = OperatingPoint("specificity_0.90", {"covid": 0.5, "unhealthy": 0.5})
STAMPED: dict[str, Any] = {"reason": "empty", "detail": "no byte"}
MASK = np.zeros((64, 64), bool)
MASK[10:30, 10:30] = True


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, str]:
    """Three flagged images, two of one patient, one not flagged, an empty file, a hand: results and manifest."""
    known: dict[str, Any] = {"site": "North", "device": "Fixed 1", "acquired_on": date(2020, 3, 1), "covid": 1}
    manifest = [
        manifest_row("a/0", patient_id="a/p", study_id="a/s0", **known),
        manifest_row("a/1", patient_id="a/p", study_id="a/s1", **known | {"acquired_on": date(2020, 4, 1)}),
        manifest_row("a/2", **known | {"device": None, "acquired_on": None}),
        manifest_row("a/3", covid=0),
        manifest_row("a/4"),
        manifest_row("a/5", uri="/nowhere/a.zip", member="hand.dcm"),
    ]
    predictions = [
        *(prediction_row(f"a/{i}", score, disease_area=0.0) for i, score in enumerate((0.9, 0.8, 0.7, 0.1))),
        prediction_row("a/4", None, **STAMPED),
        prediction_row("a/5", None, status="excluded", reason="not_a_chest", detail="HAND"),
    ]
    masks = [mask_row(f"a/{i}", lung_png=to_png(MASK), disease_png=to_png(MASK)) for i in range(4)]
    results, uri = write_results(tmp_path, manifest, predictions, masks)
    run_id = run_record.open_run(results, {"model_id": "m"}, {}, "nothing")
    write_rows(tmp_path / "results" / "predictions", [row | {"run_id": run_id} for row in predictions], PREDICTIONS)
    run_record.sign(results, {})
    run_record.finish(results, 6, 2.0)
    write_images(results, make_plan(uri, "all"), "all")
    write_queue(results, uri, QueueConfig(random_negatives=0), POINT)
    return Path(results), uri


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_screened_rows_of_the_manifest_lie_beside_the_results(folder: tuple[Path, str]) -> None:
    results, uri = folder
    images = pq.read_table(results / "images")
    assert images.schema.equals(SCREENED_IMAGES)
    assert images["image_id"].to_pylist() == [f"a/{i}" for i in range(6)]
    assert images["acquired_on"].to_pylist()[:3] == [date(2020, 3, 1), date(2020, 4, 1), None]
    assert not write_images(str(results), make_plan(uri, "all"), "all")


def test_a_part_that_the_manifest_lost_goes(folder: tuple[Path, str]) -> None:
    results, uri = folder
    pq.write_table(pq.read_table(results / "images"), results / "images" / "part-00001.parquet")
    assert write_images(str(results), make_plan(uri, "all"), "all")
    assert [file.name for file in (results / "images").iterdir()] == ["part-00000.parquet"]


def test_what_nobody_has_read_has_its_path_and_reason_in_words(folder: tuple[Path, str]) -> None:
    results, _ = folder
    assert pq.read_table(results / "unread" / "unread.parquet").schema.equals(UNREAD)
    unread = rows(results / "unread.csv")
    assert [(row["image_id"], row["why"], row["queue_rank"]) for row in unread] == [
        ("a/4", "the file is empty", ""),
        ("a/5", "it is not a chest", ""),
    ]
    assert unread[1]["path"] == "/nowhere/a.zip!hand.dcm"


def test_what_the_capacity_leaves_out_is_unread_and_said(folder: tuple[Path, str]) -> None:
    results, uri = folder
    write_queue(str(results), uri, QueueConfig(random_negatives=0, capacity=1), POINT)
    unread = rows(results / "unread.csv")
    assert [row["image_id"] for row in unread] == ["a/1", "a/2", "a/4", "a/5"]
    assert {row["reason"] for row in unread[:2]} == {"beyond_capacity"}
    lines = unread_lines(str(results))
    assert lines[0].startswith("read the 1 image of queue.csv; left unread: 3 images")
    assert "1 excluded" in lines[1]
    assert lines[-1] == "unread.csv lists the paths of all unread images"


def test_without_a_capacity_the_summary_says_how_to_give_one(folder: tuple[Path, str]) -> None:
    lines = unread_lines(str(folder[0]))
    assert lines[0].startswith("read the 3 images of queue.csv, all with a reason; left unread: 1 failed image; ")
    assert "--queue.capacity N keeps" in lines[0]


def test_the_queue_is_a_spreadsheet_too(folder: tuple[Path, str]) -> None:
    first = rows(folder[0] / "queue.csv")[0]
    assert first["reasons"].split("; ")[0] == "above_operating_point"
    assert first["why"].split("; ")[0] == "flagged for COVID-19"
    assert first["block"] == "flagged for COVID-19, highest score first"
    assert first["placed_by"] == "above_operating_point"
    assert float(first["times_threshold"]) >= 1, "what is flagged has reached its threshold"


def test_every_reason_has_words() -> None:
    assert set(REASON_WORDS) == set(Reason)
    assert set(REVIEW_WORDS) == set(ReviewReason)
    assert in_words("something_new") == "something_new"


def test_the_record_has_start_end_and_speed(folder: tuple[Path, str]) -> None:
    results, _ = folder
    record = run_record.read(str(results))
    assert record["started_at"] <= record["ended_at"]
    assert (record["images"], record["images_per_second"]) == (6, 3.0)
    assert record["processes"][-1]["images_per_second"] == 3.0
    before = (results / "run.json").read_text()
    run_record.finish(str(results), 0, 0.1)
    assert (results / "run.json").read_text() == before


def with_readings(results: Path) -> None:
    at = {"reader": "r1", "read_at": datetime.now(UTC)}
    write_rows(results / "reviews", [{"image_id": "a/0", "abnormal": True, **at}], REVIEWS)


def test_the_queries_run_on_a_results_folder_alone(folder: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with_readings(folder[0])
    monkeypatch.chdir(folder[0])
    statements = duckdb.extract_statements((REPOSITORY / "docs" / "queries.sql").read_text())
    answers = [duckdb.sql(statement).fetchall() for statement in statements]
    assert len(answers) == 12
    assert answers[0][0][2] == 4
    assert answers[2] == [("2020-03", 1, 1, 1.0), ("2020-04", 1, 1, 1.0), (None, 2, 1, 0.5)]
    assert answers[3] == [("North", 3, 3, 1.0), ("a", 1, 0, 0.0)]
    assert answers[4] == [("Fixed 1", 2, 2, 1.0), ("not known", 2, 1, 0.5)]
    assert answers[5][0][:2] == ("a/p", 2)
    assert sum(row[2] for row in answers[6]) == 2
    assert len(answers[7]) == 3
    assert answers[8] == [("PA", 3, 3, 1.0)]
    assert answers[9][0][2:] == (6, 2.0, 3.0)
    assert answers[10] == [(True, True, 1)]
    assert answers[11][0][0] == "a/0"


def cells() -> list[str]:
    notebook = json.loads((REPOSITORY / "docs" / "analysis.ipynb").read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("read", [False, True])
def test_the_notebook_runs_on_a_results_folder_alone(
    folder: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, read: bool
) -> None:
    if read:
        with_readings(folder[0])
    monkeypatch.setenv("COMIT_RESULTS", str(folder[0]))
    monkeypatch.chdir(os.curdir)  # the notebook changes it
    names: dict[str, Any] = {}
    for cell in cells():
        exec(cell, names)
    assert np.asarray(names["pictures"][0]).shape == (64, 64, 3)
    assert (len(names["readings"]) == 1) if read else isinstance(names["readings"], str)


def test_the_notebook_asks_what_the_queries_ask() -> None:
    statements = duckdb.extract_statements((REPOSITORY / "docs" / "queries.sql").read_text())
    whole = [statement.query for statement in statements]
    asked = [text[text.index("SELECT") :].partition(";")[0] for text in whole]
    code = "\n".join(cells())
    assert [query for query in asked if query not in code] == []
