"""The training loop of each Ray Train worker: its part of every epoch, and a checkpoint after each.

Every worker reads every frame from the node's shared memory (size x size bytes per image) and takes its part of each
global batch, so an epoch is the same for any number of workers. Within a step, each worker has its own batch
normalisation statistics, unless they are synchronised or frozen; those of rank 0 are validated and saved.

The workers also share a pass over some images for the statistics of the data that a checkpoint stores (`remember`).
"""

import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import ray
import ray.train
import ray.train.torch
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from comit_ray.checkpoint import checkpoint, frontal_check, reference
from comit_ray.checkpoint.checkpoint import TrainingState
from comit_ray.checkpoint.frontal_check import Examples
from comit_ray.checkpoint.reference import Reference, Sample
from comit_ray.config.train_config import TrainConfig
from comit_ray.data.images.frame import STATISTICS, statistics
from comit_ray.errors import CheckpointError, ComitError, ConfigError, StorageError
from comit_ray.models.registry import build_model
from comit_ray.prepare import frames_on_disk, other_pictures
from comit_ray.prepare.frames import FrameStore
from comit_ray.prepare.frames_on_disk import MappedFiles
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import Split
from comit_ray.training import attention, collective, run_directory, sources
from comit_ray.training import batches as order
from comit_ray.training.batches import collate, training_batches, validation_batches
from comit_ray.training.early_stopping import whole
from comit_ray.training.epoch import learning_rate, make_optimiser, train_epoch, validate
from comit_ray.training.losses import Objective, predict
from comit_ray.training.sources import GroupWeights
from comit_ray.training.tracking import Tracker
from comit_ray.training.validation import EpochMetrics, Validation, merge, merge_losses, progress_line

Initial: TypeAlias = "ray.ObjectRef[dict[str, torch.Tensor] | None]"


