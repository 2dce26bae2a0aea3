"""Training on Ray: frames by Ray Data, decoded once; workers by Ray Train; the best and the last checkpoint.

Every worker reads every frame from the node's shared memory (size x size bytes an image) and takes its part of each
global batch, so an epoch is the same for any number of workers. Batch normalisation statistics are each worker's own in
a step; rank 0's are validated and saved.
"""

import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray
import ray.data
import ray.train
import ray.train.torch
import torch
from ray.data.dataset import Dataset, MaterializedDataset
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from comit_ray import storage
from comit_ray.data import frames as frame_data
from comit_ray.data import manifest, prepared
from comit_ray.data.frames import FrameStore
from comit_ray.data.prepared import PreparedTable
from comit_ray.data.transforms import COPIES
from comit_ray.errors import ComitError, ConfigError
from comit_ray.models.registry import build_model
from comit_ray.models.weights import load_pretrained
from comit_ray.schema import Split
from comit_ray.train_config import TrainConfig
from comit_ray.training import accounts, checkpoint, collective, order, run_directory
from comit_ray.training.batches import training_batches, validation_batches
from comit_ray.training.checkpoint import TrainingState
from comit_ray.training.loop import learning_rate, train_epoch, validate
from comit_ray.training.scores import Figures, merge, merge_losses, progress_line

ROWS_PER_TASK = 64  # manifest rows decoded by one task


def train(config: TrainConfig) -> str:
    """Train as `config` says; the URI of the best checkpoint.

    Raises:
        ConfigError: for a run that exists (without `resume`) or was begun with other options or on another manifest,
            or for weights that do not fit the model.
        ManifestError: if the manifest is none, or gives nothing to train or validate on, or too many images fail.
        CheckpointError: if the initial weights cannot be had.
    """
    config = config.model_copy(
        update={"data": storage.normalise(config.data), "storage": storage.normalise(config.storage)}
    )
    run = storage.join(config.storage, config.name)
    resuming = run_directory.goes_on(run, config)
    initial = None if resuming else _initial_weights(config)
    # Read here, not by Ray: its reader would take what is no whole manifest, and its listing of several parts at once
    # can fail in a race of imports (Ray 2.60, fsspec.implementations.http).
    table = prepared.open_prepared(config.data)
    rows = None if table else manifest.read(config.data)
    trained_on = manifest.training_hash(rows) if table is None else table.training_hash
    if resuming:
        run_directory.check_manifest(run, trained_on)
    if not ray.is_initialized():
        ray.init(logging_config=ray.LoggingConfig(log_level="ERROR"))
    frames = load_frames(config, _prepared_frames(config, table) if table else _manifest_frames(config, rows))
    if not resuming:
        run_directory.record(run, config, trained_on)
    result = _fit(config, frames, initial, trained_on)
    return _publish(result, run)


def _initial_weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    """The weights every worker starts from: made once, so that no worker needs the network or a cache."""
    torch.manual_seed(config.train.seed)
    model = build_model(config.model)
    load_pretrained(model, config.model)
    return model.state_dict()


def _manifest_frames(config: TrainConfig, rows: pa.Table) -> Dataset:
    """Frames of the manifest's rows, each radiograph fetched and decoded once."""
    slices = frame_data.slices(rows.select(list(frame_data.COLUMNS)), ROWS_PER_TASK)
    decode = partial(
        frame_data.frame_tables,
        frame=config.frame,
        limits=config.decode,
        tasks=config.model.tasks,
        lungs=config.masks.lungs,
    )
    return ray.data.from_arrow(slices).map_batches(decode, batch_size=None, batch_format="pyarrow")


def _prepared_frames(config: TrainConfig, table: PreparedTable) -> Dataset:
    """Frames of a training table: a task a file, a block a row group."""
    parts = ray.data.from_items([{"part": part} for part in table.parts], override_num_blocks=len(table.parts))
    read = partial(_read_prepared, frame=config.frame, tasks=tuple(config.model.tasks), lungs=config.masks.lungs)
    return parts.map_batches(read, batch_size=1, batch_format="pyarrow")


def _read_prepared(batch: pa.Table, **options: Any) -> Iterator[pa.Table]:
    for part in batch["part"].to_pylist():
        yield from prepared.frame_tables(part, **options)


def load_frames(config: TrainConfig, lazy: Dataset) -> "MaterializedDataset[Any]":
    """Frames in the object store, with their accounts printed.

    Raises:
        ManifestError: as `comit_ray.training.accounts.check`.
    """
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    frames = lazy.materialize()
    small = ray.get(frames.select_columns(accounts.COLUMNS).to_arrow_refs())
    account = accounts.account(pa.concat_tables(small))
    print("\n".join(account.lines), flush=True)
    accounts.check(account, config.max_failed_share)
    return cast("MaterializedDataset[Any]", frames)


def _fit(
    config: TrainConfig,
    frames: "MaterializedDataset[Any]",
    initial: dict[str, torch.Tensor] | None,
    trained_on: str,
) -> ray.train.Result:
    filesystem, path = storage.filesystem(config.storage)
    gpu = {"GPU": 1.0} if config.workers.gpu else {}
    trainer = ray.train.torch.TorchTrainer(
        _worker,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "initial": ray.put(initial),
            "manifest": trained_on,
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.workers.count,  # type: ignore[arg-type]  # mypy sees v1's, without ranges
            use_gpu=config.workers.gpu,
            resources_per_worker={"CPU": config.workers.cpus, **gpu},
        ),
        run_config=ray.train.RunConfig(
            name=config.name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=ray.train.FailureConfig(max_failures=config.workers.max_failures),
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),  # type: ignore[call-arg]  # mypy sees v1's
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=1, checkpoint_score_attribute="val_loss", checkpoint_score_order="min"
            ),
        ),
        datasets={"frames": frames},
        dataset_config=ray.train.DataConfig(datasets_to_split=[]),
    )
    try:
        return trainer.fit()
    except ray.train.WorkerGroupError as error:
        for failure in error.worker_failures.values():
            if isinstance(failure, ComitError):
                raise failure from error
        raise


