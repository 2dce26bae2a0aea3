"""Manifest, training table and screen, all from and to `s3://`: the same rows as on disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from comit_ray import parquet, storage
from tests.conftest import REPOSITORY
from tests.support import write_checkpoint

pytestmark = pytest.mark.slow

OF_THE_RUN = ("run_id", "screened_at")


def run(job: str, *options: str) -> str:
    command = [sys.executable, str(REPOSITORY / "jobs" / f"{job}.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def archive(cxr: Path, tmp_path: Path) -> Path:
    """Thirty images of covid_chestxray with their masks; a third of the images in a tar.gz, a zip or a tar."""
    source, root = cxr / "covid_chestxray", tmp_path / "archive"
    (root / "images").mkdir(parents=True)
    images = sorted((source / "images").iterdir())[:30]
    for image in images:
        shutil.copy(image, root / "images")
    shutil.copytree(source / "annotations", root / "annotations")
    shutil.copy(source / "metadata.csv", root)
    for form, ending, some in (
        ("gztar", "tar.gz", images[:4]),
        ("zip", "zip", images[4:8]),
        ("tar", "tar", images[8:12]),
    ):
        staged = tmp_path / form
        (staged / "images").mkdir(parents=True)
        for image in some:
            (root / "images" / image.name).rename(staged / "images" / image.name)
        made = shutil.make_archive(str(tmp_path / f"made-{form}"), form, staged)
        Path(made).rename(root / f"part.{ending}")
    return root


def upload(root: Path, uri: str) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            storage.write_bytes(f"{uri}/{path.relative_to(root)}", path.read_bytes())


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


def rows(table: pa.Table, root: str) -> list[dict[str, Any]]:
    """Rows without what belongs to a run, and with places relative to the root."""
    kept = table.drop_columns([name for name in OF_THE_RUN if name in table.column_names])
    cleaned = [
        {name: value.replace(root, "ROOT") if isinstance(value, str) else value for name, value in row.items()}
        for row in kept.to_pylist()
    ]
    return sorted(cleaned, key=lambda row: str(row["image_id"]))


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
