import json
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

from comit_ray.chunks import run_record
from tests.conftest import REPOSITORY


def test_it_names_who_where_and_which_code(monkeypatch):
    monkeypatch.setenv("COMIT_USER", "anna")
    found = run_record.of_this_process({"split": "test"})
    assert found["user"] == "anna"
    assert found["host"]
    assert found["job"] == {}
    assert found["settings"] == {"split": "test"}
    assert found["packages"].keys() >= {"python", "ray", "torch"}
    assert len(found["code"]["sources"]) == 16
    json.dumps(found)


def test_a_submitted_job_names_itself(monkeypatch):
    metadata = {"job_submission_id": "raysubmit_1", "ticket": "42"}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"metadata": metadata}))
    assert run_record.of_this_process({})["job"] == metadata


@pytest.mark.parametrize("text", ["", "{", "[]", '{"metadata": null}'])
def test_what_ray_does_not_say_is_not_made_up(monkeypatch, text):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", text)
    assert run_record.of_this_process({})["job"] == {}


def test_the_hash_is_that_of_the_files_and_not_of_where_they_lie(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "data" / "one.py").write_text("x = 1\n")

    def hashed(name: str) -> str:
        monkeypatch.setattr(run_record, "ROOT", tmp_path / name)
        run_record.sources_hash.cache_clear()
        return run_record.sources_hash()

    first = hashed("a")
    assert hashed("b") == first
    (tmp_path / "b" / "data" / "one.py").write_text("x = 2\n")
    assert hashed("b") != first
    run_record.sources_hash.cache_clear()


def test_a_commit_is_named_with_its_changes(tmp_path, monkeypatch):
    package = tmp_path / "comit_ray"
    package.mkdir()
    (package / "one.py").write_text("x = 1\n")
    monkeypatch.setattr(run_record, "ROOT", package)
    run_record.sources_hash.cache_clear()

    def commit() -> str | None:
        return run_record.of_this_process({})["code"]["commit"]

    def git(*arguments: str) -> None:
        options = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *options, *arguments], check=True, capture_output=True)

    assert commit() is None
    git("init")
    git("add", "-A")
    git("commit", "-m", "first")
    clean = commit()
    assert clean is not None
    assert len(clean) == 40
    (package / "one.py").write_text("x = 2\n")
    assert commit() == f"{clean}+changes"
    run_record.sources_hash.cache_clear()


def test_the_hash_of_a_checkout_is_had_by_the_command_of_the_readme():
    command = [sys.executable, "-m", "comit_ray.chunks.run_record"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == run_record.sources_hash()


def test_the_version_of_a_checkout_that_was_never_installed(tmp_path, monkeypatch):
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(run_record, "version", absent)
    monkeypatch.setattr(run_record, "ROOT", tmp_path / "comit_ray")
    assert run_record.package_version("comit-ray") is None, "code that was sent along with a job"
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "comit-ray"\nversion = "7.8.9"\n')
    assert run_record.package_version("comit-ray") == "7.8.9"
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "another"\nversion = "7.8.9"\n')
    assert run_record.package_version("comit-ray") is None
    assert run_record.package_version("numpy") is None


def test_the_versions_of_this_checkout_and_of_installed_packages():
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        assert run_record.package_version("comit-ray") == tomllib.load(file)["project"]["version"]
    assert run_record.package_version("numpy") == np.__version__
