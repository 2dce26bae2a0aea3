"""One command from a folder to a queue, as its users run it: the job's own process, on real files of every kind."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import duckdb
import pytest

from comit_ray.config.screen_config import ScreenConfig
from jobs import screen as screen_job
from tests.conftest import REPOSITORY
from tests.jobs.in_process import NOT_OURS, called
from tests.support import write_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture
def folder(cxr: Path, tmp_path: Path) -> Path:
    root = tmp_path / "radiographs"
    shutil.copytree(cxr / "dicom", root / "dicom")
    pngs = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))
    jpegs = sorted((cxr / "covid_chestxray" / "images").glob("*.jp*g"))
    for file in [*pngs[:4], *jpegs[:2]]:
        shutil.copy(file, root)
    with zipfile.ZipFile(root / "ward.zip", "w") as archive:
        archive.write(pngs[5], f"ward/{pngs[5].name}")
    (root / "notes.txt").write_text("text")
    (root / "empty.png").touch()
    return root


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "comit_ray.cli", "screen", *options]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_a_folder_is_screened_by_one_command_that_says_only_what_is_ours(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("COMIT_ID_KEY", raising=False)
    checkpoint, output = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "out"
    options = ["--archive", str(folder), "--checkpoint", checkpoint, "--output", str(output)]
    options += ["--max_failed_share", "0.1"]  # one of thirteen is empty
    done = run(*options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for words in NOT_OURS:
        assert words not in done.stdout
    for words in (
        f"{folder}: 13 images, other files: 1",
        "13 images in the manifest: 10 ok, 2 excluded, 1 failed",
        "  excluded: 2 not_a_chest (it is not a chest)",
        "  failed: 1 empty (the file is empty)",
        "images in the review queue, the most urgent first:",
        f"next: comit-ray review --results {output}",
    ):
        assert words in done.stdout, done.stdout
    for words in ("0 patients", "without a patient", " train,", "COMIT_ID_KEY", "empty.png"):
        assert words not in done.stdout
    rows = duckdb.sql(f"SELECT image_id, status FROM '{output}/predictions/*.parquet'").fetchall()
    assert len({image_id for image_id, _ in rows}) == len(rows) == 13

    again = called(screen_job.job, ScreenConfig, *options)
    assert again.returncode == 0, again.stderr
    assert "nothing was left to do" in again.stdout

    shutil.copy(min(folder.glob("0*.png")), folder / "late.png")
    grown = called(screen_job.job, ScreenConfig, *options)
    assert grown.returncode == 0, grown.stdout + grown.stderr
    rows = duckdb.sql(f"SELECT image_id, status FROM '{output}/predictions/*.parquet'").fetchall()
    assert len({image_id for image_id, _ in rows}) == len(rows) == 14
    assert dict(rows)["files/late.png"] == "ok"
