"""Ray's part of a training in this process: one worker, its checkpoints as directories, no process started.

What is a property of the loop needs no more: when it ends, what it goes on from, what it refuses. That Ray Data and Ray
Train do their own part is seen in tests/jobs/test_train.py.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import ray
import ray.data
import ray.train
import ray.train.torch
import torch

from comit_ray.checkpoint.checkpoint import load_history
from comit_ray.chunks import nodes
from comit_ray.config.train_config import TrainConfig
from comit_ray.prepare.frames_on_disk import MappedFiles
from comit_ray.storage import storage
from comit_ray.training import run_directory, run_training, worker
from comit_ray.training.early_stopping import best_epoch
from comit_ray.training.validation import EpochMetrics


@contextmanager
def trains_here(
    after_epoch: Callable[[EpochMetrics], None] = lambda figures: None, ray_data: bool = False
) -> Iterator[None]:
    """`distributed.train` in this process.

    Args:
        after_epoch: is told the figures of an epoch once its checkpoint is written.
        ray_data: whether the frames come by Ray Data all the same, which needs a Ray; else they are decoded here.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_training, "_fit", _Fit(after_epoch))
        if not ray_data:
            patch.setattr(ray, "is_initialized", lambda: True)
            patch.setattr(ray, "put", lambda value: value)
            patch.setattr(ray, "get", lambda value: value)
            patch.setattr(ray.data, "from_arrow", _Blocks)
            patch.setattr(ray.data, "from_items", _from_items)
            patch.setattr(nodes, "_other_nodes", dict)
        yield


def _from_items(items: Sequence[dict[str, Any]], **options: Any) -> "_Blocks":
    return _Blocks(pa.Table.from_pylist([item]) for item in items)


class _Blocks:
    """What a training asks of Ray Data, of tables in this process."""

    def __init__(self, blocks: Iterable[pa.Table]) -> None:
        self.blocks = list(blocks)

    def map_batches(self, function: Callable[[pa.Table], Iterable[pa.Table]], **options: Any) -> "_Blocks":
        return _Blocks(made for block in self.blocks for made in function(block))

    def materialize(self) -> "_Blocks":
        return self

    def select_columns(self, names: Sequence[str]) -> "_Blocks":
        return _Blocks(block.select(list(names)) for block in self.blocks)

    def to_arrow_refs(self) -> list[pa.Table]:
        return self.blocks

    def iter_batches(self, **options: Any) -> Iterator[pa.Table]:
        return iter(self.blocks)


class _Fit:
    """In the place of `distributed._fit`."""

    def __init__(self, after_epoch: Callable[[EpochMetrics], None]) -> None:
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

        def report(figures: EpochMetrics, checkpoint: ray.train.Checkpoint, checkpoint_dir_name: str) -> None:
            shutil.copytree(checkpoint.path, run / checkpoint_dir_name)
            storage.write_bytes(storage.join(str(run), run_directory.SNAPSHOT), b"{}")
            self.after_epoch(figures)

        options = {"config": config.model_dump(mode="json"), "initial": ray.put(initial), "manifest": trained_on}
        options["files"] = frames if isinstance(frames, MappedFiles) else None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ray.train, "get_dataset_shard", lambda name: frames)
            patch.setattr(ray.train, "get_checkpoint", latest)
            patch.setattr(ray.train, "get_context", lambda: SimpleNamespace(get_local_rank=lambda: 0))
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
