"""A checkpoint trained on real radiographs: it knows the real test split, and does not take phantoms for its kind."""

import json
from pathlib import Path
from typing import Any

import pytest

from comit_ray import cli
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.phantom_config import PhantomConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.config.train_config import TrainConfig
from comit_ray.screening import drift
from comit_ray.tables import parquet
from comit_ray.tables.vocabulary import Split
from comit_ray.training.run_training import train
from jobs import manifest as manifest_job
from jobs import phantom as phantom_job
from jobs import screen as screen_job
from tests.support import some_of_nih
from tests.training.one_process import trains_here

pytestmark = pytest.mark.slow


def manifest(source: str, root: Path, output: Path) -> str:
    options = ["--source", source, "--root", str(root), "--output", str(output), "--present_only", "true"]
    assert manifest_job.job(cli.parse(ManifestConfig, "", options)) == 0
    return str(output)


def screened(manifest_uri: str, model: str, output: Path, *options: str) -> dict[str, Any]:
    """What the screen says of drift, as written beside its tables."""
    common = ["--manifest", manifest_uri, "--checkpoint", model, "--output", str(output), *options]
    assert screen_job.job(cli.parse(ScreenConfig, "", [*common, "--max_failed_share", "1"])) == 0
    return dict(json.loads((output / drift.FILE).read_text()))


@pytest.mark.usefixtures("small_phantoms")
def test_phantoms_are_flagged_and_the_real_test_split_is_not(cxr, here, tmp_path, capsys) -> None:
    real = manifest("nih", some_of_nih(cxr, tmp_path / "nih", every=2), tmp_path / "real")
    config = {
        "data": real,
        "storage": str(tmp_path / "runs"),
        "name": "run",
        "frame": {"size": 64},
        "model": {"tasks": ["health"], "width": 0.0625, "weights": "none"},  # NIH knows nothing of COVID-19
        "train": {"epochs": 1, "batch_size": 16, "lr": 1e-3},
    }
    with trains_here():
        best = train(TrainConfig.parse(config, origin="test"))
    phantom_job.job(PhantomConfig(output=str(tmp_path / "archive"), count=80))
    phantoms = manifest("phantom", tmp_path / "archive", tmp_path / "phantoms")
    capsys.readouterr()

    known = screened(real, best, tmp_path / "known", "--split", Split.TEST)
    assert known["images"] > 60
    assert [one for one in known["signals"] if one["differs"]] == []
    assert "WARNING" not in capsys.readouterr().out

    strange = screened(phantoms, best, tmp_path / "strange")
    assert strange["images"] > 60
    differing = {(one["signal"], one["kind"]) for one in strange["signals"] if one["differs"]}
    assert {("pixel_black", "spread"), ("source", "names")} <= differing
    said = capsys.readouterr().out
    archive = f"the archive ({strange['images']} images)"
    assert f"WARNING: {archive} does not look like the training data of model {strange['model_id']}" in said

    rows = parquet.read_table(str(tmp_path / "known" / "predictions"))
    typical = rows["typicality"].to_numpy()
    assert len(typical) == known["images"]
    assert 0 < typical.min() < typical.max() <= 1
