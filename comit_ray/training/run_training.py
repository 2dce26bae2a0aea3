"""Trains on Ray: Ray Data decodes the frames once, Ray Train runs the workers, two checkpoints stay.

What became of every manifest row before training: used, left out on purpose, or failed; each counted and told.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
import ray.train
import ray.train.torch
import torch
from ray.data.dataset import Dataset, MaterializedDataset

from comit_ray.checkpoint import checkpoint
from comit_ray.chunks import graph, nodes, ray_start, run_record
from comit_ray.config.train_config import TrainConfig
from comit_ray.data.manifest import manifest
from comit_ray.errors import ComitError, ConfigError, ManifestError
from comit_ray.models.registry import build_model
from comit_ray.models.weights import load_pretrained
from comit_ray.prepare import frames as frame_data
from comit_ray.prepare import frames_on_disk, other_pictures, prepared
from comit_ray.prepare.frames_on_disk import MappedFiles
from comit_ray.prepare.prepared import PreparedTable
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import Split
from comit_ray.training import curves, early_stopping, run_directory, worker
from comit_ray.training.tracking import Tracker

ACCOUNT_COLUMNS = ["image_id", "split", "left_out", "failed", "covid"]
"""Of `comit_ray.prepare.frames.FRAMES`: small ones, so that a large manifest's fit on the driver."""
EXAMPLES = 5


@dataclass(frozen=True)
class TrainingAccounts:
    """Counts of manifest rows; `rows` is the sum of all the others.

    Attributes:
        rows: of the manifest.
        used: split -> frames.
        covid: frames of the training split with COVID-19.
        left_out: why -> rows that training does not want.
        failed: (image id, reason and sentence) of wanted rows that could not be read.
    """

    rows: int
    used: dict[str, int]
    covid: int
    left_out: dict[str, int]
    failed: list[tuple[str, str]]

    @property
    def lines(self) -> list[str]:
        """For a person: one line of counts, one of what was left out, and one a failure for the first few."""
        train, val = self.used.get(Split.TRAIN, 0), self.used.get(Split.VAL, 0)
        counts = (
            f"manifest: {self.rows} rows = {train} to train on ({self.covid} with COVID-19) + {val} to validate on + "
            f"{sum(self.left_out.values())} left out + {len(self.failed)} failed"
        )
        lines = [counts]
        if self.left_out:
            why = sorted(self.left_out.items(), key=lambda item: -item[1])
            lines.append("left out: " + ", ".join(f"{count} {reason}" for reason, count in why))
        if self.failed:
            codes = Counter(_code(text) for _, text in self.failed)
            lines.append("failed: " + ", ".join(f"{count} {code}" for code, count in codes.most_common()))
            lines += [f"  {image_id}: {text}" for image_id, text in self.failed[:EXAMPLES]]
            if len(self.failed) > EXAMPLES:
                lines.append(f"  and {len(self.failed) - EXAMPLES} more")
        return lines


def account_rows(frames: pa.Table) -> TrainingAccounts:
    """The accounts of `COLUMNS` of all frame rows."""
    used = frames.filter(pc.and_(pc.is_null(frames["left_out"]), pc.is_null(frames["failed"])))
    train = used.filter(pc.equal(used["split"], Split.TRAIN))
    failed = frames.filter(pc.is_valid(frames["failed"]))
    return TrainingAccounts(
        rows=frames.num_rows,
        used=dict(Counter(used["split"].to_pylist())),
        covid=int(pc.sum(pc.equal(train["covid"], 1)).as_py() or 0),
        left_out=dict(Counter(frames["left_out"].drop_null().to_pylist())),
        failed=sorted(zip(failed["image_id"].to_pylist(), failed["failed"].to_pylist(), strict=True)),
    )


def check_accounts(accounts: TrainingAccounts, max_failed_share: float) -> None:
    """Stop before a training that would not be the one that was asked for.

    Raises:
        ManifestError: if a split is empty, or more than `max_failed_share` of the wanted rows failed.
    """
    wanted = sum(accounts.used.values()) + len(accounts.failed)
    if len(accounts.failed) > max_failed_share * wanted:
        raise ManifestError(
            f"{len(accounts.failed)} of {wanted} images cannot be read, more than max_failed_share "
            f"({max_failed_share:g}) allows; {'; '.join(accounts.lines[-EXAMPLES - 2 :])}"
        )
    for split in (Split.TRAIN, Split.VAL):
        if not accounts.used.get(split):
            raise ManifestError(
                f"the manifest has no image of the {split} split with a label or mask for the model's tasks; "
                f"{'; '.join(accounts.lines)}"
            )


