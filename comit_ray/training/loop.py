"""An epoch of training and a pass over the validation split: plain PyTorch, one process or many."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from comit_ray.config.train_config import TrainConfig
from comit_ray.data.masks.mask_images import IGNORE
from comit_ray.models.outputs import ModelOutput
from comit_ray.statistics import roc
from comit_ray.tables.vocabulary import Task
from comit_ray.training import batch_norm, collective
from comit_ray.training.batches import Batch
from comit_ray.training.losses import switches, task_losses, total_loss
from comit_ray.training.objective import instance_losses_alone, learns_from_instances, predict
from comit_ray.training.stopwatch import Stopwatch
from comit_ray.training.validation import LossSums, Validation


def train_epoch(
    objective: nn.Module,
    optimiser: torch.optim.Optimizer,
    batches: Iterable[Batch],
    rates: Iterable[float],
    config: TrainConfig,
    device: torch.device,
) -> tuple[LossSums, dict[str, float]]:
    """One step a batch; every worker must bring the same number of batches.

    Args:
        objective: `comit_ray.training.objective.Objective`, in DistributedDataParallel where there are several workers.
        optimiser: of its parameters.
        batches: this worker's.
        rates: the learning rate of each step.
        config: loss, parts of a step, batch norm.
        device: the model's.

    Returns:
        This worker's sums, and its seconds `waiting` (for data), `forward`, `backward`, `optimiser`.
    """
    objective.train()
    if config.train.batch_norm == "frozen":
        batch_norm.freeze(objective)
    watch = Stopwatch(device)
    total_T, switched_T = torch.zeros(4, device=device), torch.zeros(4, device=device)
    images = 0
    for batch, rate in zip(_timed(batches, watch), rates, strict=True):
        images += int((batch.index_B >= 0).sum())  # before it is on the device: counting there would wait for it
        with watch.device("forward"):
            batch = batch.to(device).augmented()
            active_T = switches(batch, config.model.tasks).sum(dim=1).float()
            everywhere_T = collective.sum_over_workers(active_T)
        parts = batch.parts(config.train.accumulate)
        for number, part in enumerate(parts, start=1):
            with _synchronising(objective, last=number == len(parts)):
                with watch.device("forward"):
                    loss_TB = objective(part)
                    loss = total_loss(loss_TB, everywhere_T, config.loss, collective.world_size())
                with watch.device("backward"):
                    loss.backward()  # type: ignore[no-untyped-call]
            total_T += loss_TB.detach().sum(dim=1)
        with watch.device("optimiser"):
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        switched_T += active_T
    sums = LossSums(_numpy(total_T).astype(np.float64), _numpy(switched_T).astype(np.float64), images)
    return sums, watch.seconds()


def _timed(batches: Iterable[Batch], watch: Stopwatch) -> Iterator[Batch]:
    remaining = iter(batches)
    while True:
        with watch.host("waiting"):
            batch = next(remaining, None)
        if batch is None:
            return
        yield batch


def _synchronising(objective: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Workers add their gradients up once a step, with its last part."""
    if last or not isinstance(objective, DistributedDataParallel):
        return nullcontext()
    waiting: AbstractContextManager[None] = objective.no_sync()
    return waiting


@torch.no_grad()
def validate(model: nn.Module, batches: Iterable[Batch], config: TrainConfig, device: torch.device) -> Validation:
    """Scores, losses and IoU of this worker's validation images, in float32.

    Args:
        model: the bare network (workers may have unequal numbers of batches).
        batches: this worker's.
        config: tasks and loss.
        device: the model's.
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
    """Name -> score, its log-odds, and label of each image, for the heads the model has."""
    probabilities = {"covid": output.p_covid, "other": output.p_other, "unhealthy": output.p_unhealthy}
    labels = {"covid": batch.covid_B, "other": batch.other_B, "unhealthy": batch.unhealthy_B}
    found: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    for score, log_odds_B in output.log_odds.items():
        probability_B = probabilities[score]
        assert probability_B is not None, "what has log-odds has a probability"
        found[score] = probability_B, log_odds_B.float(), labels[score]
    return found


def _ious(logits_B2HW: Tensor, mask_BHW: Tensor) -> list[float]:
    """IoU of each image with a known mask, except where prediction and truth are both empty."""
    predicted, truth = _numpy(logits_B2HW.argmax(dim=1)) == 1, _numpy(mask_BHW)
    values = (roc.iou(p, t == 1, t != IGNORE) for p, t in zip(predicted, truth, strict=True) if (t != IGNORE).any())
    return [value for value in values if value is not None]


def _numpy(values: Tensor) -> npt.NDArray[Any]:
    return values.cpu().numpy()
