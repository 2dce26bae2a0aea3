"""Training as its users run it, on real radiographs, through Ray; in one process where Ray Train has no part in it."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

from comit_ray.checkpoint import checkpoint
from comit_ray.command.jobs import train as job
from comit_ray.config.train_config import TrainConfig
from comit_ray.data.manifest.manifest import read, training_hash, write
from comit_ray.errors import CheckpointError, ConfigError, ManifestError
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.training import run_directory
from comit_ray.training.early_stopping import best_epoch
from comit_ray.training.run_training import train
from tests.support import manifest_row, write_rows
from tests.training.one_process import trains_here

TRAIN, VAL, COVID = 12, 5, 4  # COVID: of those to train on
EPOCHS = 6  # of a run that a worker is lost of: one, and time to be killed in
SEEN = TRAIN + 5 * COVID  # section 3.1: six copies of an image with COVID-19


@pytest.fixture(autouse=True)
def _fast_checks(monkeypatch) -> None:
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")


@pytest.fixture
def here() -> Iterator[None]:
    """Trainings of the test run in this process, without Ray."""
    with trains_here():
        yield


@pytest.fixture(scope="session")
def manifest(cxr: Path, tmp_path_factory) -> str:
    """Seventeen real radiographs of two sources, with a test row, an excluded one and one that is missing."""
    nih = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:11]
    masks = sorted((cxr / "covid_chestxray" / "annotations" / "lung_masks").glob("*.png"))
    images = {path.stem: path for path in (cxr / "covid_chestxray" / "images").iterdir()}
    rows = [manifest_row(f"nih/{p.name}", uri=str(p), unhealthy=i % 2, covid=0, other=i % 2) for i, p in enumerate(nih)]
    for mask in masks[:6]:
        image = images[mask.name.removesuffix("_mask.png").removesuffix(".png")]
        rows.append(
            manifest_row(
                f"covid/{image.name}", uri=str(image), unhealthy=1, covid=1, other=0, lung_mask=str(mask), view="AP"
            )
        )
    for i, row in enumerate(rows):
        row["split"] = "val" if i % 3 == 2 else "train"
    assert [row["split"] for row in rows].count("train") == TRAIN
    rows += [
        manifest_row("nih/test.png"),
        manifest_row("nih/lateral.png", excluded="lateral", split=None),
        manifest_row("nih/gone.png", uri="/nowhere/gone.png", unhealthy=0, split="train"),
    ]
    rows.sort(key=lambda row: str(row["dataset"]))
    return write_rows(tmp_path_factory.mktemp("train") / "manifest", rows, MANIFEST)


def config(
    manifest: str,
    storage_uri: Path,
    name: str = "run",
    workers: int | tuple[int, int] = 1,
    max_failures: int = 1,
    **train_options: Any,
) -> TrainConfig:
    values: dict[str, Any] = {
        "data": manifest,
        "storage": str(storage_uri),
        "name": name,
        "resume": train_options.pop("resume", False),
        "max_failed_share": train_options.pop("max_failed_share", 0.1),
        "frame": {"size": train_options.pop("size", 32)},
        **{name: train_options.pop(name) for name in ("frames", "frames_directory") if name in train_options},
        "model": {"width": 0.0625, "weights": train_options.pop("weights", "none")} | train_options.pop("model", {}),
        "train": {"epochs": 1, "batch_size": 8, "lr": 1e-3, **train_options},
        "workers": {"count": workers, "max_failures": max_failures, "threads": 1},
    }
    return TrainConfig.parse(values, origin="test")


def figures(run: Path, which: str = "last") -> dict[str, Any]:
    return dict(json.loads((run / which / "metrics.json").read_text()))


def numbers(figures: dict[str, Any]) -> dict[str, Any]:
    """All figures but the times."""
    return {name: value for name, value in figures.items() if "second" not in name}


def weights(run: Path, which: str = "last") -> bytes:
    return (run / which / checkpoint.WEIGHTS).read_bytes()


def test_an_existing_run_is_refused(manifest, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("something else")
    with pytest.raises(ConfigError, match="exists: give another --name, or --resume true"):
        train(config(manifest, tmp_path))
    with pytest.raises(ConfigError, match="is not a run of this job"):
        train(config(manifest, tmp_path, resume=True))


@pytest.mark.parametrize("name", ["", "a/b", ".hidden"])
def test_a_name_that_is_no_directory_is_refused(manifest, tmp_path: Path, name) -> None:
    with pytest.raises(ConfigError, match="name of a directory"):
        train(config(manifest, tmp_path, name=name))


def test_options_that_cannot_work_are_refused_before_anything_runs(manifest, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs the full width 1\.0"):
        train(config(manifest, tmp_path, weights="imagenet"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_too_many_unreadable_images_stop_the_training(manifest, tmp_path: Path, here) -> None:
    with pytest.raises(ManifestError, match=r"1 of 18 images cannot be read.*nih/gone\.png: storage_absent"):
        train(config(manifest, tmp_path, max_failed_share=0.01))
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_is_none_is_refused(tmp_path: Path) -> None:
    parquet.write_table(str(tmp_path / "other" / "part-00000.parquet"), pa.table({"image_id": ["a"]}))
    with pytest.raises(ManifestError, match="expected a manifest"):
        train(config(str(tmp_path / "other"), tmp_path / "runs"))


@pytest.mark.slow
def test_one_worker_trains_from_disk_with_whole_checkpoints(manifest, tmp_path: Path, ray_session, capsys) -> None:
    """It has the bytes of one in this process, without Ray Train, that has its frames in memory.

    With its checkpoint broken it does not go on.
    """
    assert job(config(manifest, tmp_path, epochs=2, frames="disk")) == 0
    printed = capsys.readouterr().out.strip().splitlines()
    best = str(tmp_path / "run" / "best")
    assert printed[-1] == f"checkpoint: {best}"
    assert (
        f"manifest: 20 rows = {TRAIN} to train on ({COVID} with COVID-19) + {VAL} to validate on + 2 left out"
        in printed[0]
    )
    assert "1 split: test" in printed[1]
    assert "1 excluded: lateral" in printed[1]
    assert printed[2] == "failed: 1 storage_absent"

    loaded = checkpoint.load(best)
    assert loaded.config.train.epochs == 2
    chosen = json.loads((tmp_path / "run" / "best" / "operating_points.json").read_text())
    for point in ("specificity_0.90", "specificity_0.99"):
        covid, unhealthy = chosen[point]["covid"], chosen[point]["unhealthy"]
        assert covid["positives"] + covid["negatives"] == VAL
        assert unhealthy["positives"] + unhealthy["negatives"] == VAL
        assert loaded.operating_points[point].threshold("covid") == covid["threshold"]
    last = figures(tmp_path / "run")
    assert last["epoch"] == 2
    assert last["val_loss"] >= figures(tmp_path / "run", "best")["val_loss"]
    for name in ("train_loss_lung", "val_loss_covid", "val_auroc_covid", "val_auroc_unhealthy", "val_lung_iou"):
        assert last[name] is not None
    assert last["val_loss_disease"] is None
    assert last["images_per_second"] > 0
    assert (last["train_images"], last["val_images"]) == (SEEN, VAL)
    assert loaded.manifest == training_hash(read(manifest))
    assert [figures["epoch"] for figures in checkpoint.load_history(str(tmp_path / "run" / "last"))] == [1, 2]
    assert set(loaded.temperatures) == {"covid", "other", "unhealthy"}
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 2

    path = tmp_path / "run" / "checkpoint_0002" / checkpoint.WEIGHTS
    with trains_here():
        train(config(manifest, tmp_path, "alone", epochs=2))
        assert numbers(figures(tmp_path / "alone")) == numbers(last)
        for which in ("best", "last"):
            assert weights(tmp_path / "alone", which) == weights(tmp_path / "run", which)

        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(CheckpointError, match="not a complete safetensors file"):
            train(config(manifest, tmp_path, epochs=3, resume=True, max_failures=0))


@pytest.mark.slow
def test_a_resumed_run_has_the_numbers_of_an_uninterrupted_one(manifest, tmp_path: Path, here, capsys) -> None:
    """Which also says that one configuration and seed give the same numbers twice. Mask R-CNN draws boxes at random."""
    common: dict[str, Any] = {"size": 64, "model": {"name": "mask_rcnn", "tasks": ["lung"]}}
    train(config(manifest, tmp_path, "whole", epochs=2, **common))
    train(config(manifest, tmp_path, "parts", epochs=1, **common))
    best = train(config(manifest, tmp_path, "parts", epochs=2, resume=True, **common))
    whole, parts = figures(tmp_path / "whole"), figures(tmp_path / "parts")
    assert numbers(parts) == numbers(whole)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert parts["epoch"] == 2

    again = train(config(manifest, tmp_path, "parts", epochs=1, resume=True, **common))  # nothing is left to do
    assert again == best
    assert "nothing is left to do" in capsys.readouterr().out
    assert figures(tmp_path / "parts") == parts
    with pytest.raises(ConfigError, match=r"other options: train\.lr was 0\.001, now 0\.5"):
        train(config(manifest, tmp_path, "parts", epochs=2, resume=True, lr=0.5, **common))


def test_frames_on_disk_train_the_same_network(manifest, tmp_path: Path, here, capsys) -> None:
    train(config(manifest, tmp_path, "memory"))
    told = capsys.readouterr().out.splitlines()[:3]
    train(config(manifest, tmp_path, "disk", frames="disk", frames_directory=str(tmp_path / "node")))
    assert capsys.readouterr().out.splitlines()[:3] == told
    assert numbers(figures(tmp_path / "disk")) == numbers(figures(tmp_path / "memory"))
    assert weights(tmp_path / "disk") == weights(tmp_path / "memory")
    assert not list((tmp_path / "disk" / "frames").glob("*")), "files that nobody needs any more"
    assert not list((tmp_path / "node").glob("*"))
    train(config(manifest, tmp_path, "memory", epochs=2, resume=True, frames="disk"))
    assert figures(tmp_path / "memory")["epoch"] == 2


@pytest.mark.slow
def test_a_run_does_not_go_on_with_another_split(manifest, tmp_path: Path, here) -> None:
    """Written again at the same URI: those who were trained on would be validated on."""
    table = read(manifest)
    uri = str(tmp_path / "manifest")
    write(uri, table, 100)
    train(config(uri, tmp_path))
    splits = ["test" if split == "val" else split for split in table.column("split").to_pylist()]
    splits[splits.index("train")] = "val"
    index = table.schema.get_field_index("split")
    write(uri, table.set_column(index, table.schema.field(index), pa.array(splits, pa.string())), 100)
    with pytest.raises(ConfigError, match=r"was started on another manifest .*give another --name"):
        train(config(uri, tmp_path, resume=True))
    assert figures(tmp_path / "run")["val_images"] == VAL

    write(uri, table, 4)  # other parts of the same rows
    train(config(uri, tmp_path, resume=True, epochs=2))
    assert figures(tmp_path / "run")["epoch"] == 2


@pytest.mark.slow
def test_a_diverging_run_says_what_to_do(manifest, tmp_path: Path, here) -> None:
    with pytest.raises(ConfigError, match=r"epoch 1: .* not finite: lower train\.lr"):
        train(config(manifest, tmp_path, lr=1e30, max_failures=0))
    with pytest.raises(CheckpointError):
        checkpoint.load(str(tmp_path / "run" / "best"))


def trainers() -> list[int]:
    """Process ids of the training workers that this test session's Ray started."""
    processes: dict[int, tuple[int, str]] = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            parent = (directory / "stat").read_text().rpartition(")")[2].split()[1]
            processes[int(directory.name)] = int(parent), (directory / "cmdline").read_text()
        except OSError:
            continue  # it has ended

    def ours(process: int) -> bool:
        return process == os.getpid() or (process in processes and ours(processes[process][0]))

    return [process for process, (_, command) in processes.items() if "RayTrainWorker" in command and ours(process)]


