"""--gpu on a machine without a GPU is refused before Ray starts."""

import pytest
import ray
import torch

from comit_ray.chunks import graph
from comit_ray.errors import ConfigError


@pytest.fixture
def alone(monkeypatch, tmp_path) -> None:
    """A machine on which no Ray runs, and for which none is named."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


def test_without_a_gpu_a_machine_of_its_own_is_refused_before_ray_starts(alone, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"--workers\.gpu yes: there is no GPU on this machine"):
        graph.check_gpus_here("--workers.gpu")


def test_with_a_gpu_it_is_not(alone, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    graph.check_gpus_here()


@pytest.mark.parametrize("how", ["address", "started", "connected"])
def test_a_cluster_may_have_gpus_that_this_machine_has_not(how, alone, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if how == "address":
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    elif how == "started":
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")
    else:
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
    graph.check_gpus_here()
