"""cluster/runtime_env*.yaml as Ray takes them, and what a submitted working directory holds."""

import logging
import zipfile
from pathlib import Path

import pytest
import yaml
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package, get_uri_for_directory
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


def test_the_package_holds_the_code_and_no_data(tmp_path: Path) -> None:
    """Zipped by Ray's own function, as `ray job submit --working-dir .` does."""
    excludes = get_runtime_env_default_excludes() + yaml.safe_load((CLUSTER / FILES[0]).read_text())["excludes"]
    name = get_uri_for_directory(str(REPOSITORY), include_gitignore=True, excludes=excludes)
    package = tmp_path / name.removeprefix("gcs://")
    quiet = logging.getLogger("quiet")
    create_package(str(REPOSITORY), package, include_gitignore=True, excludes=excludes, logger=quiet)
    files = set(zipfile.ZipFile(package).namelist())

    wanted = [path for top in ("jobs", "comit_ray") for path in (REPOSITORY / top).rglob("*") if path.is_file()]
    code = {str(path.relative_to(REPOSITORY)) for path in wanted if "__pycache__" not in path.parts}
    assert code <= files
    assert {"jobs/configs/comit_net.yaml", "comit_ray/evaluation/templates/report.html.j2", "constraints.txt"} <= files
    tops = {file.split("/")[0] for file in files}
    assert tops <= {"jobs", "comit_ray", "constraints.txt", "pyproject.toml", "README.md", "LICENSE", "Makefile"} | {
        ".gitignore",
        ".dockerignore",
    }
    assert not [file for file in files if Path(file).suffix.lower() in DATA]
    assert package.stat().st_size < 2 * 2**20
