import pytest

from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import ConfigError
from comit_ray.training import run_directory


def config(tmp_path, **changes) -> TrainConfig:
    values = {"data": "d", "storage": str(tmp_path), "name": "run"} | changes
    return TrainConfig.parse(values, origin="test")


def test_a_new_run_begins_and_an_existing_one_is_refused_unless_asked_for(tmp_path, capsys):
    run = str(tmp_path / "run")
    assert not run_directory.goes_on(run, config(tmp_path))
    assert not run_directory.goes_on(run, config(tmp_path, resume=True))
    assert "starting it" in capsys.readouterr().out
    run_directory.record(run, config(tmp_path), "abc")
    with pytest.raises(ConfigError, match="--resume true"):
        run_directory.goes_on(run, config(tmp_path))
    assert run_directory.goes_on(run, config(tmp_path, resume=True, train={"epochs": 99}))


def test_other_options_are_named(tmp_path):
    run = str(tmp_path / "run")
    run_directory.record(run, config(tmp_path), "abc")
    with pytest.raises(ConfigError, match=r"frame\.size was 224, now 64; train\.lr was 5e-05, now 0\.1"):
        run_directory.goes_on(run, config(tmp_path, resume=True, frame={"size": 64}, train={"lr": 0.1}))


def test_the_epochs_may_change_only_while_the_rate_does_not_depend_on_them(tmp_path) -> None:
    run = str(tmp_path / "run")
    run_directory.record(run, config(tmp_path, train={"schedule": "cosine"}), "abc")
    with pytest.raises(ConfigError, match=r"train\.epochs was 30, now 99"):
        run_directory.goes_on(run, config(tmp_path, resume=True, train={"schedule": "cosine", "epochs": 99}))
    assert run_directory.goes_on(run, config(tmp_path, resume=True, train={"schedule": "cosine", "patience": 3}))


def test_another_manifest_is_refused(tmp_path):
    run = str(tmp_path / "run")
    run_directory.record(run, config(tmp_path), "abc")
    run_directory.check_manifest(run, "abc")
    with pytest.raises(ConfigError, match="started on another manifest"):
        run_directory.check_manifest(run, "def")


def test_a_run_whose_manifest_was_not_recorded_goes_on_and_says_so(tmp_path, capsys) -> None:
    run = str(tmp_path / "run")
    run_directory.record(run, config(tmp_path), "abc")
    (tmp_path / "run" / "manifest.json").unlink()
    run_directory.check_manifest(run, "def")
    assert "manifest.json is missing: the manifest cannot be compared" in capsys.readouterr().out


def test_a_run_that_was_killed_before_its_first_file_begins(tmp_path):
    (tmp_path / "run").mkdir()
    assert not run_directory.goes_on(str(tmp_path / "run"), config(tmp_path, resume=True))


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("something else")
    with pytest.raises(ConfigError, match="not a run of this job"):
        run_directory.goes_on(str(tmp_path / "run"), config(tmp_path, resume=True))


@pytest.mark.parametrize("name", ["", "a/b", ".hidden"])
def test_a_name_is_one_directory(tmp_path, name):
    with pytest.raises(ConfigError, match="name of a directory"):
        run_directory.goes_on("x", config(tmp_path, name=name))


def test_of_two_jobs_that_begin_a_run_at_once_one_is_refused(tmp_path) -> None:
    run = str(tmp_path / "run")
    run_directory.record(run, config(tmp_path), "abc")
    with pytest.raises(ConfigError, match="another job has just started"):
        run_directory.record(run, config(tmp_path), "def")
    run_directory.check_manifest(run, "abc")
