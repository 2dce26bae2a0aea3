from typing import Any

import pyarrow as pa
import pytest

from comit_ray.chunks import plan as planning
from comit_ray.chunks.accounts import settle
from comit_ray.chunks.plan import commit
from comit_ray.screening.screen_tables import layout
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import MASKS, PREDICTIONS
from tests.support import manifest_row, mask_row, prediction_row, write_rows

LAYOUT = layout(embeddings=False)
MISMATCH: dict[str, Any] = {"reason": "checksum_mismatch", "detail": "the archive's sha1 is another"}


@pytest.fixture
def output(tmp_path) -> str:
    """Two archives and a loose file in one part of three chunks; the last member of archive a was found wrong."""
    places = [("a", 0), ("a", 0), ("a", 1), ("b", 1), ("", 1), ("a", 2)]
    rows = []
    for number, (archive, chunk) in enumerate(places):
        where = {"uri": f"/r/{archive}.tgz", "member": f"{number}.png"} if archive else {"uri": f"/r/{number}.png"}
        rows.append(manifest_row(f"d/{number}", chunk=f"d-{chunk}", **where))
    plan = planning.make_plan(write_rows(tmp_path / "manifest", rows, MANIFEST), "all")
    for made in plan.chunks:
        ids = [row["image_id"] for row in rows if row["chunk"] == made.chunk]
        predictions = [
            prediction_row(i, None, **MISMATCH) if i == "d/5" else prediction_row(i, None if i == "d/1" else 0.9)
            for i in ids
        ]
        scored = [row["image_id"] for row in predictions if row["status"] == "ok"]
        tables = {
            "predictions": pa.Table.from_pylist(predictions, schema=PREDICTIONS),
            "masks": pa.Table.from_pylist([mask_row(i) for i in scored], schema=MASKS),
        }
        commit(str(tmp_path), made.file, tables, LAYOUT)
    return str(tmp_path)


def test_no_score_of_such_an_archive_stays(output, capsys):
    plan = planning.make_plan(storage.join(output, "manifest"), "all")
    taken = settle(plan, output, LAYOUT)
    assert taken.balanced
    assert taken.by_reason == {("failed", "checksum_mismatch"): 3, ("failed", "truncated"): 1, ("ok", ""): 2}
    assert "2 images failed afterwards" in capsys.readouterr().out
    rows = {row["image_id"]: row for row in parquet.read_table(storage.join(output, "predictions")).to_pylist()}
    wrong = rows["d/2"]
    assert (wrong["status"], wrong["detail"], wrong["p_covid"]) == ("failed", MISMATCH["detail"], None)
    assert (wrong["covid_flag"], wrong["height"], wrong["view"], wrong["model_id"]) == (None, None, "PA", "m")
    assert {i for i, row in rows.items() if row["status"] == "ok"} == {"d/3", "d/4"}
    assert set(parquet.read_table(storage.join(output, "masks"))["image_id"].to_pylist()) == {"d/3", "d/4"}


def test_a_file_that_is_not_of_the_run_does_not_keep_them(output, tmp_path):
    write_rows(tmp_path / "predictions", [prediction_row("x/1")], PREDICTIONS, "copied")
    plan = planning.make_plan(storage.join(output, "manifest"), "all")
    taken = settle(plan, output, LAYOUT)
    assert not taken.balanced
    assert taken.by_reason["failed", "checksum_mismatch"] == 3


def test_a_second_time_changes_nothing(output, capsys):
    plan = planning.make_plan(storage.join(output, "manifest"), "all")
    settle(plan, output, LAYOUT)
    before = parquet.read_table(storage.join(output, "predictions"))
    capsys.readouterr()
    settle(plan, output, LAYOUT)
    assert parquet.read_table(storage.join(output, "predictions")).equals(before)
    assert capsys.readouterr().out == ""
