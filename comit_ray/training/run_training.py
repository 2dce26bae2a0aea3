"""Trains on Ray: Ray Data decodes the frames once, Ray Train runs the workers, two checkpoints stay.

Before a training, it counts and prints what became of every manifest row: used, left out on purpose, or failed.
"""

import os
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
from comit_ray.prepare import frames as frame_data
from comit_ray.prepare import frames_on_disk, other_pictures, prepared
from comit_ray.prepare.frames_on_disk import MappedFiles
from comit_ray.prepare.prepared import PreparedTable
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import Split, counted
from comit_ray.training import checkpoint_list, curves, early_stopping, initial_weights, run_directory, worker
from comit_ray.training.tracking import Tracker

ACCOUNT_COLUMNS = ["image_id", "split", "left_out", "failed", "covid"]
"""Small columns of `comit_ray.prepare.frames.FRAMES`, so that those of a large manifest fit into the driver's
memory."""
EXAMPLES = 5


@dataclass(frozen=True)
class TrainingAccounts:
    """Counts of manifest rows; `rows` is the sum of all the others.

    Attributes:
        rows: number of manifest rows.
        used: split -> number of frames.
        covid: number of training frames with COVID-19.
        left_out: reason -> number of rows that training leaves out.
        failed: (image id, reason and sentence) of wanted rows that could not be read.
    """

    rows: int
    used: dict[str, int]
    covid: int
    left_out: dict[str, int]
    failed: list[tuple[str, str]]

    @property
    def lines(self) -> list[str]:
        """Lines to print: one of counts, one of what was left out, and one for each of the first few failures."""
        train, val = self.used.get(Split.TRAIN, 0), self.used.get(Split.VAL, 0)
        counts = (
            f"manifest: {counted(self.rows, 'row')} = {train} to train on ({self.covid} with COVID-19) + {val} to "
            f"validate on + "
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
    """Counts all frame rows, given their columns `ACCOUNT_COLUMNS`."""
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
    """Refuses a training that would differ from the requested one.

    Args:
        accounts: counts of the manifest's rows.
        max_failed_share: largest share (0 to 1) of wanted rows that may fail.

    Raises:
        ManifestError: a split is empty, or more than `max_failed_share` of the wanted rows failed.
    """
    wanted = sum(accounts.used.values()) + len(accounts.failed)
    if len(accounts.failed) > max_failed_share * wanted:
        raise ManifestError(
            f"{len(accounts.failed):,} of {counted(wanted, 'image')} cannot be read, more than max_failed_share "
            f"({max_failed_share:g}) allows; {'; '.join(accounts.lines[-EXAMPLES - 2 :])}"
        )
    for split in (Split.TRAIN, Split.VAL):
        if not accounts.used.get(split):
            raise ManifestError(
                f"expected images of the {split} split with a label or mask for the model's tasks, got none; "
                f"{'; '.join(accounts.lines)}"
            )


def check_left_out(accounts: TrainingAccounts, sources: Sequence[str]) -> None:
    """Refuses a source in `leave_out` that has no image to leave out, because its name is probably misspelt.

    Raises:
        ConfigError: the message names these sources, and what was left out.
    """
    nothing = [name for name in sources if not accounts.left_out.get(f"source: {name}")]
    if nothing:
        raise ConfigError(
            f"leave_out: the data have no image of {', '.join(nothing)} to train or validate on; expected names from "
            f"the manifest's column `dataset`. {'; '.join(accounts.lines)}"
        )


def _code(text: str) -> str:
    return text.partition(":")[0]


ROWS_PER_TASK = 64  # manifest rows decoded by one task


def train(config: TrainConfig, callbacks: Sequence[ray.train.UserCallback] = ()) -> str:
    """Trains as `config` says, and returns the URI of the best checkpoint.

    Args:
        config: options of the job.
        callbacks: Ray Train calls them after every epoch.

    Raises:
        ConfigError: the run exists (without `resume`) or was started with other options or on another manifest, its
            list of checkpoints is torn and none is complete, weights do not fit the model, or not all nodes see a local
            path.
        ManifestError: there is no manifest, it gives nothing to train or validate on, or too many images fail.
        CheckpointError: the initial weights are not available.
    """
    config = config.model_copy(
        update={"data": storage.normalise(config.data), "storage": storage.normalise(config.storage)}
    )
    if config.workers.gpu:
        graph.check_gpus_here("--workers.gpu")
    config = initial_weights.with_lung_network(config)
    run = storage.join(config.storage, config.name)
    resuming = run_directory.goes_on(run, config)
    if resuming:
        checkpoint_list.mend(run)
    initial = None if resuming and run_directory.has_checkpoint(run) else initial_weights.make(config)
    # The manifest is not read by Ray: its reader would accept an incomplete manifest, and its listing of several parts
    # at once can fail in a race of imports (Ray 2.60, fsspec.implementations.http).
    table = prepared.open_prepared(config.data)
    rows = None if table else manifest.read(config.data)
    trained_on = manifest.training_hash(rows) if table is None else table.training_hash
    if resuming:
        run_directory.check_manifest(run, trained_on)
        if _whole(run, config):
            print(f"nothing is left to do: {run} has finished all its epochs", flush=True)
            return storage.join(run, "best")
    ray_start.start(ray.LoggingConfig(log_level="ERROR"))
    nodes.check({"data": config.data}, {"storage": config.storage}, rows)
    graph.tell_little()
    lazy = _prepared_frames(config, table) if table else _manifest_frames(config, rows)
    frames = load_frames(config, lazy) if config.frames == "memory" else write_frames(config, lazy)
    if not resuming:
        run_directory.record(run, config, trained_on)
    run_record.sign(run, config.model_dump(mode="json"), begins=True)
    Tracker(config, run)  # reports a server that refuses or a missing package here, once
    result = _fit(config, frames, initial, trained_on, callbacks)
    frames_on_disk.remove(storage.join(run, frames_on_disk.FOLDER))
    return _publish(result, run)


def _whole(run: str, config: TrainConfig) -> bool:
    """Whether a published run has all requested epochs, or has stopped early."""
    if not run_directory.finished(run):
        return False
    metrics = checkpoint.load_history(storage.join(run, "last"))
    return early_stopping.whole(metrics, config.train.epochs, config.train.patience)


def _manifest_frames(config: TrainConfig, rows: pa.Table) -> Dataset:
    """Returns frames of the manifest's rows; each radiograph is fetched and decoded once."""
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
    cpus = min(1.0, config.workers.cpus)  # on a small cluster, other trainings may use the rest
    return ray.data.from_arrow(slices).map_batches(decode, batch_size=None, batch_format="pyarrow", num_cpus=cpus)


def _prepared_frames(config: TrainConfig, table: PreparedTable) -> Dataset:
    """Returns frames of a training table: one task per file, one block per row group."""
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
    """Loads the frames into the object store, and prints and checks their counts.

    Raises:
        ManifestError: as for `check_accounts`.
        ConfigError: as for `check_left_out`.
    """
    frames = lazy.materialize()
    small = ray.get(frames.select_columns(ACCOUNT_COLUMNS).to_arrow_refs())
    _tell(config, pa.concat_tables(small))
    return cast("MaterializedDataset[Any]", frames)


def write_frames(config: TrainConfig, lazy: Dataset) -> MappedFiles:
    """Writes the frames to files under the run, prints and checks their counts, and returns the files.

    Raises:
        ManifestError: as for `load_frames`.
        ConfigError: as for `load_frames`.
        StorageError: a file cannot be written.
    """
    folder = storage.join(config.storage, config.name, frames_on_disk.FOLDER)
    frames_on_disk.remove(folder)  # may be left from a stopped run
    began = time.monotonic()
    rows = frames_on_disk.rows_a_file(config.frame.size)
    write = partial(frames_on_disk.write_frames, folder=folder)
    cpus = min(1.0, config.workers.cpus)
    written = lazy.map_batches(write, batch_size=rows, batch_format="pyarrow", num_cpus=cpus)
    small = pa.concat_tables(ray.get(written.to_arrow_refs()))
    _tell(config, small)
    names = sorted(small["file"].unique().to_pylist())
    print(f"frames on disk: {counted(len(names), 'file')} in {time.monotonic() - began:.1f} s", flush=True)
    return MappedFiles(folder, tuple(names), config.frames_directory)


def _tell(config: TrainConfig, small: pa.Table) -> None:
    """Prints the counts of the rows, and stops if they do not fit the requested training."""
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
    # Ray Train takes one report of its workers each time that it looks, every 2 s, and an epoch can be shorter.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    filesystem, path = storage.filesystem(config.storage)
    # Only a GPU, as for a screen's predictor: nodes with GPUs offer Ray no CPU (cluster/base/raycluster.yaml).
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
    """Writes `best` and `last` as plain directories, and the learning curves; returns the URI of `best`."""
    best = result.get_best_checkpoint("val_loss", "min")
    if best is None or result.checkpoint is None:
        raise ConfigError(f"the run {run} has no checkpoint to continue from: give another --name")
    for name, source in (("best", best), ("last", result.checkpoint)):
        with source.as_directory() as directory:
            checkpoint.publish(Path(directory), storage.join(run, name))
    metrics = checkpoint.load_history(storage.join(run, "last"))
    storage.write_bytes(storage.join(run, run_directory.CURVES), curves.draw(metrics, title=run.rpartition("/")[2]))
    return storage.join(run, "best")
