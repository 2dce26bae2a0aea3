"""A sweep as its users run it, on real radiographs: killed and resumed, with a variant that fails, and a search."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from comit_ray.checkpoint import checkpoint
from comit_ray.command.jobs import sweep
from comit_ray.config.sweep_config import SweepConfig
from comit_ray.data.manifest.manifest import read
from comit_ray.errors import ConfigError
from comit_ray.storage import storage
from comit_ray.sweep import sweep_record, trial, tuner
from comit_ray.sweep.study import PlannedTrial
from comit_ray.sweep.trial import TrialPlace
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import STUDY_PREDICTIONS, TRIALS
from comit_ray.training import run_directory
from tests.chunks.one_process import chunks_here
from tests.conftest import REPOSITORY
from tests.support import manifest_row, write_rows
from tests.training.one_process import trains_here

pytestmark = pytest.mark.slow
EPOCHS = 5
LONG = 8  # epochs of a search: enough to be asked after the first and before the last
TINY = {
    "frame": {"size": 32},
    "model": {"weights": "none"},
    "train": {"batch_size": 8, "lr": 1e-3, "augment_covid": False},
    "workers": {"count": 1, "threads": 1, "max_failures": 0},
    "track": {"tensorboard": False},
}


@pytest.fixture(autouse=True)
def _fast_checks(monkeypatch) -> None:
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")


@pytest.fixture(scope="module")
def manifest(cxr: Path, tmp_path_factory) -> str:
    """Twenty-four real radiographs of two sources, healthy, other and COVID, in three splits."""
    nih = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:15]
    masks = sorted((cxr / "covid_chestxray" / "annotations" / "lung_masks").glob("*.png"))
    images = {path.stem: path for path in (cxr / "covid_chestxray" / "images").iterdir()}
    rows = [manifest_row(f"nih/{p.name}", uri=str(p), unhealthy=i % 2, covid=0, other=i % 2) for i, p in enumerate(nih)]
    for mask in masks[:9]:
        image = images[mask.name.removesuffix("_mask.png").removesuffix(".png")]
        known = {"unhealthy": 1, "covid": 1, "other": 0, "lung_mask": str(mask), "view": "AP"}
        rows.append(manifest_row(f"covid/{image.name}", uri=str(image), **known))
    for i, row in enumerate(rows):
        row["split"] = ("train", "val", "test")[i % 3]
    rows.sort(key=lambda row: str(row["dataset"]))
    return write_rows(tmp_path_factory.mktemp("sweep") / "manifest", rows, MANIFEST)


def write_study(directory: Path, values: dict[str, Any]) -> str:
    (directory / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    path = directory / "study.yaml"
    path.write_text(yaml.safe_dump({"base": ["tiny.yaml"], "seeds": 1} | values, sort_keys=False))
    return str(path)


def _first_here(trials: Sequence[PlannedTrial], place: TrialPlace, *rest: Any) -> None:
    """In the place of `tuner.sweep`: the first trial in this process, the others are left."""
    trial.run(trials[0], place)


def rows_of(study: str) -> dict[str, dict[str, Any]]:
    table = parquet.read_table(storage.join(study, "trials"))
    assert table.schema.equals(TRIALS)
    rows = table.to_pylist()
    assert len({row["trial"] for row in rows}) == len(rows)
    return {row["variant"]: row for row in rows}


def test_a_killed_sweep_goes_on_and_a_failed_trial_is_a_row(manifest, joining, tmp_path) -> None:
    """Killed when one network is done and another trains; no trial lost, none that was done run twice.

    The first is done by a sweep in this process, without Ray; the second trains, and is gone on with, on Ray.
    """
    (tmp_path / "forest.yaml").write_text("{method: {name: random_forest, trees: 5}, tasks: [covid]}")
    covid = {"model.tasks": ["health", "covid"]}
    path = write_study(
        tmp_path,
        {
            "options": {"train.epochs": EPOCHS},
            "axes": {
                "model": {
                    "first": {"model.name": "comit_net", "model.width": 0.0625},
                    "second": covid | {"model.name": "resnet18", "model.width": 0.125},
                    "broken": covid | {"model.name": "vgg19", "model.weights": str(tmp_path / "gone.pth")},
                }
            },
            "embedding_classifiers": {"of": "second", "methods": {"forest": "forest.yaml"}},
            "gradcam": ["second"],
        },
    )
    options = {"study": path, "data": manifest, "storage": str(tmp_path), "name": "one", "concurrent": 1}
    study = tmp_path / "one"
    with pytest.MonkeyPatch.context() as patch, trains_here(), chunks_here():
        patch.setattr(tuner, "room", lambda *_: 1)
        patch.setattr(tuner, "sweep", _first_here)
        assert sweep(SweepConfig.parse(options, origin="test")) == 1, "two trials and a classifier have no row"
    before = rows_of(str(study))
    assert before.keys() == {"first"}
    words = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, "jobs/sweep.py", *words, "--resume", "true"]
    with (tmp_path / "log").open("wb") as log:
        driver = subprocess.Popen(command, cwd=REPOSITORY, env=joining, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + 900
            # Its folder may not be whole yet, and no run goes on from it before Ray Train's list names it.
            while not any(
                "checkpoint_" in listed.read_text() for listed in study.glob(f"runs/second-*/{run_directory.SNAPSHOT}")
            ):
                assert driver.poll() is None, (tmp_path / "log").read_text()[-3000:]
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-3000:]
                time.sleep(0.1)
        finally:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
    assert rows_of(str(study)) == before, "it trained when it was killed, and was not done"
    (run,) = study.glob("runs/second-*")
    trained = checkpoint.load_history(str(sorted(run.glob("checkpoint_*"))[0]))  # with the seconds that it took

    with pytest.raises(ConfigError, match="exists: give another --name, or --resume true"):
        sweep(SweepConfig.parse(options, origin="test"))
    assert sweep(SweepConfig.parse(options | {"resume": True, "concurrent": 2}, origin="test")) == 1, "one failed"

    rows = rows_of(str(study))
    assert {variant: row["status"] for variant, row in rows.items()} == {
        "first": "ok", "forest": "ok", "second": "ok", "broken": "failed",
    }  # fmt: skip
    assert rows["first"] == before["first"], "what was done is as it was"
    assert (rows["first"]["attempts"], rows["second"]["attempts"]) == (1, 2)
    assert checkpoint.load_history(str(run / "last"))[: len(trained)] == trained, "it went on, and did not begin anew"
    assert "gone.pth" in rows["broken"]["detail"]
    assert rows["broken"]["attempts"] >= 2, "it was begun again before it was given up"
    assert {rows[variant]["epochs"] for variant in ("first", "second")} == {EPOCHS}
    assert rows["forest"]["kind"] == "embedding_classifier"
    assert json.loads(rows["second"]["config"])["model"]["name"] == "resnet18"
    assert rows["first"]["lung_iou"] is not None
    assert rows["second"]["lung_iou"] is None
    assert (study / rows["second"]["results"] / "gradcam").is_dir()

    tested = {row["image_id"] for row in read(manifest).to_pylist() if row["split"] == "test"}
    scored = parquet.read_table(storage.join(str(study), "predictions"))
    assert scored.schema.equals(STUDY_PREDICTIONS)
    for variant in ("first", "forest", "second"):
        of_it = [row for row in scored.to_pylist() if row["variant"] == variant]
        assert sorted(row["image_id"] for row in of_it) == sorted(tested)
        assert all(row["p_covid"] is not None and row["trial"] == rows[variant]["trial"] for row in of_it)

    other = yaml.safe_load(Path(path).read_text())
    other["options"] = {"train.lr": 0.5}
    Path(path).write_text(yaml.safe_dump(other))
    with pytest.raises(ConfigError, match="begun with another question"):
        sweep(SweepConfig.parse(options | {"resume": True}, origin="test"))


def test_a_search_records_what_was_asked_to_stop(manifest, ray_session, tmp_path) -> None:
    """As the scheduler asks (tests/sweep/test_tuner.py says whom), so does the test: the first that has an epoch."""
    path = write_study(
        tmp_path,
        {
            "options": {"model.name": "resnet18", "model.width": 0.125, "model.tasks": ["covid"], "train.epochs": LONG},
            "search": {"draw": {"train.lr": {"choice": [1e-4, 1e-3]}}, "samples": 2, "seed": 1, "grace_epochs": 1},
            "split": "val",
        },
    )
    asked: list[str] = []

    def ask() -> None:
        while not asked:
            asked.extend(found.parts[-3] for found in tmp_path.glob(f"search/runs/*/checkpoint_*/{checkpoint.CONFIG}"))
            time.sleep(0.01)
        run_directory.ask_to_stop(str(tmp_path / "search" / "runs" / asked[0]))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    options = {"study": path, "data": manifest, "storage": str(tmp_path), "name": "search", "concurrent": 2}
    assert sweep(SweepConfig.parse(options, origin="test")) == 0
    asking.join(timeout=5)
    rows = {row["trial"]: row for row in rows_of(str(tmp_path / "search")).values()}
    assert len(rows) == 2
    assert rows[asked[0]]["status"] == "stopped"
    for row in rows.values():
        assert row["split"] == "val"
        assert row["val_loss"] is not None
        assert row["val_judged"] == row["val_auroc"]
        if row["status"] == "stopped":
            assert row["epochs"] < LONG
            assert row["auroc"] is None
            assert "stopped before its last epoch" in row["detail"]
        else:
            assert (row["status"], row["epochs"]) == ("ok", LONG)


def test_a_training_table_of_other_splits_is_refused(manifest, tmp_path) -> None:
    rows = read(manifest).to_pylist()
    for row in rows:
        row["split"] = {"train": "test", "test": "train", "val": "val"}[row["split"]]
    other = write_rows(tmp_path / "other", rows, MANIFEST)
    axes = {"axes": {"model": {"only": {"model.name": "resnet18", "model.tasks": ["covid"]}}}}
    options = {"study": write_study(tmp_path, axes), "storage": str(tmp_path), "name": "one"}
    with pytest.raises(ConfigError, match="its test split may have been trained on"):
        sweep(SweepConfig.parse(options | {"data": manifest, "manifest": other}, origin="test"))
    assert not storage.exists(str(tmp_path / "one"))


def test_an_unknown_study_is_refused_with_those_that_there_are(tmp_path) -> None:
    options = {"study": "ablatoin", "data": "d", "storage": str(tmp_path), "name": "one"}
    with pytest.raises(ConfigError, match=r"there is no file ablatoin \(did you mean ablation\?\)"):
        sweep(SweepConfig.parse(options, origin="test"))
    assert sweep_record.recorded(str(tmp_path / "one")) == {}


def test_the_table_of_trials_reads_in_duckdb(tmp_path) -> None:
    duckdb = pytest.importorskip("duckdb")
    table = pa.Table.from_pylist([], schema=TRIALS)
    parquet.write_table(str(tmp_path / "trials" / "a.parquet"), table)
    names = [row[0] for row in duckdb.sql(f"DESCRIBE SELECT * FROM '{tmp_path}/trials/*.parquet'").fetchall()]
    assert names == TRIALS.names