def _publish(result: ray.train.Result, run: str) -> str:
    """`best` and `last` as plain directories; the URI of `best`."""
    best = result.get_best_checkpoint("val_loss", "min")
    if best is None or result.checkpoint is None:
        raise ConfigError(f"the run {run} has no checkpoint to go on from: give another --name")
    for name, source in (("best", best), ("last", result.checkpoint)):
        with source.as_directory() as directory:
            checkpoint.publish(Path(directory), storage.join(run, name))
    return storage.join(run, "best")


def _worker(options: dict[str, Any]) -> None:
    """What each worker runs: all epochs that are left."""
    logging.getLogger().setLevel(logging.WARNING)  # Ray Train logs each report, with all figures, as the root logger
    config = TrainConfig.parse(options["config"], origin="training options")
    torch.set_num_threads(config.workers.threads or max(1, int(config.workers.cpus)))
    device = ray.train.torch.get_device()
    rank, world_size = collective.rank(), collective.world_size()

    blocks = list(ray.train.get_dataset_shard("frames").iter_batches(batch_size=None, batch_format="pyarrow"))
    stores = {split: FrameStore(blocks, split, config.frame.size) for split in (Split.TRAIN, Split.VAL)}
    everything = order.items(_copies(stores[Split.TRAIN], config))

    bare = build_model(config.model).to(device).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(bare.parameters(), lr=config.train.lr)
    start = _restore(bare, optimiser, options["initial"], rank, world_size, config)
    devices = [device] if device.type == "cuda" else None
    model = DistributedDataParallel(bare, device_ids=devices) if world_size > 1 else bare

    for epoch in range(start, config.train.epochs):
        began = time.perf_counter()
        steps = order.global_batches(order.shuffled(everything, config.train.seed, epoch), config.train.batch_size)
        shares = [order.share(step, rank, world_size) for step in steps]
        rates = [learning_rate(config.train, epoch * len(steps) + i, len(steps)) for i in range(len(steps))]
        variation = (config.train.seed, epoch) if config.train.vary else None
        batches = training_batches(stores[Split.TRAIN], steps, shares, variation)
        mine = train_epoch(model, optimiser, batches, rates, config, device)
        trained = merge_losses(collective.gather(mine))
        seconds = time.perf_counter() - began
        collective.share_buffers(bare)
        rows = validation_batches(stores[Split.VAL], rank, world_size, max(1, config.train.batch_size // world_size))
        validation = merge(collective.gather(validate(bare, rows, config, device)))
        losses = {**trained.figures("train", config.loss), **validation.losses.figures("val", config.loss)}
        _check_finite(losses, epoch)
        figures: Figures = {
            **losses,
            **validation.figures(config.loss),
            "images_per_second": len(everything) / seconds,
            "learning_rate": rates[-1],
            "epoch": epoch + 1,
        }
        if rank == 0:
            # Ray Train's workers replace print by one that writes twice: to their log and to the driver
            sys.stdout.write(progress_line(epoch, config.train.epochs, figures) + "\n")
            sys.stdout.flush()
        random = collective.gather(torch.get_rng_state())
        with tempfile.TemporaryDirectory() as directory:
            saved = None
            if rank == 0:
                state = TrainingState(epoch + 1, optimiser.state_dict(), random)
                points = validation.operating_points()
                checkpoint.save(Path(directory), bare, config, points, figures, state, options["manifest"])
                saved = ray.train.Checkpoint.from_directory(directory)
            ray.train.report(figures, checkpoint=saved, checkpoint_dir_name=f"checkpoint_{epoch + 1:04d}")


def _copies(store: FrameStore, config: TrainConfig) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Copies an epoch of each training image: six of one with COVID-19 (section 3.1), else one."""
    with_covid = len(COPIES) if config.train.augment_covid else 1
    return np.where(store.labels["covid"] == 1, with_covid, 1).astype(np.int64)


def _restore(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    initial: "ray.ObjectRef[dict[str, torch.Tensor] | None]",
    rank: int,
    world_size: int,
    config: TrainConfig,
) -> int:
    """Give the model its initial weights, or the run's latest ones with their optimiser; epochs already done."""
    torch.manual_seed(config.train.seed + rank)
    latest = ray.train.get_checkpoint()
    if latest is None:
        weights = ray.get(initial)
        if weights is None:
            raise ConfigError(f"the run {config.name} has no checkpoint to go on from: give another --name")
        model.load_state_dict(weights)
        return 0
    with latest.as_directory() as directory:
        path = Path(directory) / checkpoint.WEIGHTS
        checkpoint.load_weights(model, path.read_bytes(), str(path))
        state = checkpoint.load_state(directory)
    optimiser.load_state_dict(state.optimiser)
    if len(state.random) == world_size:
        torch.set_rng_state(state.random[rank])
    return state.epochs_done


def _check_finite(losses: Figures, epoch: int) -> None:
    """Every worker has the same losses, so all stop together.

    Raises:
        ConfigError: if the training has diverged.
    """
    wrong = [name for name, value in losses.items() if value is not None and not np.isfinite(value)]
    if wrong:
        raise ConfigError(f"epoch {epoch + 1}: {', '.join(wrong)} not finite: lower train.lr")
