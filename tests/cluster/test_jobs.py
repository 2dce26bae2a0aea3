"""The command lines of the RayJobs are ones that our jobs take, and ask for no more than their clusters can have."""

import shlex
from pathlib import Path

import pytest

from comit_ray import cli
from comit_ray.config.config_base import Config
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.config.sweep_config import SweepConfig
from comit_ray.config.train_config import TrainConfig
from tests.cluster.manifests import JOBS, groups, ray_job
from tests.conftest import REPOSITORY

IMAGE = "/opt/comit-ray"  # where the Dockerfile puts jobs/
CONFIGS: dict[str, type[Config]] = {"train": TrainConfig, "sweep": SweepConfig, "screen": ScreenConfig}


def words(name: str) -> list[str]:
    """The entrypoint's words, files of the image as files here."""
    entrypoint = ray_job(name)["spec"]["entrypoint"].replace(IMAGE, str(REPOSITORY))
    return shlex.split(entrypoint)


def options(name: str) -> Config:
    return cli.parse(CONFIGS[name], name, words(name)[2:])


def gpus() -> int:
    """GPUs that the cluster can grow to."""
    return sum(int(g["rayStartParams"].get("num-gpus", 0)) * g.get("maxReplicas", 1) for _, g in groups())


@pytest.mark.parametrize("name", JOBS)
def test_the_job_takes_its_command_line(name: str) -> None:
    python, script, *_ = words(name)
    assert python == "python"
    assert Path(script) == REPOSITORY / "jobs" / f"{name}.py"
    assert options(name).model_dump()
    # Quotes are lost between KubeRay, `ray job submit` and a shell; a path in brackets matches no file, and stays.
    assert not set("'\"{}$`;&|*?") & set(ray_job(name)["spec"]["entrypoint"])


@pytest.mark.parametrize("name", JOBS)
def test_a_job_writes_below_the_prefix_that_the_policy_opens(name: str) -> None:
    places = [word for word in words(name) if word.startswith("s3://")]
    assert places
    assert all(place.startswith("s3://OUTPUT-BUCKET/comit-ray/") for place in places)


def test_no_job_waits_for_gpus_that_never_come() -> None:
    screen, train, sweep = (options(name) for name in ("screen", "train", "sweep"))
    assert isinstance(screen, ScreenConfig)
    assert isinstance(train, TrainConfig)
    assert isinstance(sweep, SweepConfig)
    assert screen.gpu
    assert train.workers.gpu
    assert screen.predictors <= gpus()
    assert train.workers.most <= gpus()
    assert sweep.concurrent is not None
    assert sweep.concurrent <= gpus()
    where = ["--data", "d", "--storage", "s", "--name", "n"]
    overlaid = cli.parse(TrainConfig, "train", ["--config", *sweep.overlay, *where])
    assert overlaid.workers.gpu


@pytest.mark.parametrize("name", ["train", "sweep"])
def test_a_retry_goes_on(name: str) -> None:
    """The cluster of a retry runs the same words; a screen always goes on."""
    resumed = options(name)
    assert isinstance(resumed, TrainConfig | SweepConfig)
    assert resumed.resume
