import json
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import ConfigError
from comit_ray.training.mlflow_tracking import MlflowRun, parameters
from comit_ray.training.tracking import Tracker
from comit_ray.training.validation import EpochMetrics

if TYPE_CHECKING:
    from mlflow import MlflowClient

FIGURES: EpochMetrics = {"train_loss": 0.1, "val_auroc_covid": None, "val_sensitivity_at_specificity_0.90_covid": 0.75}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tracking server's place: files, the only store that MLflow's client has without a server."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "mlflow").as_uri()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of a port at which nobody listens; tried once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def config(tmp_path: Path, server: str, **changes: Any) -> TrainConfig:
    track = {"mlflow": server, "experiment": "chests", "tensorboard": False}
    return TrainConfig.parse({"data": "d", "storage": str(tmp_path), "name": "n", "track": track} | changes, origin="t")


def begin(config: TrainConfig) -> MlflowRun:
    return MlflowRun(config, str(config.track.mlflow), f"{config.storage}/{config.name}")


def remembered(tmp_path: Path) -> dict[str, str]:
    return json.loads((tmp_path / "n" / "mlflow.json").read_text())


def client_of(server: str) -> "MlflowClient":
    from mlflow import MlflowClient  # two seconds of import, which no process needs that runs other tests

    return MlflowClient(tracking_uri=server)


def steps(client: "MlflowClient", run_id: str, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]


def test_a_training_is_one_run_also_after_a_restart(tmp_path, server, capsys):
    client = client_of(server)
    first = Tracker(config(tmp_path, server), f"{tmp_path}/n")
    first.epoch({**FIGURES, "epoch": 1})  # and killed
    run_id = remembered(tmp_path)["run_id"]
    assert client.get_run(run_id).info.status == "RUNNING"

    again = Tracker(config(tmp_path, server, resume=True, train={"epochs": 99}), f"{tmp_path}/n")
    again.epoch({**FIGURES, "epoch": 2, "train_loss": 0.05, "val_auroc_covid": 0.9})
    again.close()

    (run,) = client.search_runs([client.get_experiment_by_name("chests").experiment_id])
    assert run.info.run_id == run_id
    assert (run.info.run_name, run.info.status) == ("n", "FINISHED")
    assert run.data.params == parameters(config(tmp_path, server))
    assert (run.data.params["train.epochs"], run.data.tags["resumed.train.epochs"]) == ("30", "99")
    assert steps(client, run_id, "train_loss") == [(1, 0.1), (2, 0.05)]
    assert steps(client, run_id, "val_sensitivity_at_specificity_0.90_covid") == [(1, 0.75), (2, 0.75)]
    assert steps(client, run_id, "val_auroc_covid") == [(2, 0.9)]
    assert set(run.data.metrics) == set(FIGURES)
    assert capsys.readouterr().out == ""

    Tracker(config(tmp_path, server, resume=True), f"{tmp_path}/n")  # a finished run is trained further
    assert client.get_run(run_id).info.status == "RUNNING"


def test_what_could_not_be_logged_is_said_and_logged_later(tmp_path, server, capsys):
    client = client_of(server)
    run = begin(config(tmp_path, server))
    run_id = remembered(tmp_path)["run_id"]
    (metrics,) = (tmp_path / "mlflow").rglob("metrics")
    metrics.rmdir()
    metrics.write_text("in the way")
    run.epoch({**FIGURES, "epoch": 1})
    run.epoch({**FIGURES, "epoch": 2})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("MLflow: epoch 1 not logged, tried again after the next epoch: file://")
    assert second.startswith("MLflow: epochs 1, 2 not logged")
    run.close()
    assert capsys.readouterr().out.startswith("MLflow: epochs 1, 2 not logged, the run stays RUNNING: ")
    metrics.unlink()
    metrics.mkdir()
    run.close()
    assert capsys.readouterr().out == ""
    assert steps(client, run_id, "train_loss") == [(1, 0.1), (2, 0.1)]


def test_a_server_that_does_not_answer_stops_a_beginning_not_a_restart(tmp_path, nobody, capsys):
    with pytest.raises(ConfigError, match=r"track\.mlflow: http://127\.0\.0\.1:\d+ failed: "):
        begin(config(tmp_path, nobody))

    known = {"tracking_uri": nobody, "experiment": "chests", "run_id": "0" * 32}
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "mlflow.json").write_text(json.dumps(known))
    run = begin(config(tmp_path, nobody))
    run.epoch({**FIGURES, "epoch": 4})
    said = capsys.readouterr().out
    assert "the training continues" in said
    assert "epoch 4 not logged" in said


def test_a_run_that_was_deleted_is_an_error(tmp_path, server):
    begin(config(tmp_path, server))
    run_id = remembered(tmp_path)["run_id"]
    client_of(server).delete_run(run_id)
    with pytest.raises(ConfigError, match=rf"no longer has the run {run_id}: restore it, or remove .*mlflow\.json"):
        begin(config(tmp_path, server))
    (directory,) = (tmp_path / "mlflow").rglob(run_id)
    shutil.rmtree(directory)
    with pytest.raises(ConfigError, match=rf"no longer has the run {run_id}"):
        begin(config(tmp_path, server))


def test_another_experiment_begins_another_run_and_says_where_the_old_one_is(tmp_path, server, capsys):
    begin(config(tmp_path, server))
    old = remembered(tmp_path)["run_id"]
    begin(config(tmp_path, server, track={"mlflow": server, "experiment": "other"}))
    assert remembered(tmp_path)["run_id"] != old
    assert f"earlier epochs stay in run {old} of experiment chests" in capsys.readouterr().out


def test_options_as_parameters_are_flat_and_short(tmp_path):
    long = "x" * 7000
    values = parameters(config(tmp_path, "https://host/mlflow", data=long))
    assert values["track.mlflow"] == "https://host/mlflow"
    assert "resume" not in values
    assert values["data"] == long[:6000]
    assert values["train.lr"] == "5e-05"
    assert values["model.tasks"] == '["lung", "disease", "health", "covid"]'
    assert values["train.patience"] == "null"
    assert all(len(key) <= 250 for key in values)


@pytest.mark.parametrize("uri", ["http://me@h", "https://me:s3cr@t@h/m", "http://me:s3/cr@h", "me:s3cr@h:5000"])
def test_a_user_or_password_in_the_uri_is_refused_and_not_shown(tmp_path, uri):
    with pytest.raises(ConfigError, match=r"^t: track\.mlflow: no user or password in the URI[^@]*_PASSWORD$"):
        config(tmp_path, uri)


@pytest.mark.parametrize("uri", ["file:///data/a@b", "runs/a@b", "databricks://profile", "http://h:5000/m"])
def test_other_uris_are_taken(tmp_path, uri):
    assert config(tmp_path, uri).track.mlflow == uri


def test_without_the_package_the_extra_is_named(tmp_path, server, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"pip install 'comit-ray\[mlflow\]'"):
        begin(config(tmp_path, server))


def test_only_those_who_were_asked_for_are_told(tmp_path):
    def files(**track: bool) -> list[str]:
        options = {"data": "d", "storage": str(tmp_path), "name": "n", "track": track}
        tracker = Tracker(TrainConfig.parse(options, origin="t"), f"{tmp_path}/n")
        tracker.epoch({**FIGURES, "epoch": 1})
        tracker.close()
        return [path.name for path in (tmp_path / "n").rglob("*") if path.is_file()]

    assert files(tensorboard=False) == []
    assert files() == ["events.out.tfevents.00001"]
