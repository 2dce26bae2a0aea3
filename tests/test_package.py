"""What a wheel holds: the command, and every file that the code reads at run time."""

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from comit_ray.config import config_yaml
from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def test_the_command_is_there() -> None:
    module, _, function = PROJECT["project"]["scripts"]["comit-ray"].partition(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("kind", ["*.yaml", "*.j2"])
def test_every_file_beside_the_code_goes_into_the_wheel(kind: str) -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    held: set[Path] = set()
    for package, globs in patterns.items():
        directory = REPOSITORY.joinpath(*package.split("."))
        held |= {path for pattern in globs for path in directory.glob(pattern)}
    there = set((REPOSITORY / "comit_ray").rglob(kind))
    assert there
    assert there <= held


def test_configurations_and_studies_are_beside_the_code() -> None:
    assert config_yaml.SHIPPED.is_relative_to(REPOSITORY / "comit_ray")
    assert {"comit_net", "comit_net_cpu", "small_cpu"} <= set(config_yaml.names())
    assert {"ablation", "ablation_small"} <= set(config_yaml.names(config_yaml.STUDIES))
