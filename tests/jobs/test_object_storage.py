"""Manifest, training table and screen, all from and to `s3://`: the same rows as on disk."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from comit_ray import parquet
from tests.conftest import REPOSITORY
from tests.jobs.object_storage import packed_archive, rows, upload
from tests.support import write_checkpoint

pytestmark = pytest.mark.slow


def run(job: str, *options: str) -> str:
    command = [sys.executable, str(REPOSITORY / "jobs" / f"{job}.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def archive(cxr: Path, tmp_path: Path) -> Path:
    return packed_archive(cxr, tmp_path, 30)


def whole_way(root: str, output: str, checkpoint: str) -> dict[str, pa.Table]:
    """What the three jobs leave, by table."""
    options = ["--root", root, "--output", f"{output}/manifest", "--present_only", "true", "--chunk_rows", "8"]
    printed = run("manifest", "--source", "covid-chestxray", *options)
    assert printed.splitlines()[-1] == f"manifest: {output}/manifest"
    run("prepare", "--manifest", f"{output}/manifest", "--output", f"{output}/data")
    screened = run(
        "screen", "--manifest", f"{output}/manifest", "--checkpoint", checkpoint, "--output", f"{output}/results"
    )
    assert "30 images in the manifest" in screened
    names = {
        "manifest": "manifest",
        "images": "data/images",
        "predictions": "results/predictions",
        "masks": "results/masks",
        "review_queue": "results/review_queue",
    }
    return {name: parquet.read_table(f"{output}/{path}") for name, path in names.items()}


def test_object_storage_gives_the_rows_of_the_disk(archive: Path, tmp_path: Path, bucket: str) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    upload(archive, f"{bucket}/archive")
    upload(Path(checkpoint), f"{bucket}/checkpoint")
    local = whole_way(str(archive), str(tmp_path / "out"), checkpoint)
    remote = whole_way(f"{bucket}/archive", f"{bucket}/out", f"{bucket}/checkpoint")

    for name in ("manifest", "images", "masks"):
        assert rows(remote[name], f"{bucket}/archive") == rows(local[name], str(archive)), name
    for name in ("predictions", "review_queue"):
        for there, here in zip(rows(remote[name], f"{bucket}/archive"), rows(local[name], str(archive)), strict=True):
            for column, value in here.items():
                if isinstance(value, float):
                    assert there[column] == pytest.approx(value, abs=1e-6), (name, column)
                else:
                    assert there[column] == value, (name, column)
    predictions = local["predictions"]
    assert len(predictions) == 30
    members = sum("!" in image_id for image_id in predictions["image_id"].to_pylist())
    assert members == 12
    assert predictions["status"].to_pylist().count("ok") > 20
