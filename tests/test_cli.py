import re
import subprocess
import sys

import pytest

from comit_ray import cli
from comit_ray.command import jobs
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import ConfigError, StorageError
from tests.conftest import REPOSITORY

TRAIN = ["--data", "d", "--storage", "s", "--name", "n"]


def train(*argv: str) -> TrainConfig:
    return cli.parse(TrainConfig, "Train.", [*TRAIN, *argv], prog="train.py")


def test_dotted_overrides():
    assert train("--train.epochs", "3", "--model.tasks", "[lung,covid]").train.epochs == 3
    assert train("--model.tasks", "[lung,covid]").model.tasks == ("lung", "covid")


def test_files_give_values_and_later_options_win(tmp_path):
    (tmp_path / "c.yaml").write_text("train: {epochs: 3, lr: 0.1}\nframe: {size: 64}\n")
    found = train("--config", str(tmp_path / "c.yaml"), "--train.epochs", "5")
    assert (found.train.epochs, found.train.lr, found.frame.size) == (5, 0.1, 64)


def test_nested_dictionaries():
    found = cli.parse(
        ScreenConfig, "", ["--manifest", "m", "--checkpoint", "c", "--output", "o", "--queue.quotas.failed", "0.2"]
    )
    assert found.queue.quotas["failed"] == 0.2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--train.epocs", "3"],
            r"unknown option --train.epocs \(did you mean --train.epochs\?\); valid .*--train.lr",
        ),
        (["--train.epochs", "0"], "--train.epochs: expected a whole number above 0, got 0"),
        (["--train.epochs", "x"], "--train.epochs: expected a whole number above 0, got x"),
        (["--frame.size", "100"], "frame size must be a multiple of 32.*got 100"),
        (
            ["--model.tasks", "[lungs]"],
            r"--model.tasks: expected a list of: one of lung\|disease.* \(its item 1\), got lungs",
        ),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_a_wrong_value_is_one_line_and_status_2(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        train(*argv)
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert re.search(message, text), text


def test_an_unknown_key_in_a_file_lists_the_valid_ones(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("train: {epocs: 3}\n")
    with pytest.raises(SystemExit):
        train("--config", str(tmp_path / "c.yaml"))
    assert "unknown option train.epocs (did you mean train.epochs?)" in capsys.readouterr().err


def test_help_explains_default_and_unit(capsys):
    with pytest.raises(SystemExit) as stop:
        train("--help")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Side of the square frame in pixels; a multiple of 32." in text
    assert "default: 224" in text


def test_print_config_resolves_everything(capsys):
    with pytest.raises(SystemExit) as stop:
        train("--train.epochs", "7", "--print_config")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "epochs: 7" in text
    assert "batch_size: 16" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "train.py: error: --data, --storage, --name are needed; --help explains every option"),
        (["--data", "d", "--storage", "s"], "train.py: error: --name is needed; --help explains every option"),
        (
            [*TRAIN, "--workers.count", "[0,2]"],
            "--workers.count: expected a whole number above 0, or a list of 2: whole",
        ),
    ],
)
def test_what_is_needed_is_named_with_dashes(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(TrainConfig, "", argv, prog="train.py")
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_wrong_value_of_a_file_is_named_with_its_file(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("train: {epochs: 0}\n")
    for argv, name in (([], f"train.epochs in {tmp_path}/c.yaml: "), (["--train.epochs", "-1"], "--train.epochs: ")):
        with pytest.raises(SystemExit):
            train("--config", str(tmp_path / "c.yaml"), *argv)
        assert f"{name}expected a whole number above 0, got " in capsys.readouterr().err


def test_a_refused_password_is_not_shown(capsys):
    with pytest.raises(SystemExit):
        train("--track.mlflow", "https://me:secret@host")
    text = capsys.readouterr().err
    assert "--track.mlflow: no user or password in the URI" in text
    assert "secret" not in text


def test_what_print_config_prints_is_taken_again(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.parse(TrainConfig, "", ["--train.epochs", "7", "--model.tasks", "lung", "--print_config"])
    text = capsys.readouterr().out
    assert "name: null" in text
    (tmp_path / "c.yaml").write_text(text)
    found = cli.parse(TrainConfig, "", ["--config", str(tmp_path / "c.yaml"), *TRAIN])
    assert found == train("--train.epochs", "7", "--model.tasks", "lung")


@pytest.mark.parametrize(
    ("error", "status"), [(ConfigError("no such head"), 2), (StorageError("denied"), 1), (None, 0)]
)
def test_exit_status_and_no_traceback(error, status, capsys, monkeypatch):
    def job(config: ManifestConfig) -> int:
        if error:
            raise error
        return 0

    monkeypatch.setattr("sys.argv", ["manifest.py", "--inputs", "a,b", "--output", "o"])
    with pytest.raises(SystemExit) as stop:
        cli.run(job, ManifestConfig, "")
    assert stop.value.code == status
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert (str(error) in text) if error else not text


def test_ctrl_c_is_one_line_and_status_130(capsys):
    def job(config: ManifestConfig) -> int:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        cli.run(job, ManifestConfig, "", ["--inputs", "a,b", "--output", "o"], "p")
    assert stop.value.code == 130
    assert capsys.readouterr().err.strip() == "Stopped. Run the same command again to go on."


@pytest.mark.parametrize("name", ["train", "sweep"])
def test_what_goes_on_only_when_asked_to_says_so_after_ctrl_c(name):
    assert jobs.JOBS[name].after_stop == "Run the same command again with --resume true to go on."


@pytest.mark.parametrize(
    ("argv", "status", "where", "message"),
    [
        (["--help"], 0, "out", "usage: comit-ray JOB [options]"),
        ([], 2, "out", "usage: comit-ray JOB [options]"),
        (["scren"], 2, "err", "comit-ray: error: no job 'scren' (did you mean screen?); the jobs are: demo, manifest"),
        (
            ["screen", "--help"],
            0,
            "out",
            "usage: comit-ray screen --archive URI | --manifest URI --checkpoint URI --output URI [options]",
        ),
        (["screen"], 2, "err", "comit-ray screen: error: --archive or --manifest, --checkpoint, --output are needed"),
        (["screen", "--archive", "a"], 2, "err", "comit-ray screen: error: --checkpoint, --output are needed"),
    ],
)
def test_the_command_takes_a_job(argv, status, where, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == status
    assert getattr(capsys.readouterr(), where).startswith(message)


@pytest.mark.parametrize("argv", [["--help"], ["--queue.capacity", "0"]])
def test_a_script_from_a_checkout_says_what_the_command_says(argv):
    script, command = [str(REPOSITORY / "jobs" / "screen.py")], ["-m", "comit_ray.cli", "screen"]
    said = [
        subprocess.run([sys.executable, *which, *argv], capture_output=True, text=True, check=False)
        for which in (script, command)
    ]
    assert said[0].returncode == said[1].returncode
    assert said[0].stdout == said[1].stdout.replace("comit-ray screen", "screen.py")
    assert said[0].stderr == said[1].stderr.replace("comit-ray screen", "screen.py")
