"""Trains one epoch, and runs one validation pass: plain PyTorch, in one process or many.

It also makes the optimiser, computes the learning rate, and measures the time of an epoch: waiting, forward, backward,
optimiser. `comit_ray.training.early_stopping` decides whether to stop early.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from comit_ray.config.train_config import OptimConfig, TrainConfig
from comit_ray.data.masks.mask_images import IGNORE
from comit_ray.models.outputs import ModelOutput
from comit_ray.statistics import roc
from comit_ray.tables.vocabulary import ALL_TASKS, Task
from comit_ray.training import collective
from comit_ray.training.batches import Batch
from comit_ray.training.losses import (
    active,
    instance_losses_alone,
    learns_from_instances,
    predict,
    task_losses,
    task_weights,
    total_loss,
)
from comit_ray.training.sources import GroupWeights
from comit_ray.training.validation import LossSums, Validation


class Stopwatch:
    """Measures the seconds of each part of an epoch.

    A GPU works asynchronously, so its own events are the clock, and they are read at the end. On a GPU, the host's
    waiting may therefore overlap the device's parts. On a CPU, a part may include waiting for other workers: forward
    waits for the count of labels in the step, backward for their gradients.

    Args:
        device: device that computes.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def host(self, part: str) -> Iterator[None]:
        """Measures time of the host in the block, such as waiting."""
        began = time.perf_counter()
        yield
        self._seconds[part] += time.perf_counter() - began

    @contextmanager
    def device(self, part: str) -> Iterator[None]:
        """Measures time of the device in the block."""
        if not self._on_gpu:
            with self.host(part):
                yield
            return
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        yield
        end.record()
        self._events.append((part, begin, end))

    def seconds(self) -> dict[str, float]:
        """Returns the sum of each part in seconds; on a GPU this waits until all its work is done."""
        if self._events:
            torch.cuda.synchronize()
        for part, begin, end in self._events:
            self._seconds[part] += begin.elapsed_time(end) / 1000  # from milliseconds
        self._events.clear()
        return dict(self._seconds)


def train_epoch(
    objective: nn.Module,
    optimiser: torch.optim.Optimizer,
    batches: Iterable[Batch],
    rates: Iterable[float],
    config: TrainConfig,
    device: torch.device,
    groups: GroupWeights | None = None,
) -> tuple[LossSums, dict[str, float]]:
    """Trains with one step per batch; every worker must bring the same number of batches.

    Args:
        objective: `comit_ray.training.losses.Objective`, inside DistributedDataParallel if there are several workers.
        optimiser: optimiser of its parameters.
        batches: this worker's batches.
        rates: learning rate of each step.
        config: loss, parts of a step, batch norm.
        device: device of the model.
        groups: weights of the images' groups, which every step updates; None: all images have the same weight.

    Returns:
        This worker's sums, and its seconds `waiting` (for data), `forward`, `backward`, `optimiser`.
    """
    objective.train()
    if config.train.batch_norm == "frozen":
        collective.freeze(objective)
    watch = Stopwatch(device)
    rows = len(task_weights(config.loss, device))
    total_T, switched_T = torch.zeros(rows, device=device), torch.zeros(rows, device=device)
    images = 0
    for batch, rate in zip(_timed(batches, watch), rates, strict=True):
        images += int((batch.index_B >= 0).sum())  # counted on the host, because a GPU would have to be waited for
        with watch.device("forward"):
            batch = batch.to(device).augmented()
            active_T = active(batch, config)
            everywhere_T = collective.sum_over_workers(active_T)
        parts, bare = batch.parts(config.train.accumulate), []
        for number, part in enumerate(parts, start=1):
            with _synchronising(objective, last=number == len(parts)):
                with watch.device("forward"):
                    loss_TB = objective(part)
                    bare_TB, loss_TB = loss_TB, _weighted(loss_TB, part, groups)
                    loss = total_loss(loss_TB, everywhere_T, config.loss, collective.world_size())
                with watch.device("backward"):
                    loss.backward()  # type: ignore[no-untyped-call]
            total_T += bare_TB.detach()[: len(total_T)].sum(dim=1)
            bare.append(bare_TB.detach()[: len(total_T)])
        if groups is not None and batch.group_B3 is not None:
            real_B = (batch.index_B >= 0).to(device)
            groups.renew(torch.cat(bare, dim=1), batch.group_B3[:, 0], real_B)
        with watch.device("optimiser"):
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        switched_T += active_T
    totals, counts = (_numpy(values_T).astype(np.float64) for values_T in (total_T, switched_T))
    tasks = len(ALL_TASKS)
    sums = LossSums(totals[:tasks], counts[:tasks], images, float(totals[tasks:].sum()), int(counts[tasks:].sum()))
    return sums, watch.seconds()