@pytest.mark.slow
def test_two_workers_killed_amid_an_epoch_end_as_two_that_were_not(
    manifest, tmp_path: Path, ray_session, monkeypatch
) -> None:
    """A worker dies after the first checkpoint: the group starts again from there, and ends with the same bytes.

    Two that were not have the losses of one, as batch statistics are frozen. Plain gradient descent: Adam's first steps
    divide by the gradient, and with it by its rounding. The two compute their parts of a step in parts of their own.
    Those that were not are asked for as one to four, of which there are two, as Ray has two CPUs.
    Adam and batch statistics after a death: tests/jobs/test_cluster.py.
    """
    common: dict[str, Any] = {"epochs": EPOCHS, "batch_norm": "frozen", "optimiser": "sgd", "vary": True}
    two = common | {"workers": 2, "accumulate": 2}
    killed: list[int] = []

    def kill_one() -> None:
        while not killed:
            time.sleep(0.02)
            if (tmp_path / "killed" / "checkpoint_0001" / checkpoint.CONFIG).exists():
                killed.extend(trainers()[-1:])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    best = train(config(manifest, tmp_path, "killed", **two))
    killer.join(timeout=5)
    assert killed
    deadline = time.monotonic() + 60  # the CPUs of a group that has ended come back a moment later
    while ray.available_resources().get("CPU", 0) < 2:
        assert time.monotonic() < deadline, ray.available_resources()
        time.sleep(0.1)
    # What a training had reserved that was killed with its driver (tests/jobs/test_sweep.py) counts as taken for three
    # minutes, unless who keeps the account begins anew.
    accounts = ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator")
    ray.kill(accounts, no_restart=False)
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "5")
    train(config(manifest, tmp_path, "quiet", **two | {"workers": (1, 4)}))

    covid = json.loads((Path(best) / "operating_points.json").read_text())["specificity_0.90"]["covid"]
    assert covid["positives"] + covid["negatives"] == VAL
    last = figures(tmp_path / "killed")
    assert last["epoch"] == EPOCHS
    assert (last["train_images"], last["val_images"]) == (SEEN, VAL), "each once an epoch, whoever has it"
    assert numbers(last) == numbers(figures(tmp_path / "quiet"))
    for which in ("best", "last"):
        assert weights(tmp_path / "killed", which) == weights(tmp_path / "quiet", which)

    with trains_here():
        train(config(manifest, tmp_path, "one", **common))
    of_one, of_two = (checkpoint.load_history(str(tmp_path / name / "last")) for name in ("one", "quiet"))
    assert {figures["workers"] for figures in of_two} == {2}
    assert of_one[0]["train_loss"] > of_one[-1]["train_loss"]
    for one, quiet in zip(of_one[:3], of_two[:3], strict=True):
        for name in ("train_loss", "val_loss"):
            assert quiet[name] == pytest.approx(one[name], rel=1e-4)


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_ends_after_its_epoch(manifest, tmp_path: Path) -> None:
    """It is published like one that ran to its end, and says that it was asked."""
    run = tmp_path / "run"
    with trains_here(after_epoch=lambda figures: run_directory.ask_to_stop(str(run))):
        train(config(manifest, tmp_path, epochs=60))
    assert run_directory.asked_to_stop(str(run))
    assert run_directory.finished(str(run))
    assert len(checkpoint.load_history(str(run / "last"))) == 2, "it was asked before the second had ended"
    assert (run / "best" / checkpoint.WEIGHTS).exists()


@pytest.mark.slow
def test_a_run_killed_in_its_first_epoch_begins_again(manifest, tmp_path: Path, here) -> None:
    run_directory.record(str(tmp_path / "run"), config(manifest, tmp_path), training_hash(read(manifest)))
    assert job(config(manifest, tmp_path, resume=True)) == 0
    assert figures(tmp_path / "run")["epoch"] == 1


@pytest.mark.slow
def test_training_stops_when_the_validation_loss_falls_no_more(manifest, tmp_path: Path, here) -> None:
    """At a rate of 1e-30 nothing is learned."""
    train(config(manifest, tmp_path, epochs=9, patience=2, lr=1e-30, batch_norm="frozen"))
    history = checkpoint.load_history(str(tmp_path / "run" / "last"))
    assert [figures["epoch"] for figures in history] == [1, 2, 3]
    assert figures(tmp_path / "run", "best")["epoch"] == best_epoch(history) + 1 == 3, "of equals the last"
