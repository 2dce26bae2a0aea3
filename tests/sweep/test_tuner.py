"""How many trials run at a time, what a trial's process takes, and when a search asks one to stop."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune

from comit_ray.config.sweep_config import SearchConfig
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import ConfigError, StorageError
from comit_ray.storage import storage
from comit_ray.sweep import sweep_record, tuner
from comit_ray.sweep.study import PlannedTrial
from comit_ray.sweep.trial import TrialPlace, row
from comit_ray.training import run_directory


def _trial(name: str = "a", epochs: int = 3, **workers: Any) -> PlannedTrial:
    values = {
        "data": "d", "storage": "s", "name": name, "model": {"weights": "none"},
        "train": {"epochs": epochs}, "workers": workers,
    }  # fmt: skip
    return PlannedTrial(name, name, 0, TrainConfig.parse(values, origin="test"))


@pytest.mark.parametrize(
    ("workers", "nodes", "expected"),
    [
        ({"count": 1, "cpus": 1}, [{"CPU": 2.0}], 2),
        ({"count": 2, "cpus": 1}, [{"CPU": 2.0}], 1),
        ({"count": 1, "cpus": 0.5}, [{"CPU": 2.0}], 4),
        ({"count": 2, "cpus": 4, "gpu": True}, [{"CPU": 16.0, "GPU": 1.0}, {"CPU": 16.0, "GPU": 3.0}], 2),
        ({"count": 1, "gpu": True}, [{"CPU": 8.0}, {"CPU": 0.0, "GPU": 3.0}], 3),  # a node that offers GPUs alone
        ({"count": 4, "cpus": 3}, [{"CPU": 4.0}] * 8, 2),  # 32 CPUs, but one worker a node
        ({"count": [2, 8], "cpus": 1}, [{"CPU": 8.0}], 4),
    ],
)
def test_room_is_counted_node_by_node(workers: dict[str, Any], nodes: list[dict[str, float]], expected: int) -> None:
    assert tuner._room([_trial(**workers)], nodes) == expected


def test_no_room_for_one_is_an_error() -> None:
    with pytest.raises(ConfigError, match="wants 4 workers of 3 CPU each, and the cluster has room for 3"):
        tuner._room([_trial(count=4, cpus=3)], [{"CPU": 4.0}] * 3)
    with pytest.raises(ConfigError, match="1 workers of 1 GPU each, and the cluster has room for 0"):
        tuner._room([_trial(count=1, cpus=1, gpu=True)], [{"CPU": 4.0}])


def test_a_trials_own_process_takes_no_cpu_from_its_workers() -> None:
    """With a share of a CPU, two trials of one CPU each did not fit two CPUs, and ran one after the other."""
    trainable = tune.with_resources(lambda config: None, tuner.NOTHING)
    (bundle,) = trainable._resources.bundles
    assert "CPU" not in bundle


def _scheduler(place: TrialPlace, epochs: int = 9, **search: Any) -> Any:
    asked = SearchConfig.parse(
        {"draw": {"train.lr": {"choice": [1, 2]}}, "grace_epochs": 1, "reduction": 2} | search, origin="test"
    )
    return tuner._scheduler([_trial("good", epochs), _trial("poor", epochs)], asked, place)


def _run(scheduler: Any, epoch: int, **figures: float | None) -> list[str]:
    """The good trial's report of an epoch, then the poor one's: (good, poor); the decisions."""
    decisions = []
    for name, value in (("good", figures["good"]), ("poor", figures["poor"])):
        trial = SimpleNamespace(trial_id=name, config={"trial": name})
        if epoch == 1:
            scheduler.on_trial_add(None, trial)
        decisions.append(
            scheduler.on_trial_result(None, trial, {"epoch": epoch, "val_auroc_covid": value, "val_loss": value})
        )
    return decisions


def _stopped(place: TrialPlace) -> set[str]:
    return {
        name
        for name in ("good", "poor")
        if run_directory.asked_to_stop(storage.join(place.uri, sweep_record.RUNS, name))
    }


def _place(tmp_path: Path) -> TrialPlace:
    return TrialPlace("s", str(tmp_path), "m", "val", "val_auroc_covid")


def test_the_lower_auroc_is_asked_to_stop_and_never_killed(tmp_path: Path) -> None:
    place = _place(tmp_path)
    assert _run(_scheduler(place), 1, good=0.9, poor=0.6) == ["CONTINUE", "CONTINUE"]
    assert _stopped(place) == {"poor"}


def test_of_a_loss_the_higher_is_asked(tmp_path: Path) -> None:
    place = _place(tmp_path)
    _run(_scheduler(place, metric="val_loss"), 1, good=0.1, poor=0.6)
    assert _stopped(place) == {"poor"}


def test_an_undefined_figure_judges_nobody(tmp_path: Path) -> None:
    place = _place(tmp_path)
    scheduler = _scheduler(place)
    _run(scheduler, 1, good=0.9, poor=None)
    assert _stopped(place) == set()
    trial = SimpleNamespace(trial_id="poor", config={"trial": "poor"})
    scheduler.on_trial_complete(None, trial, {"epoch": 2, "val_auroc_covid": None})


@pytest.mark.parametrize(("epochs", "grace"), [(1, 1), (3, 3), (4, 1)])
def test_a_trial_with_all_its_epochs_is_not_stopped(tmp_path: Path, epochs: int, grace: int) -> None:
    place = _place(tmp_path)
    scheduler = _scheduler(place, epochs=epochs, grace_epochs=grace)
    for name in ("good", "poor"):
        scheduler.on_trial_add(None, SimpleNamespace(trial_id=name, config={"trial": name}))
    for name, value in (("good", 0.9), ("poor", 0.6)):
        trial = SimpleNamespace(trial_id=name, config={"trial": name})
        scheduler.on_trial_result(None, trial, {"epoch": epochs, "val_auroc_covid": value})
    assert _stopped(place) == set()


def test_a_storage_that_refuses_stops_no_sweep(tmp_path: Path, monkeypatch, capsys) -> None:
    def refuse(run: str) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(run_directory, "ask_to_stop", refuse)
    assert _run(_scheduler(_place(tmp_path)), 1, good=0.9, poor=0.6) == ["CONTINUE", "CONTINUE"]
    assert "trial poor could not be asked to stop and trains on: no space left" in capsys.readouterr().out


def test_a_trial_that_failed_too_often_is_a_row_and_what_is_ok_stays(tmp_path: Path) -> None:
    place = _place(tmp_path)
    done, broken = _trial("done"), _trial("broken")
    sweep_record.commit(place.uri, row(done, done, place) | {"status": sweep_record.OK})
    recorder = tuner._Recorder({"done": done, "broken": broken}, place)
    error = RuntimeError("Traceback ...\nOSError: the node is gone")
    for name in ("done", "broken"):
        trial = SimpleNamespace(config={"trial": name}, get_error=lambda: error)
        recorder.on_trial_error(1, [], trial)
    assert sweep_record.recorded(place.uri) == {"done": "ok", "broken": "failed"}
