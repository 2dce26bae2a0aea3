"""The first stage of a chunked job, in this process: parts in, chunks as packed Arrow tables out."""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from comit_ray.chunks import graph, plan
from comit_ray.chunks.graph import ReadParts, ReadSettings
from comit_ray.chunks.ownership import Owner
from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.errors import OvertakenError, StorageError
from comit_ray.prepare import prepare_pipeline as preparing
from comit_ray.screening import fetch as screening
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST, PREPARED
from tests.support import manifest_row

FRAME, LIMITS = FrameConfig(size=64), DecodeLimits()
SETTINGS = ReadSettings(
    columns=screening.MANIFEST_COLUMNS,
    split="all",
    read=partial(screening.fetch_row, frame=FRAME, limits=LIMITS),
    fail=screening.fail_row,
    to_table=partial(screening.to_table, frame=FRAME),
    threads=2,
    max_bytes=LIMITS.max_bytes,
    name="fetched",
)


class Told:
    """Counters that only note which stages they were told of."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, stage: str, *amounts: Any, **named: Any) -> None:
        self.stages.append(stage)


def read(settings: ReadSettings, cxr: Path, directory: Path) -> tuple[dict[str, pa.Table], list[str]]:
    """The chunks of a part with three radiographs and one that is not there; of its three chunks two are asked for."""
    images = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:3]
    files = [images[0], directory / "absent.png", images[1], images[2]]
    rows = [manifest_row(f"a/{i}", uri=str(f), chunk=f"a-{i // 2}") for i, f in enumerate(files)]
    rows.append(manifest_row("a/4", uri=str(images[0]), chunk="a-2"))
    uri = str(directory / "part.parquet")
    parquet.write_table(uri, pa.Table.from_pylist(rows, schema=MANIFEST))
    part = pa.Table.from_pylist(
        [{"uri": uri, "chunks": ["a-0", "a-1"], "files": ["0.parquet", "1.parquet"], "superseded": "[]"}]
    )
    told: Any = Told()
    unpacked = [plan.unpack(packed) for packed in ReadParts(settings, told)(part)]
    return {file: tables[settings.name] for file, tables in unpacked}, told.stages


def test_chunks_to_screen_are_tables_with_their_frames(cxr: Path, tmp_path: Path) -> None:
    found, stages = read(SETTINGS, cxr, tmp_path)
    assert list(found) == ["0.parquet", "1.parquet"]
    assert [table["status"].to_pylist() for table in found.values()] == [["ok", "failed"], ["ok", "ok"]]
    assert [len(screening.frames_of(table)) for table in found.values()] == [1, 2]
    assert stages == ["fetch", "decode"] * 2


def test_chunks_to_train_on_are_tables_of_prepared_rows(cxr: Path, tmp_path: Path) -> None:
    settings = ReadSettings(
        columns=preparing.MANIFEST_COLUMNS,
        split="all",
        read=partial(preparing.prepare_row, limits=LIMITS, coding="png"),
        fail=preparing.fail_row,
        to_table=preparing.to_table,
        threads=2,
        max_bytes=LIMITS.max_bytes,
        name="images",
        also_wanted=preparing.wanted_masks,
    )
    found, _ = read(settings, cxr, tmp_path)
    assert all(table.schema.equals(PREPARED, check_metadata=True) for table in found.values())
    rows = [row for table in found.values() for row in table.to_pylist()]
    assert [row["image_id"] for row in rows] == [f"a/{i}" for i in range(4)]
    assert [row["pixels"] is not None for row in rows] == [True, False, True, True]
    assert rows[1]["reason"] == "missing"


def test_settings_travel_to_tasks() -> None:
    again = pickle.loads(pickle.dumps(SETTINGS))
    assert (again.columns, again.threads, again.name) == (SETTINGS.columns, 2, "fetched")
    assert again.read.func is screening.fetch_row
    assert list(again.also_wanted(manifest_row("a/0"))) == []


def test_a_put_that_fails_is_tried_again_for_its_chunk_and_one_that_was_overtaken_is_not(monkeypatch: Any) -> None:
    tries: list[str] = []

    def commit(output: str, file: str, *_: Any) -> None:
        tries.append(file)
        if file == "overtaken" or (file == "twice" and len(tries) < 3) or file == "always":
            raise OvertakenError("newer") if file == "overtaken" else StorageError("503")

    monkeypatch.setattr(plan, "commit", commit)
    monkeypatch.setattr(graph, "WAITS_S", (0.0, 0.0, 0.0))
    told: Any = Told()
    stage = graph.Commit("o", plan.Layout("predictions"), told, Owner("r", "m", "s"))
    stage._commit("twice", {})
    assert tries == ["twice"] * 3
    tries.clear()
    with pytest.raises(OvertakenError):
        stage._commit("overtaken", {})
    assert tries == ["overtaken"]
    tries.clear()
    with pytest.raises(StorageError, match="503"):
        stage._commit("always", {})
    assert tries == ["always"] * 4
