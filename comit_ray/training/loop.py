"""An epoch of training and a pass over the validation split: plain PyTorch, one process or many."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from comit_ray import metrics
from comit_ray.data.masks import IGNORE
from comit_ray.data.transforms import normalise
from comit_ray.models.outputs import ModelOutput
from comit_ray.schema import Task
from comit_ray.train_config import OptimConfig, TrainConfig
from comit_ray.training import collective
from comit_ray.training.batches import Batch
from comit_ray.training.losses import task_losses, total_loss
from comit_ray.training.scores import LossSums, Validation


def learning_rate(config: OptimConfig, step: int, steps_an_epoch: int) -> float:
    """Learning rate of `step` (from 0, over all epochs): constant, or a linear warm-up epoch and a cosine to zero."""
    if config.schedule == "constant":
        return config.lr
    if step < steps_an_epoch and config.epochs > 1:
        return config.lr * (step + 1) / steps_an_epoch
    warmup = steps_an_epoch if config.epochs > 1 else 0
    done = (step - warmup) / (config.epochs * steps_an_epoch - warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def predict(model: nn.Module, batch: Batch, precision: str) -> ModelOutput:
    """The model's output for a batch on its device, in float32 or bfloat16 arithmetic."""
    x_B3HW = normalise(batch.frames_BHW).contiguous(memory_format=torch.channels_last)  # 1.5 times faster on a CPU
    with torch.autocast(x_B3HW.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        output: ModelOutput = model(x_B3HW)
    return output


def train_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    batches: Iterable[Batch],
    rates: Iterable[float],
    config: TrainConfig,
    device: torch.device,
) -> LossSums:
    """One step a batch; every worker must bring the same number of batches.

    Args:
        model: the network, wrapped in DistributedDataParallel where there are several workers.
        optimiser: of its parameters.
        batches: this worker's.
        rates: the learning rate of each step.
        config: loss and precision.
        device: the model's.

    Returns:
        This worker's sums.
    """
    model.train()
    total_T, switched_T = torch.zeros(4, device=device), torch.zeros(4, device=device)
    images = 0
    for batch, rate in zip(batches, rates, strict=True):
        images += int((batch.index_B >= 0).sum())  # before it is on the device: counting there would wait for it
        batch = batch.to(device).augmented()
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss_TB, on_TB = task_losses(predict(model, batch, config.train.precision), batch, config.loss.reduction)
        active_T = on_TB.sum(dim=1).float()
        loss = total_loss(loss_TB, collective.sum_over_workers(active_T), config.loss, collective.world_size())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total_T += loss_TB.detach().sum(dim=1)
        switched_T += active_T
    return LossSums(_numpy(total_T).astype(np.float64), _numpy(switched_T).astype(np.float64), images)


@torch.no_grad()
def validate(model: nn.Module, batches: Iterable[Batch], config: TrainConfig, device: torch.device) -> Validation:
    """Scores, losses and lung IoU of this worker's validation images, in float32.

    Args:
        model: the bare network (workers may have unequal numbers of batches).
        batches: this worker's.
        config: tasks and loss.
        device: the model's.
    """
    model.eval()
    sums, lung_iou = LossSums(), []
    names = {Task.COVID: "covid", Task.HEALTH: "unhealthy"}
    heads = [names[Task(task)] for task in config.model.tasks if task in names]
    index: list[Tensor] = [torch.zeros(0, dtype=torch.int64)]
    scores: dict[str, list[Tensor]] = {head: [torch.zeros(0)] for head in heads}
    labels: dict[str, list[Tensor]] = {head: [torch.zeros(0, dtype=torch.int64)] for head in heads}
    for batch in batches:
        batch = batch.to(device)
        output = predict(model, batch, "float32")
        loss_TB, on_TB = task_losses(output, batch, config.loss.reduction)
        sums.loss_T += _numpy(loss_TB.sum(dim=1))
        sums.active_T += _numpy(on_TB.sum(dim=1))
        sums.images += len(batch)
        index.append(batch.index_B.cpu())
        for head, score, label in (
            ("covid", output.p_covid, batch.covid_B),
            ("unhealthy", output.p_unhealthy, batch.unhealthy_B),
        ):
            if score is not None:
                scores[head].append(score.cpu())
                labels[head].append(label.cpu())
        lung_iou += _lung_ious(output, batch)
    return Validation(
        sums,
        torch.cat(index).numpy(),
        {head: torch.cat(parts).numpy() for head, parts in scores.items()},
        {head: torch.cat(parts).numpy() for head, parts in labels.items()},
        lung_iou,
    )


def _lung_ious(output: ModelOutput, batch: Batch) -> list[float]:
    if output.lung is None:
        return []
    predicted, truth = _numpy(output.lung.argmax(dim=1)) == 1, _numpy(batch.mask_BHW(Task.LUNG))
    values = (metrics.iou(p, t == 1, t != IGNORE) for p, t in zip(predicted, truth, strict=True) if (t != IGNORE).any())
    return [value for value in values if value is not None]


def _numpy(values: Tensor) -> npt.NDArray[Any]:
    return values.cpu().numpy()
