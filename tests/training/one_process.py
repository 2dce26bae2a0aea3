"""Ray Train's part of a training in this process: one worker, its checkpoints as directories, no process started.

What is a property of the loop needs no more: when it ends, what it goes on from, what it refuses. That Ray Train does
its own part is seen in tests/jobs/test_train.py.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import ray.train
import ray.train.torch
import torch

from comit_ray.checkpoint.checkpoint import load_history
from comit_ray.config.train_config import TrainConfig
from comit_ray.storage import storage
from comit_ray.training import run_directory, run_training, worker
from comit_ray.training.validation import Figures, best_epoch


@contextmanager
def trains_here(after_epoch: Callable[[Figures], None] = lambda figures: None) -> Iterator[None]:
    """`distributed.train` with its worker in this process; the frames are still Ray Data's.

    Args:
        after_epoch: is told the figures of an epoch once its checkpoint is written.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_training, "_fit", _Fit(after_epoch))
        yield


class _Fit:
    """In the place of `distributed._fit`."""

    def __init__(self, after_epoch: Callable[[Figures], None]) -> None:
        self.after_epoch = after_epoch

    def __call__(
        self,
        config: TrainConfig,
        frames: Any,
        initial: dict[str, torch.Tensor] | None,
        trained_on: str,
        callbacks: Sequence[Any] = (),
    ) -> Any:
        assert (config.workers.count, callbacks) == (1, ()), "several workers and callbacks are Ray Train's"
        run, threads = Path(config.storage) / config.name, torch.get_num_threads()

        def written() -> list[Path]:
            return sorted(run.glob("checkpoint_[0-9]*"))

        def latest() -> ray.train.Checkpoint | None:
            return ray.train.Checkpoint.from_directory(written()[-1]) if written() else None

        def report(figures: Figures, checkpoint: ray.train.Checkpoint, checkpoint_dir_name: str) -> None:
            shutil.copytree(checkpoint.path, run / checkpoint_dir_name)
            storage.write_bytes(storage.join(str(run), run_directory.SNAPSHOT), b"{}")
            self.after_epoch(figures)

        options = {"config": config.model_dump(mode="json"), "initial": ray.put(initial), "manifest": trained_on}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ray.train, "get_dataset_shard", lambda name: frames)
            patch.setattr(ray.train, "get_checkpoint", latest)
            patch.setattr(ray.train, "report", report)
            patch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))
            failure = worker.run(options)
        torch.set_num_threads(threads)
        if failure is not None:
            raise failure
        best = best_epoch(load_history(str(written()[-1])))
        assert best is not None
        found = ray.train.Checkpoint.from_directory(run / f"checkpoint_{best + 1:04d}")
        return SimpleNamespace(checkpoint=latest(), get_best_checkpoint=lambda metric, mode: found)
