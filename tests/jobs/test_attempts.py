"""A chunk that ends every process it is read in: tried a finite number of times, on a real Ray."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

from comit_ray.chunks import graph, plan, ray_start
from comit_ray.chunks.attempts import Attempts
from comit_ray.chunks.graph import ReadParts, ReadSettings
from comit_ray.chunks.progress import Counters
from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.screening import fetch
from comit_ray.tables.manifest_schema import MANIFEST
from tests.support import manifest_row, write_rows

pytestmark = pytest.mark.slow


def test_the_head_of_a_cluster_is_known_by_its_answer(ray_session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    ray_start.check_address()


def test_the_chunk_s_rows_fail_and_the_run_goes_on(cxr: Path, tmp_path: Path, ray_session: Path) -> None:
    """It was tried for ever, and its file was never named."""
    images = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:3]
    deaths = tmp_path / "deaths"
    rows = [manifest_row(f"a/{n}", uri=str(path), chunk=f"a-{n}") for n, path in enumerate(images)]
    whole = plan.make_plan(write_rows(tmp_path / "manifest", rows, MANIFEST), "all")
    usual = partial(fetch.fetch_row, frame=FrameConfig(size=64), limits=DecodeLimits(processes=False))

    def read(row: dict[str, Any], reader: Any) -> dict[str, Any]:
        if row["image_id"] == "a/1":
            with open(deaths, "a") as noted:
                noted.write("x")
            os._exit(1)
        return usual(row, reader)

    settings = ReadSettings(
        columns=fetch.MANIFEST_COLUMNS,
        split="all",
        read=read,
        fail=fetch.fail_row,
        to_table=partial(fetch.to_table, frame=FrameConfig(size=64)),
        threads=2,
        max_bytes=10**7,
        name="fetched",
    )
    with graph.chunk_context():
        stage = ReadParts(settings, Counters("test"), Attempts())
        found = [pa.table(batch) for batch in graph.read(whole, stage, 1.0, 0.0).iter_batches(batch_format="pyarrow")]
    reasons: dict[str, str | None] = {}
    for packed in found:
        for index in range(len(packed)):
            table = plan.unpack(packed.slice(index, 1))[1]["fetched"]
            reasons |= dict(zip(table["image_id"].to_pylist(), table["reason"].to_pylist(), strict=True))
    assert reasons == {"a/0": None, "a/1": "program_failed", "a/2": None}
    assert deaths.read_text() == "xxx"
