"""cluster/runtime_env*.yaml as Ray takes them, and what a submitted working directory holds."""

import logging
import zipfile
from pathlib import Path

import pytest
import yaml
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package
from ray.runtime_env import RuntimeEnv

from tests.cluster.manifests import CLUSTER, JOBS, ray_job
from tests.conftest import REPOSITORY

FILES = ("runtime_env.yaml", "runtime_env_pip.yaml")
DATA = {".png", ".dcm", ".jpg", ".jpeg", ".parquet", ".gz", ".zip", ".tar", ".safetensors", ".pt"}


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_it(name: str) -> None:
    settings = yaml.safe_load((CLUSTER / name).read_text())
    accepted = RuntimeEnv(**settings, _validate=True)
    assert dict(accepted)["env_vars"] == {"PYTHONUNBUFFERED": "1"}
    assert dict(accepted)["excludes"] == settings["excludes"]


def test_the_variants_differ_in_how_packages_arrive_alone() -> None:
    image, pip = (yaml.safe_load((CLUSTER / name).read_text()) for name in FILES)
    packages = pip.pop("pip")["packages"]
    assert pip == image
    assert any("constraints.txt" in package for package in packages)


@pytest.mark.parametrize("name", JOBS)
def test_ray_accepts_those_of_the_jobs(name: str) -> None:
    settings = yaml.safe_load(ray_job(name)["spec"]["runtimeEnvYAML"])
    assert dict(RuntimeEnv(**settings, _validate=True)) == settings


def package(directory: Path, target: Path) -> set[str]:
    """What `ray job submit --working-dir DIRECTORY` zips into `target`, by Ray's own function."""
    excludes = get_runtime_env_default_excludes() + yaml.safe_load((CLUSTER / FILES[0]).read_text())["excludes"]
    quiet = logging.getLogger("quiet")
    create_package(str(directory), target, include_gitignore=True, excludes=excludes, logger=quiet)
    return set(zipfile.ZipFile(target).namelist())


def test_the_package_holds_the_code_and_no_data(tmp_path: Path) -> None:
    files = package(REPOSITORY, tmp_path / "package.zip")
    wanted = [path for top in ("jobs", "comit_ray") for path in (REPOSITORY / top).rglob("*") if path.is_file()]
    code = {str(path.relative_to(REPOSITORY)) for path in wanted if "__pycache__" not in path.parts}
    assert code <= files
    assert {
        "comit_ray/config_files/comit_net.yaml",
        "comit_ray/evaluation/report/templates/report.html.j2",
        "constraints.txt",
    } <= files
    left_behind = {".git", ".venv", "build", "dist", "tests", "docs", "cluster", ".ci", "shared"}
    assert not left_behind & {file.split("/")[0] for file in files}
    assert not [file for file in files if Path(file).suffix.lower() in DATA]
    assert (tmp_path / "package.zip").stat().st_size < 4 * 2**20


def test_what_lies_about_does_not_go_along(tmp_path: Path) -> None:
    """Results and images of somebody who works in the repository, and what the ignore file names."""
    root = tmp_path / "repository"
    kept: tuple[str, ...] = (
        "jobs/screen.py",
        "comit_ray/evaluation/report/templates/report.html.j2",
        "comit_ray/config_files/studies/ablation.yaml",
    )
    kept += ("README.md", "LICENSE", "pyproject.toml", "constraints.txt", "my_study.yaml")
    lying = ("results/predictions/x.parquet", "archive/a.png", "a.dcm", "b.jpeg", "nih/images_001.tar.gz")
    others = ("runs/r/best/model.safetensors", "build/demo/x", ".venv/bin/python", ".git/config", "tests/data/x.py")
    secret = ("token", "keys.csv", "report/report.html", "metadata.CSV", "A.PNG", "IM0001", "dicom.json", ".env")
    for name in (*kept, *lying, *others, *secret):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    (root / ".gitignore").write_text((REPOSITORY / ".gitignore").read_text())
    assert {file for file in package(root, tmp_path / "package.zip") if not file.endswith("/")} == set(kept)