def check_left_out(accounts: TrainingAccounts, sources: Sequence[str]) -> None:
    """A source that is to be left out and has nothing to leave out is a slip of the pen.

    Raises:
        ConfigError: naming it, and those that were left out.
    """
    nothing = [name for name in sources if not accounts.left_out.get(f"source: {name}")]
    if nothing:
        raise ConfigError(
            f"leave_out: the data have no image of {', '.join(nothing)} to train or validate on; datasets are named as "
            f"in the manifest's column `dataset`. {'; '.join(accounts.lines)}"
        )


def _code(text: str) -> str:
    return text.partition(":")[0]


ROWS_PER_TASK = 64  # manifest rows decoded by one task


def train(config: TrainConfig, callbacks: Sequence[ray.train.UserCallback] = ()) -> str:
    """Train as `config` says; the URI of the best checkpoint.

    Args:
        config: of the job.
        callbacks: told of every epoch by Ray Train.

    Raises:
        ConfigError: for a run that exists (without `resume`) or was begun with other options or on another manifest,
            for weights that do not fit the model, or for a local path that not all nodes see.
        ManifestError: if the manifest is none, or gives nothing to train or validate on, or too many images fail.
        CheckpointError: if the initial weights cannot be had.
    """
    config = config.model_copy(
        update={"data": storage.normalise(config.data), "storage": storage.normalise(config.storage)}
    )
    if config.workers.gpu:
        graph.check_gpus_here("--workers.gpu")
    run = storage.join(config.storage, config.name)
    resuming = run_directory.goes_on(run, config)
    initial = None if resuming and run_directory.has_checkpoint(run) else _initial_weights(config)
    # Read here, not by Ray: its reader would take what is no whole manifest, and its listing of several parts at once
    # can fail in a race of imports (Ray 2.60, fsspec.implementations.http).
    table = prepared.open_prepared(config.data)
    rows = None if table else manifest.read(config.data)
    trained_on = manifest.training_hash(rows) if table is None else table.training_hash
    if resuming:
        run_directory.check_manifest(run, trained_on)
        if _whole(run, config):
            print(f"nothing is left to do: {run} has all its epochs", flush=True)
            return storage.join(run, "best")
    ray_start.start(ray.LoggingConfig(log_level="ERROR"))
    nodes.check({"data": config.data}, {"storage": config.storage}, rows)
    graph.tell_little()
    lazy = _prepared_frames(config, table) if table else _manifest_frames(config, rows)
    frames = load_frames(config, lazy) if config.frames == "memory" else write_frames(config, lazy)
    if not resuming:
        run_directory.record(run, config, trained_on)
    run_record.sign(run, config.model_dump(mode="json"), begins=True)
    Tracker(config, run)  # a server that refuses, or a package that is missing, is said here, once
    result = _fit(config, frames, initial, trained_on, callbacks)
    frames_on_disk.remove(storage.join(run, frames_on_disk.FOLDER))
    return _publish(result, run)


def _whole(run: str, config: TrainConfig) -> bool:
    """Whether a run that is published has all the epochs that are asked for, or gave up."""
    if not run_directory.finished(run):
        return False
    metrics = checkpoint.load_history(storage.join(run, "last"))
    return early_stopping.whole(metrics, config.train.epochs, config.train.patience)


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
        sources=config.leave_out,
        others=other_pictures.share_of(rows),
    )
    cpus = min(1.0, config.workers.cpus)  # a small cluster may have no more left beside other trainings
    return ray.data.from_arrow(slices).map_batches(decode, batch_size=None, batch_format="pyarrow", num_cpus=cpus)


def _prepared_frames(config: TrainConfig, table: PreparedTable) -> Dataset:
    """Frames of a training table: one task per file, a block a row group."""
    parts = ray.data.from_items([{"part": part} for part in table.parts], override_num_blocks=len(table.parts))
    read = partial(
        prepared.frames_of_parts,
        frame=config.frame,
        tasks=tuple(config.model.tasks),
        lungs=config.masks.lungs,
        sources=config.leave_out,
    )
    cpus = min(1.0, config.workers.cpus)
    return parts.map_batches(read, batch_size=1, batch_format="pyarrow", num_cpus=cpus)


