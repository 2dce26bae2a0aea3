import json

import pyarrow as pa
import pytest

from comit_ray.config.image_config import FrameConfig
from comit_ray.errors import ManifestError
from comit_ray.prepare.prepared import describe, frame_tables, open_prepared
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import PREPARED


def write(root, rows=2, **question) -> str:
    asked = {"kind": "prepare", "rows": 2, "training_hash": "h"} | question
    storage.write_bytes(f"{root}/run.json", json.dumps({"run_id": "r", "question": asked}).encode())
    records: list[dict[str, object]] = [
        {
            "image_id": f"d/{number}",
            "dataset": "d",
            "view": "PA",
            "findings": [],
            "status": "ok" if number else "failed",
            "reason": None if number else "truncated",
            "pixels": b"x" * 2_000_000 if number else None,
            "lung_png": b"m" if number else None,
        }
        for number in range(rows)
    ]
    if rows:
        parquet.write_table(f"{root}/images/d-0.parquet", pa.Table.from_pylist(records, schema=PREPARED))
    return str(root)


def test_a_whole_table_is_opened(tmp_path):
    table = open_prepared(write(tmp_path))
    assert table is not None
    assert (table.rows, table.training_hash) == (2, "h")
    assert table.parts == (f"{tmp_path}/images/d-0.parquet",)


@pytest.mark.parametrize("rows", [0, 1])
def test_an_unfinished_table_is_refused(tmp_path, rows):
    with pytest.raises(ManifestError, match=rf"holds {rows} of 2 images: run comit-ray prepare again"):
        open_prepared(write(tmp_path, rows))


def test_images_of_an_archive_that_is_another_are_refused(tmp_path):
    uri = write(tmp_path)
    [part] = parquet.parts(f"{uri}/images")
    rows = parquet.read_part(part).to_pylist()
    for row, reason in zip(rows, ("checksum_mismatch", None), strict=True):
        row |= {"image_id": f"d/a.tgz!{row['image_id']}", "reason": reason}
    parquet.write_table(part, pa.Table.from_pylist(rows, schema=PREPARED))
    with pytest.raises(ManifestError, match=r"images of d/a\.tgz, which does not match the checksum"):
        open_prepared(uri)


def test_other_things_are_no_training_table(tmp_path):
    assert open_prepared(str(tmp_path)) is None
    assert open_prepared(write(tmp_path, kind="screen")) is None
    (tmp_path / "run.json").write_text("{")
    assert open_prepared(str(tmp_path)) is None


def test_the_summary_has_a_line_for_every_source_and_reason(tmp_path):
    lines = [line.split() for line in describe(write(tmp_path)).splitlines()]
    assert lines[0] == ["dataset", "status", "reason", "images", "lungs", "disease", "MB"]
    assert lines[1] == ["d", "failed", "truncated", "1", "0", "0", "0.0"]
    assert lines[2] == ["d", "ok", "-", "1", "1", "0", "2.0"]


def test_a_source_is_left_out_whether_it_could_be_read_or_not(tmp_path):
    uri = write(tmp_path)
    [part] = parquet.parts(f"{uri}/images")
    rows = [row | {"split": "train", "unhealthy": 0} for row in parquet.read_part(part).to_pylist()]
    parquet.write_table(part, pa.Table.from_pylist(rows, schema=PREPARED))
    frame = FrameConfig(size=32)
    (found,) = frame_tables(part, frame, ("health",), "pixels", ("d",))
    assert found["left_out"].to_pylist() == ["source: d", "source: d"]
    assert found["failed"].null_count == 2