def remember(
    model: nn.Module,
    training: FrameStore,
    validation: FrameStore,
    scored: Validation,
    config: TrainConfig,
    device: torch.device,
) -> Reference:
    """Computes the reference of a network between epochs; it is the same on all workers, each of which embeds its part.

    Args:
        model: the bare network; it is left in evaluation mode.
        training: its training frames, not augmented.
        validation: its validation frames.
        scored: scores of all validation frames.
        config: options of the training.
        device: device of the model.
    """
    seed = config.train.seed
    batch = max(1, config.train.batch_size // collective.world_size())
    drawn = _drawn(training, seed)
    embeddings_NC, pixels_NP = _embedded(model, training, drawn, batch, config, device)
    embeddings_MC, _ = _embedded(model, validation, _drawn(validation, seed), batch, config, device)
    sample = Sample(
        embeddings_NC,
        dict(zip(STATISTICS, pixels_NP.T, strict=True)),
        [f"{training.datasets[i]} {training.views[i]}" for i in drawn],
        [training.patients[i] for i in drawn],
    )
    return reference.make(
        sample,
        embeddings_MC,
        {name: np.concatenate(values) for name, values in scored.scores.items()},
        training.views,
        training.datasets,
        validation.patients,
    )


def _drawn(store: FrameStore, seed: int) -> npt.NDArray[np.int64]:
    """Returns at most `reference.SAMPLE` random places in the store, in rising order."""
    return np.sort(np.random.default_rng(seed).permutation(len(store))[: reference.SAMPLE])


@torch.no_grad()
def _embedded(
    model: nn.Module,
    store: FrameStore,
    drawn: npt.NDArray[np.int64],
    size: int,
    config: TrainConfig,
    device: torch.device,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Returns embeddings and pixel statistics of the frames `drawn`, in batches of `size` that the workers share."""
    model.eval()
    batches = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    mine: dict[int, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = {}
    for number in range(collective.rank(), len(batches), collective.world_size()):
        chosen = batches[number]
        batch = collate(store, np.stack([chosen, np.zeros_like(chosen)], axis=1))
        output = predict(model, batch.to(device), "float32", config.speed.channels_last)
        pixels = statistics(batch.frames_BHW.numpy())
        mine[number] = output.embedding.float().cpu().numpy(), np.stack([pixels[name] for name in STATISTICS], axis=1)
    every = dict(sorted(item for part in collective.gather(mine) for item in part.items()))
    embeddings, pixels_of = zip(*every.values(), strict=True)
    return np.concatenate(embeddings), np.concatenate(pixels_of)


def run(options: dict[str, Any]) -> ComitError | None:
    """Trains all remaining epochs.

    An error that all workers share and that would only repeat (a diverged training, a damaged checkpoint) is returned
    for the driver to raise. Ray Train would take a raised error for the death of a worker, and start again.

    Args:
        options: `config` as plain values; `initial` weights in the object store (None if there is a checkpoint);
            `manifest`, the hash of the training data; `files` with the frames on disk (None: they are in the object
            store).
    """
    logging.getLogger().setLevel(logging.WARNING)  # Ray Train logs each report, with all metrics, as the root logger
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # else every worker reports that it has no progress bar
    config = TrainConfig.parse(options["config"], origin="training options")
    torch.set_num_threads(config.workers.threads or max(1, int(config.workers.cpus)))
    try:
        training = Training(config, ray.train.torch.get_device(), options["initial"], options["files"])
    except (CheckpointError, ConfigError) as error:
        return error
    if collective.rank() == 0 and not training.history:
        learned = sources.lesson_lines(training.lessons, config.train) + attention.lines(training.lessons, config)
        sys.stdout.write("\n".join(learned) + "\n")
    tracker = Tracker(config, storage.join(config.storage, config.name)) if collective.rank() == 0 else None
    while not training.finished:
        try:
            metrics, validation = training.epoch()
        except ConfigError as error:
            return error
        if tracker is not None:
            # Ray Train's workers replace `print` by a function that writes twice: to their log and to the driver
            sys.stdout.write(progress_line(len(training.history) - 1, config.train.epochs, metrics) + "\n")
            sys.stdout.flush()
            tracker.epoch(metrics)
        training.report(validation, options["manifest"])
    if tracker is not None:
        tracker.close()
    if options["files"] is not None and ray.train.get_context().get_local_rank() == 0:
        options["files"].remove_copy()
    return None


class Training:
    """One worker's network, optimiser and frames, between epochs.

    Args:
        config: options of the training.
        device: device of this worker.
        initial: weights to start with if the run has no checkpoint.
        files: files with the frames on disk; None: the frames are in the object store.

    Attributes:
        history: metrics of the finished epochs.
    """

    def __init__(
        self, config: TrainConfig, device: torch.device, initial: Initial, files: MappedFiles | None = None
    ) -> None:
        self.config, self.device = config, device
        self.rank, self.workers = collective.rank(), collective.world_size()
        if files is None:
            blocks = list(ray.train.get_dataset_shard("frames").iter_batches(batch_size=None, batch_format="pyarrow"))
        else:
            blocks = frames_on_disk.mapped(files)
        self.frames = {split: FrameStore(blocks, split, config.frame.size) for split in (Split.TRAIN, Split.VAL)}
        self.group_names = sources.mark(self.frames[Split.TRAIN], self.frames[Split.VAL], config)
        self.lessons = sources.lessons(self.frames[Split.TRAIN], config.model.tasks)
        sources.check(self.lessons, config)
        attention.check(self.lessons, config)
        # Fitted once, because it depends on the frames alone; rank 0 saves the checkpoints.
        shown = other_pictures.examples(blocks, config.frame.size) if self.rank == 0 else None
        self.frontal_check = None if shown is None else frontal_check.fit(Examples(**shown))
        self.items = order.items(order.copies_of(self.frames[Split.TRAIN], config))
        self.groups = order.groups_of(self.frames[Split.TRAIN], config)

        layout = torch.channels_last if config.speed.channels_last else torch.contiguous_format
        bare = build_model(config.model).to(device).to(memory_format=layout)
        if config.train.batch_norm == "synchronised":
            bare = collective.synchronised(bare)
        self.model: nn.Module = bare
        self.optimiser = make_optimiser(bare, config.train, config.speed.fused)
        self.history = self._restore(initial)
        self.stopping = bool(self.history) and self._asked_to_stop()
        objective = Objective(torch.compile(bare) if config.speed.compile else bare, config)  # type: ignore[arg-type]
        devices = [device] if device.type == "cuda" else None
        self.objective = DistributedDataParallel(objective, device_ids=devices) if self.workers > 1 else objective

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, the validation loss has not fallen for too long, or a stop was requested."""
        return self.stopping or whole(self.history, self.config.train.epochs, self.config.train.patience)

    def epoch(self) -> tuple[EpochMetrics, Validation]:
        """Trains on every item once and validates; appends the metrics, the same on all workers, to `history`.

        Raises:
            ConfigError: the training has diverged.
        """
        epoch, began = len(self.history), time.perf_counter()
        train, prefetch = self.config.train, self.config.speed.prefetch
        steps = order.global_batches(self._order(epoch), train.batch_size)
        shares = [order.share(step, self.rank, self.workers) for step in steps]
        rates = [learning_rate(train, epoch * len(steps) + i, len(steps)) for i in range(len(steps))]
        variation = (train.seed, epoch) if train.vary else None
        looks = order.appearance_of(train, epoch)
        batches = training_batches(self.frames[Split.TRAIN], steps, shares, variation, prefetch, looks)
        weights = GroupWeights.begin(train.group_dro, self.group_names, self.history, self.device)
        mine, parts = train_epoch(self.objective, self.optimiser, batches, rates, self.config, self.device, weights)
        trained = merge_losses(collective.gather(mine))
        seconds = time.perf_counter() - began

        collective.share_buffers(self.model)
        size = max(1, train.batch_size // self.workers)
        rows = validation_batches(self.frames[Split.VAL], self.rank, self.workers, size, prefetch)
        validation = merge(collective.gather(validate(self.model, rows, self.config, self.device)))
        by_worker = collective.gather(parts)
        losses = trained.metrics("train", self.config.loss) | validation.losses.metrics("val", self.config.loss)
        _check_finite(losses, epoch)
        metrics: EpochMetrics = {
            **losses,
            **validation.metrics(self.config.loss),
            "images_per_second": len(self.items) / seconds,
            **{f"seconds_{part}": float(np.mean([worker[part] for worker in by_worker])) for part in parts},
            "seconds_training": seconds,
            "seconds_validation": time.perf_counter() - began - seconds,
            **({} if weights is None else weights.figures()),
            "learning_rate": rates[-1],
            "workers": self.workers,
            "epoch": epoch + 1,
        }
        self.history.append(metrics)
        self.stopping = self._asked_to_stop()
        return metrics, validation

    def report(self, validation: Validation, manifest: str) -> None:
        """Reports the metrics of the last epoch to Ray Train and, from rank 0, its checkpoint."""
        metrics = self.history[-1]
        random = collective.gather(_random_state(self.device))
        stores = self.frames[Split.TRAIN], self.frames[Split.VAL]
        known = remember(self.model, *stores, validation, self.config, self.device)
        with tempfile.TemporaryDirectory() as directory:
            saved = None
            if self.rank == 0:
                state = TrainingState(self.history, self.optimiser.state_dict(), random)
                names = stores[1].datasets if self.config.train.for_every_source else None
                points = validation.operating_points(self.config.train.specificities, names)
                temperatures = validation.temperatures()
                checkpoint.save(
                    Path(directory), self.model, self.config, points, temperatures, state, manifest, known, self.lessons
                )
                if self.frontal_check is not None:
                    frontal_check.write(Path(directory), self.frontal_check)
                saved = ray.train.Checkpoint.from_directory(directory)
            ray.train.report(metrics, checkpoint=saved, checkpoint_dir_name=f"checkpoint_{len(self.history):04d}")

    def _asked_to_stop(self) -> bool:
        """Whether a stop was requested; the answer is the same on all workers, because only rank 0 looks."""
        return any(collective.gather(self.rank == 0 and self._sees_stop()))

    def _sees_stop(self) -> bool:
        run = storage.join(self.config.storage, self.config.name)
        try:
            return run_directory.asked_to_stop(run)
        except StorageError as error:  # not worth losing an epoch: checked again after the next one
            print(f"cannot check whether {run} was asked to stop: {error}", flush=True)
            return False

    def _order(self, epoch: int) -> order.Items:
        seed = self.config.train.seed
        if self.groups is None:
            return order.shuffled(self.items, seed, epoch)
        return order.balanced(self.items, self.groups, seed, epoch)

    def _restore(self, initial: Initial) -> list[EpochMetrics]:
        """Loads the initial weights, or the run's latest weights and optimiser; returns the finished epochs.

        Raises:
            CheckpointError: on all workers, if any of them cannot load them.
        """
        torch.manual_seed(self.config.train.seed + self.rank)
        history: list[EpochMetrics] = []
        problem = None
        try:
            history = self._load(initial)
        except CheckpointError as error:
            problem = error
        for anyones in collective.gather(problem):
            if anyones is not None:
                raise anyones
        return history

    def _load(self, initial: Initial) -> list[EpochMetrics]:
        latest = ray.train.get_checkpoint()
        if latest is None:
            weights: dict[str, torch.Tensor] | None = ray.get(initial)
            if weights is None:
                raise CheckpointError(f"the checkpoints of the run {self.config.name} are gone: give another --name")
            self.model.load_state_dict(weights)
            return []
        with latest.as_directory() as directory:
            state = checkpoint.load_state(directory, self.model)
        self.optimiser.load_state_dict(state.optimiser)
        if len(state.random) == self.workers:
            _set_random_state(state.random[self.rank], self.device)
        return state.history


def _random_state(device: torch.device) -> list[torch.Tensor]:
    """Returns the random state of the host and, if it computes on a GPU, of the GPU."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_random_state(states: list[torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)


def _check_finite(losses: EpochMetrics, epoch: int) -> None:
    """Checks that all losses are finite; every worker has the same losses, so all stop together.

    Raises:
        ConfigError: the training has diverged.
    """
    wrong = [name for name, value in losses.items() if value is not None and not np.isfinite(value)]
    if wrong:
        raise ConfigError(f"epoch {epoch + 1}: {', '.join(wrong)} not finite: lower train.lr")