def _weighted(loss_TB: Tensor, part: Batch, groups: GroupWeights | None) -> Tensor:
    return loss_TB if groups is None or part.group_B3 is None else groups.weighted(loss_TB, part.group_B3[:, 0])


def _timed(batches: Iterable[Batch], watch: Stopwatch) -> Iterator[Batch]:
    remaining = iter(batches)
    while True:
        with watch.host("waiting"):
            batch = next(remaining, None)
        if batch is None:
            return
        yield batch


def _synchronising(objective: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Workers add their gradients once per step, with its last part."""
    if last or not isinstance(objective, DistributedDataParallel):
        return nullcontext()
    waiting: AbstractContextManager[None] = objective.no_sync()
    return waiting


@torch.no_grad()
def validate(model: nn.Module, batches: Iterable[Batch], config: TrainConfig, device: torch.device) -> Validation:
    """Computes scores, losses and IoU of this worker's validation images, in float32.

    Args:
        model: the bare network (workers may have different numbers of batches).
        batches: this worker's batches.
        config: tasks and loss.
        device: device of the model.
    """
    model.eval()
    found = Validation.empty(config.model.tasks)
    for batch in batches:
        found.index.append(batch.index_B.numpy())
        batch = batch.to(device)
        output = predict(model, batch, "float32", config.speed.channels_last)
        loss_TB, on_TB = task_losses(output, batch, config.loss.reduction)
        if learns_from_instances(model):
            loss_TB = instance_losses_alone(model, batch, config)
        found.losses.loss_T += _numpy(loss_TB.sum(dim=1))
        found.losses.active_T += _numpy(on_TB.sum(dim=1))
        found.losses.images += len(batch)
        for name, (score_B, logit_B, label_B) in _scored(output, batch).items():
            found.scores[name].append(_numpy(score_B))
            found.logits[name].append(_numpy(logit_B))
            found.labels[name].append(_numpy(label_B))
        for task, logits_B2HW in ((Task.LUNG, output.lung), (Task.DISEASE, output.disease)):
            if logits_B2HW is not None:
                found.ious[task] += _ious(logits_B2HW, batch.mask_BHW(task))
    return found


def _scored(output: ModelOutput, batch: Batch) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Returns name -> score, its log-odds, and label of each image, for the heads that the model has."""
    found: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    for score, log_odds_B in output.log_odds.items():
        probability_B = getattr(output, f"p_{score}")
        assert probability_B is not None, "what has log-odds has a probability"
        found[score] = probability_B, log_odds_B.float(), getattr(batch, f"{score}_B")
    return found


def _ious(logits_B2HW: Tensor, mask_BHW: Tensor) -> list[float]:
    """Returns the IoU of each image with a known mask, except where prediction and truth are both empty."""
    predicted, truth = _numpy(logits_B2HW.argmax(dim=1)) == 1, _numpy(mask_BHW)
    values = (roc.iou(p, t == 1, t != IGNORE) for p, t in zip(predicted, truth, strict=True) if (t != IGNORE).any())
    return [value for value in values if value is not None]


def _numpy(values: Tensor) -> npt.NDArray[Any]:
    return values.cpu().numpy()


def make_optimiser(model: nn.Module, config: OptimConfig, fused: bool) -> torch.optim.Optimizer:
    """Makes Adam, or stochastic gradient descent with momentum, for all parameters of `model`."""
    if config.optimiser == "sgd":
        return torch.optim.SGD(model.parameters(), lr=config.lr, momentum=config.momentum, fused=fused)
    return torch.optim.Adam(model.parameters(), lr=config.lr, fused=fused)


def learning_rate(config: OptimConfig, step: int, steps_an_epoch: int) -> float:
    """Returns the learning rate of `step` (from 0, over all epochs).

    It is constant, or has a linear warm-up epoch and then a cosine to zero.
    """
    if config.schedule == "constant":
        return config.lr
    if step < steps_an_epoch and config.epochs > 1:
        return config.lr * (step + 1) / steps_an_epoch
    warmup = steps_an_epoch if config.epochs > 1 else 0
    done = (step - warmup) / (config.epochs * steps_an_epoch - warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))
