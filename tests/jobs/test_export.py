"""The jobs around a PACS as they run on Ray: screened from it, and results stored back in it, twice."""

import re
from pathlib import Path

import pytest

from comit_ray import cli
from comit_ray.config.export_config import ExportConfig
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.tables import parquet
from jobs import export as export_job
from jobs import manifest as manifest_job
from jobs import screen as screen_job
from tests.dicom.orthanc import Orthanc, skip_without
from tests.dicom.support import CANARIES
from tests.dicom.ward import fill
from tests.support import write_checkpoint

pytestmark = pytest.mark.slow

IMAGES = 6


def test_screened_from_a_pacs_and_exported_to_it_once(
    ray_session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    skip_without()
    monkeypatch.setenv("COMIT_ID_KEY", "a key for tests alone")
    pacs = Orthanc(tmp_path / "orthanc", authenticate=False)  # Ray's workers run since before this test
    pacs.start()
    try:
        fill(tmp_path / "files", IMAGES)
        for file in (tmp_path / "files").iterdir():
            pacs.put(file.read_bytes())
        manifest, results = str(tmp_path / "manifest"), str(tmp_path / "results")
        checkpoint = write_checkpoint(tmp_path / "checkpoint", threshold=0.3)
        options = ManifestConfig(output=manifest, source="dicomweb", root=pacs.root, chunk_rows=2)
        assert manifest_job.job(options) == 0
        screen = ["--manifest", manifest, "--checkpoint", checkpoint, "--output", results]
        assert screen_job.job(cli.parse(ScreenConfig, "", screen)) == 0
        export = ["--results", results, "--manifest", manifest, "--select", "all", "--dicomweb", pacs.root]
        config = cli.parse(ExportConfig, "", [*export, "--format", "seg,gsps", "--rate", "200"])
        assert export_job.job(config) == 0
        assert pacs.count() == 3 * IMAGES
        assert export_job.job(config) == 0
        assert pacs.count() == 3 * IMAGES
        said = "".join(capfd.readouterr())
        assert f"objects stored: {2 * IMAGES}, stored before: 0, refused: 0" in said
        assert f"objects stored: 0, stored before: {2 * IMAGES}, refused: 0" in said
        rows = parquet.read_table(f"{results}/exports").to_pylist()
        assert {row["status"] for row in rows} == {"stored"}
        assert len(list((tmp_path / "results" / "exports").rglob("*.parquet"))) == IMAGES // 2
    finally:
        pacs.stop()
    logs = said.encode() + b"".join(file.read_bytes() for file in ray_session.rglob("*") if file.is_file())
    assert re.search(rb"\S", logs)
    for canary in CANARIES:
        assert canary.encode() not in logs
