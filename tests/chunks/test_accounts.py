from typing import Any

import pyarrow as pa
import pytest

from comit_ray.chunks import accounts
from comit_ray.chunks import plan as chunk
from comit_ray.chunks import plan as planning
from comit_ray.chunks.plan import Layout
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import MASKS, PREDICTIONS
from tests.support import manifest_row, mask_row, prediction_row, write_rows

LAYOUT = Layout("predictions", ("masks",), flag="covid_flag")
IDS = {"c0": ["a/1", "a/2", "a/3"], "c1": ["a/4"]}


@pytest.fixture
def plan(tmp_path) -> planning.Plan:
    rows = [manifest_row(image_id, chunk=name) for name, ids in IDS.items() for image_id in ids]
    return planning.make_plan(write_rows(tmp_path / "manifest", rows, MANIFEST), "all")


def commit(output, name, rows):
    masks = [mask_row(row["image_id"]) for row in rows if row["status"] == "ok"]
    tables = {
        "predictions": pa.Table.from_pylist(rows, schema=PREDICTIONS),
        "masks": pa.Table.from_pylist(masks, schema=MASKS),
    }
    chunk.commit(output, chunk.chunk_file(name, IDS[name]), tables, LAYOUT)


def complete(output):
    excluded: dict[str, Any] = {"status": "excluded", "reason": "lateral", "detail": "view LL"}
    commit(
        output, "c0", [prediction_row("a/1", 0.9), prediction_row("a/2", None), prediction_row("a/3", None, **excluded)]
    )
    commit(output, "c1", [prediction_row("a/4", 0.1)])


def test_a_whole_run_balances(plan, tmp_path):
    complete(str(tmp_path))
    taken = accounts.take(plan, str(tmp_path), LAYOUT)
    assert taken.balanced
    assert taken.by_status == {"ok": 2, "failed": 1, "excluded": 1}
    assert taken.by_reason["failed", "truncated"] == 1
    assert taken.flagged == 1


def test_a_missing_chunk_is_a_problem(plan, tmp_path):
    commit(str(tmp_path), "c1", [prediction_row("a/4")])
    taken = accounts.take(plan, str(tmp_path), LAYOUT)
    assert not taken.balanced
    assert "c0-" in taken.problems[0]
    assert "missing" in taken.problems[0]


def test_rows_that_are_not_the_chunks_are_a_problem(plan, tmp_path):
    complete(str(tmp_path))
    commit(str(tmp_path), "c0", [prediction_row("a/1"), prediction_row("a/2"), prediction_row("a/2")])
    taken = accounts.take(plan, str(tmp_path), LAYOUT)
    assert not taken.balanced
    assert "does not hold the 3 images" in taken.problems[0]


def test_a_foreign_file_is_a_problem(plan, tmp_path):
    complete(str(tmp_path))
    write_rows(tmp_path / "predictions", [prediction_row("b/1")], PREDICTIONS, "copied")
    taken = accounts.take(plan, str(tmp_path), LAYOUT)
    assert not taken.balanced
    assert "copied.parquet belongs to no chunk" in taken.problems[0]


def test_what_the_storage_refused_is_tried_again(plan, tmp_path):
    complete(str(tmp_path))
    refused: dict[str, Any] = {"reason": "unreadable", "detail": "the storage refused the file"}
    commit(str(tmp_path), "c1", [prediction_row("a/4", None, **refused)])
    assert accounts.committed(plan, str(tmp_path), LAYOUT) == {plan.chunks[0].file}
    assert accounts.take(plan, str(tmp_path), LAYOUT).balanced


def test_only_whole_chunks_are_committed(plan, tmp_path):
    output = str(tmp_path)
    files = {c.chunk: c.file for c in plan.chunks}
    assert accounts.committed(plan, output, LAYOUT) == set()
    complete(output)
    assert accounts.committed(plan, output, LAYOUT) == set(files.values())
    assert accounts.committed(plan, output, Layout("predictions", ("masks", "embeddings"))) == set()
    # A truncated file, masks that lack a row, rows of other images: each is done again.
    file = tmp_path / "predictions" / files["c1"]
    whole = file.read_bytes()
    file.write_bytes(whole[:50])
    assert accounts.committed(plan, output, LAYOUT) == {files["c0"]}
    file.write_bytes(whole)
    write_rows(tmp_path / "masks", [], MASKS, files["c0"].removesuffix(".parquet"))
    assert accounts.committed(plan, output, LAYOUT) == {files["c1"]}
    assert "masks/" in accounts.take(plan, output, LAYOUT).problems[0]
    complete(output)
    (tmp_path / "predictions" / files["c0"]).write_bytes(whole)
    assert accounts.committed(plan, output, LAYOUT) == {files["c1"]}


def test_a_side_table_may_have_several_rows_for_an_image(plan, tmp_path):
    complete(str(tmp_path))
    twice = Layout("predictions", ("masks",), LAYOUT.facts, LAYOUT.flag, several={"masks": 2})
    taken = accounts.take(plan, str(tmp_path), twice)
    assert not taken.balanced
    assert "has 1 row for 1 image with status ok, expected 2 each" in " ".join(taken.problems)
