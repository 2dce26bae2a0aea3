"""A prepared row holds all that a frame needs, and the frame is the one that screening and direct training make."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.masks.mask_references import boxes_reference
from comit_ray.errors import DecodeError, Reason
from comit_ray.prepare.frames import COLUMNS, frame_tables
from comit_ray.prepare.prepare_pipeline import FACTS, LAYOUT, MANIFEST_COLUMNS, fail_row, prepare_row, wanted_masks
from comit_ray.prepare.prepared import decode_stored, encode
from comit_ray.prepare.prepared import frame_tables as prepared_tables
from comit_ray.storage.file_reader import FileReader
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST, PREPARED
from tests.support import manifest_row

TASKS = ("lung", "disease", "health", "covid")
LIMITS = DecodeLimits()


def prepared(rows: list[dict[str, Any]], coding: Any = "png") -> list[dict[str, Any]]:
    complete = pa.Table.from_pylist(rows, schema=MANIFEST).select(MANIFEST_COLUMNS).to_pylist()
    with FileReader(LIMITS.max_bytes) as reader:
        return [prepare_row(row, reader, LIMITS, coding) for row in complete]


@pytest.fixture(scope="module")
def real(cxr: Path) -> list[dict[str, Any]]:
    """Frontal images with drawn lungs and lesions, one with boxes, a DICOM larger than 512 px."""
    root = cxr / "covid_chestxray"
    images = {path.stem: path for path in (root / "images").iterdir()}
    drawn = [path.stem for path in sorted((root / "annotations" / "disease_masks").iterdir())][:6]
    rows = [
        manifest_row(
            f"covid/{stem}",
            uri=str(images[stem]),
            covid=1,
            other=0,
            unhealthy=1,
            split="train",
            lung_mask=str(root / "annotations" / "lung_masks" / f"{stem}.png"),
            disease_mask=str(root / "annotations" / "disease_masks" / f"{stem}.png"),
        )
        for stem in drawn
        if (root / "annotations" / "lung_masks" / f"{stem}.png").exists()
    ]
    box = boxes_reference([(225.1, 547.0, 86.8, 79.2)], 1024, 1024)
    nih = sorted((cxr / "nih_chestxray14" / "images").iterdir())[0]
    rows.append(manifest_row("nih/a", uri=str(nih), unhealthy=1, covid=0, other=1, split="val", disease_mask=box))
    rows.append(manifest_row("d/a", uri=str(cxr / "dicom" / "RG1_J2KI.dcm"), unhealthy=0, split="train"))
    assert len(rows) >= 6
    return rows


@pytest.fixture(scope="module")
def rows_of(real) -> dict[str, list[dict[str, Any]]]:
    """The prepared rows of the real images, by the coding of their pixels."""
    return {coding: prepared(real, coding) for coding in ("png", "webp")}


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("lungs", ["pixels", "boxes"])
def test_frames_are_those_of_the_originals(real, rows_of, tmp_path, fit, lungs):
    frame = FrameConfig(size=96, fit=fit)
    manifest = pa.Table.from_pylist(real, schema=MANIFEST).select(list(COLUMNS))
    direct = pa.concat_tables(frame_tables(manifest, frame, LIMITS, TASKS, lungs))
    assert direct["pixels"].null_count == 0
    assert direct["disease_mask"].null_count < len(direct)
    for coding, rows in rows_of.items():
        uri = str(tmp_path / f"{coding}.parquet")
        parquet.write_table(uri, pa.Table.from_pylist(rows, schema=PREPARED), row_group_rows=3)
        stored = list(prepared_tables(uri, frame, TASKS, lungs))
        assert len(stored) > 1
        assert pa.concat_tables(stored).equals(direct), coding


def test_pixels_are_at_most_512_and_come_back_exactly(real, rows_of):
    for row in rows_of["png"]:
        pixels = decode_stored(row["pixels"])
        assert max(pixels.shape) <= 512
        assert row["status"] == "ok"
        for coding in ("png", "webp"):
            assert np.array_equal(decode_stored(encode(pixels, coding)), pixels)
    large = prepared(real[-1:])[0]
    assert (large["height"], large["width"]) == (1955, 1841)
    assert large["view"] == "PA"


def test_every_row_has_a_row_with_its_reason(real, tmp_path):
    good = real[0]
    (tmp_path / "mask.png").write_bytes(b"no mask")
    Image.fromarray(np.zeros((10, 400), np.uint8)).save(tmp_path / "thin.png")
    rows = prepared(
        [
            good,
            good | {"image_id": "x/gone", "uri": "/nowhere/gone.png"},
            good | {"image_id": "x/lateral", "view": "lateral"},
            good | {"image_id": "x/excluded", "excluded": "duplicate", "split": None},
            good | {"image_id": "x/mask", "disease_mask": str(tmp_path / "mask.png")},
            good | {"image_id": "x/thin", "lung_mask": str(tmp_path / "thin.png")},
        ]
    )
    assert [row["reason"] for row in rows[1:]] == [
        "storage_absent",
        "lateral",
        "duplicate",
        "bad_mask",
        "bad_mask",
    ]
    assert [row["status"] for row in rows] == ["ok", "failed", "excluded", "excluded", "failed", "failed"]
    for row in rows:
        assert (row.get("pixels") is None) == (row["status"] != "ok")
        assert set(row) <= set(PREPARED.names)
        assert row["covid"] == 1


def test_failed_rows_of_train_and_val_are_told_others_left_out(real, tmp_path):
    gone = {"uri": "/nowhere/gone.png"}
    rows = prepared(
        [
            real[0] | gone | {"image_id": "x/train"},
            real[0] | gone | {"image_id": "x/test", "split": "test"},
            real[0] | {"image_id": "x/out", "excluded": "lateral", "split": None},
        ]
    )
    uri = str(tmp_path / "part.parquet")
    parquet.write_table(uri, pa.Table.from_pylist(rows, schema=PREPARED))
    [table] = prepared_tables(uri, FrameConfig(size=32), TASKS, "pixels")
    assert [row["failed"] and row["failed"].split(":")[0] for row in table.to_pylist()] == [
        "storage_absent",
        None,
        None,
    ]
    assert [row["left_out"] for row in table.to_pylist()] == [None, "split: test", "excluded: lateral"]


def test_the_facts_outlive_a_failure(real):
    [complete] = pa.Table.from_pylist(real[:1], schema=MANIFEST).to_pylist()
    row = fail_row(complete, DecodeError(Reason.TRUNCATED, "half a file"))
    assert {name: row[name] for name in FACTS} == {name: complete[name] for name in FACTS}
    assert set(row) - set(FACTS) == {"status", "reason", "detail"}
    assert LAYOUT.facts == FACTS


def test_masks_inside_archives_are_announced(real):
    row = real[0] | {"disease_mask": '{"uri": "/a.tgz", "member": "m.png"}', "lung_mask": None, "excluded": None}
    assert [str(ref) for ref in wanted_masks(row)] == ["/a.tgz!m.png"]
    assert list(wanted_masks(row | {"excluded": "duplicate"})) == []
    assert list(wanted_masks(row | {"view": "lateral"})) == []


@pytest.mark.parametrize("malformed", ['{"polygon": []}', '{"boxes": [[1, 2, 3]], "frame": null}', '{"uri": '])
def test_a_malformed_mask_reference_costs_its_row_and_no_other(real, malformed):
    row = real[0] | {"disease_mask": '{"uri": "/a.tgz", "member": "m.png"}', "lung_mask": malformed, "excluded": None}
    assert [str(ref) for ref in wanted_masks(row)] == ["/a.tgz!m.png"]
    assert [found.get("reason") for found in prepared([row, real[0]])] == ["bad_mask", None]