def load_frames(config: TrainConfig, lazy: Dataset) -> "MaterializedDataset[Any]":
    """Frames in the object store, with their accounts printed.

    Raises:
        ManifestError: as `comit_ray.training.run_training.check`.
        ConfigError: as `comit_ray.training.run_training.check_left_out`.
    """
    frames = lazy.materialize()
    small = ray.get(frames.select_columns(ACCOUNT_COLUMNS).to_arrow_refs())
    _tell(config, pa.concat_tables(small))
    return cast("MaterializedDataset[Any]", frames)


def write_frames(config: TrainConfig, lazy: Dataset) -> MappedFiles:
    """Frames in files below the run, with their accounts printed; which files these are.

    Raises:
        ManifestError: as `load_frames`.
        ConfigError: as `load_frames`.
        StorageError: a file cannot be written.
    """
    folder = storage.join(config.storage, config.name, frames_on_disk.FOLDER)
    frames_on_disk.remove(folder)  # of a run that was stopped
    began = time.monotonic()
    rows = frames_on_disk.rows_a_file(config.frame.size)
    write = partial(frames_on_disk.write_frames, folder=folder)
    cpus = min(1.0, config.workers.cpus)
    written = lazy.map_batches(write, batch_size=rows, batch_format="pyarrow", num_cpus=cpus)
    small = pa.concat_tables(ray.get(written.to_arrow_refs()))
    _tell(config, small)
    names = sorted(small["file"].unique().to_pylist())
    print(f"frames on disk: {len(names):,} files in {time.monotonic() - began:.1f} s", flush=True)
    return MappedFiles(folder, tuple(names), config.frames_directory)


def _tell(config: TrainConfig, small: pa.Table) -> None:
    """Print the accounts, and stop where they are not those of the training that was asked for."""
    account = account_rows(small)
    print("\n".join(account.lines), flush=True)
    check_left_out(account, config.leave_out)
    check_accounts(account, config.max_failed_share)


def _fit(
    config: TrainConfig,
    frames: "MaterializedDataset[Any] | MappedFiles",
    initial: dict[str, torch.Tensor] | None,
    trained_on: str,
    callbacks: Sequence[ray.train.UserCallback],
) -> ray.train.Result:
    filesystem, path = storage.filesystem(config.storage)
    # A GPU alone, as a screen's predictor: nodes with GPUs offer Ray no CPU (cluster/base/raycluster.yaml).
    held = {"GPU": 1.0} if config.workers.gpu else {"CPU": config.workers.cpus}
    trainer = ray.train.torch.TorchTrainer(
        worker.run,  # type: ignore[arg-type]  # mypy sees v1's, which returns nothing
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "initial": ray.put(initial),
            "manifest": trained_on,
            "files": frames if isinstance(frames, MappedFiles) else None,
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.workers.count,  # type: ignore[arg-type]  # mypy sees v1's, without ranges
            use_gpu=config.workers.gpu,
            resources_per_worker=held,
        ),
        run_config=ray.train.RunConfig(
            name=config.name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=ray.train.FailureConfig(max_failures=config.workers.max_failures),
            callbacks=list(callbacks),  # type: ignore[arg-type]  # mypy sees v1's
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),  # type: ignore[call-arg]  # mypy sees v1's
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=1, checkpoint_score_attribute="val_loss", checkpoint_score_order="min"
            ),
        ),
        datasets={} if isinstance(frames, MappedFiles) else {"frames": frames},
        dataset_config=ray.train.DataConfig(datasets_to_split=[]),
    )
    result = trainer.fit()
    failure: ComitError | None = result.return_value  # type: ignore[attr-defined]  # mypy sees v1's
    if failure is not None:
        raise failure
    return result


def _publish(result: ray.train.Result, run: str) -> str:
    """`best` and `last` as plain directories, and the learning curves; the URI of `best`."""
    best = result.get_best_checkpoint("val_loss", "min")
    if best is None or result.checkpoint is None:
        raise ConfigError(f"the run {run} has no checkpoint to go on from: give another --name")
    for name, source in (("best", best), ("last", result.checkpoint)):
        with source.as_directory() as directory:
            checkpoint.publish(Path(directory), storage.join(run, name))
    metrics = checkpoint.load_history(storage.join(run, "last"))
    storage.write_bytes(storage.join(run, run_directory.CURVES), curves.draw(metrics, title=run.rpartition("/")[2]))
    return storage.join(run, "best")
