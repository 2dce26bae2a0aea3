"""The four losses and their switched sum: equations 2 to 8 of the paper, computed from logits.

Per image i and task t, Z is the loss and T the switch, 0 or 1, which depends on what is known of the image:

    Z1, Z2  lung and disease: two-class cross-entropy of every pixel whose mask is known       (eq. 2, 3)
    Z3      healthy/unhealthy: two-class cross-entropy                                         (eq. 5)
    Z4      binary cross-entropy of COVID-19 plus that of another disease, one switch for both (eq. 7)
    L       sum over i of T1 Z1 + T2 Z2 + T3 Z3 + T4 Z4                                        (eq. 8)

`loss.reduction: sum` follows these equations literally: Z1 and Z2 sum over pixels and are up to 224 x 224 = 50,176
times larger than Z3 and Z4. `mean` (the default) makes the four comparable, as in "each loss is weighted equally"
(section 3.3): Z1 and Z2 are means over the known pixels of an image, and each task is the mean over the images of the
**global** batch whose switch is on. An image whose switch is off gives zero loss and zero gradient to that head.

Equation 5 as printed has no term for healthy images; two-class cross-entropy on the softmax is what it means.

`Objective` joins the network and its loss; DistributedDataParallel wraps it.
"""

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from comit_ray.config.train_config import LossConfig, TrainConfig
from comit_ray.data.masks.mask_images import IGNORE
from comit_ray.models.instances import has_known_pixel
from comit_ray.models.outputs import ModelOutput, normalise
from comit_ray.tables.vocabulary import ALL_TASKS, Task
from comit_ray.training.attention import divided, penalty, takes_part, with_copies
from comit_ray.training.batches import Batch
from comit_ray.training.sources import source_distance


def switches(batch: Batch, tasks: Iterable[str]) -> Tensor:
    """Returns T of every task and image: whether its truth is known and a head of `tasks` could learn it.

    Returns:
        (4, B) bool, in the order of `ALL_TASKS`.
    """
    known = {
        Task.LUNG: has_known_pixel(batch.mask_BHW(Task.LUNG)),
        Task.DISEASE: has_known_pixel(batch.mask_BHW(Task.DISEASE)),
        Task.HEALTH: batch.unhealthy_B >= 0,
        Task.COVID: (batch.covid_B >= 0) & (batch.other_B >= 0),
    }
    if batch.teaches_B is not None:
        known[Task.COVID] = known[Task.COVID] & batch.teaches_B
    if batch.teaches_health_B is not None:
        known[Task.HEALTH] = known[Task.HEALTH] & batch.teaches_health_B
    heads = set(tasks)
    return torch.stack([known[task] if task in heads else torch.zeros_like(known[task]) for task in ALL_TASKS])


def task_losses(output: ModelOutput, batch: Batch, reduction: str = "mean") -> tuple[Tensor, Tensor]:
    """Computes Z and T of every task and image.

    Args:
        output: output of the model for the batch.
        batch: labels and masks, on the same device.
        reduction: mean or sum over the known pixels of an image.

    Returns:
        (4, B) float losses, zero where the switch is off, and (4, B) bool switches, in the order of `ALL_TASKS`. A task
        without a head is switched off everywhere.
    """
    on_TB = switches(batch, [task for task in ALL_TASKS if getattr(output, task) is not None])
    off = torch.zeros(len(batch), device=batch.unhealthy_B.device)
    losses = [_task_loss(task, output, batch, reduction) for task in ALL_TASKS]
    loss_TB = torch.stack([off if loss_B is None else loss_B for loss_B in losses])
    return torch.where(on_TB, loss_TB, 0.0), on_TB


def _task_loss(task: Task, output: ModelOutput, batch: Batch, reduction: str) -> Tensor | None:
    if task is Task.LUNG:
        return None if output.lung is None else _pixel_loss(output.lung, batch.mask_BHW(task), reduction)
    if task is Task.DISEASE:
        return None if output.disease is None else _pixel_loss(output.disease, batch.mask_BHW(task), reduction)
    if task is Task.HEALTH:
        return None if output.health is None else _health_loss(output.health, batch.unhealthy_B)
    return None if output.covid is None else _covid_loss(output.covid, batch.covid_B, batch.other_B)


def _pixel_loss(logits_B2HW: Tensor, mask_BHW: Tensor, reduction: str) -> Tensor:
    """Computes Z1 or Z2 (eq. 2, 3)."""
    loss_BHW = F.cross_entropy(logits_B2HW.float(), mask_BHW.long(), ignore_index=IGNORE, reduction="none")
    total_B = loss_BHW.sum(dim=(1, 2))
    return total_B / (mask_BHW != IGNORE).sum(dim=(1, 2)).clamp(min=1) if reduction == "mean" else total_B


def _health_loss(logits_B2: Tensor, unhealthy_B: Tensor) -> Tensor:
    """Computes Z3 (eq. 5)."""
    return F.cross_entropy(logits_B2.float(), unhealthy_B, ignore_index=-1, reduction="none")


def _covid_loss(logits_B2: Tensor, covid_B: Tensor, other_B: Tensor) -> Tensor:
    """Computes Z4 (eq. 7); the value is meaningful only if both labels are known."""
    truth_B2 = torch.stack([covid_B, other_B], dim=1).clamp(min=0).float()
    return F.binary_cross_entropy_with_logits(logits_B2.float(), truth_B2, reduction="none").sum(dim=1)


def task_weights(config: LossConfig, device: torch.device) -> Tensor:
    """Returns (4,) weights of the tasks, in the order of `ALL_TASKS`, and as a fifth `attention` if it is not 0."""
    weights = [getattr(config, task) for task in ALL_TASKS] + ([config.attention] if config.attention else [])
    return torch.tensor(weights, device=device, dtype=torch.float32)


def active(batch: Batch, config: TrainConfig) -> Tensor:
    """Returns (4,) number of images whose switch is on, and as a fifth of those that `loss.attention` concerns."""
    counts_T = switches(batch, config.model.tasks).sum(dim=1).float()
    return torch.cat([counts_T, takes_part(batch).sum().float()[None]]) if config.loss.attention else counts_T


def total_loss(loss_TB: Tensor, active_T: Tensor, config: LossConfig, world_size: int) -> Tensor:
    """Computes this worker's share of L, scaled so that the mean over workers is the loss of the global batch.

    Args:
        loss_TB: (4, B) losses of this worker, from `task_losses`, and one more row with `loss.attention`, from
            `Objective`; sums of any further rows (penalties) are added.
        active_T: (4,) or (5,) number of images of the **global** batch whose switch is on, from `active`.
        config: weights and reduction.
        world_size: number of workers whose gradients DistributedDataParallel averages.

    Returns:
        A scalar. A worker without an active image gets 0 that still depends on its parameters.
    """
    weight_T = task_weights(config, loss_TB.device) * world_size
    if config.reduction == "mean":
        weight_T = weight_T / active_T.clamp(min=1)
    switched = len(weight_T)
    loss: Tensor = (loss_TB[:switched].sum(dim=1) * weight_T).sum()
    return loss if len(loss_TB) == switched else loss + loss_TB[switched:].sum()


class Objective(nn.Module):
    """Turns images and labels into losses.

    A network that learns from instances (Mask R-CNN) has its own loss over a whole batch; each image then gets that
    mean.

    Args:
        model: the network, compiled or not.
        config: tasks, reduction, precision and memory layout.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(self, batch: Batch) -> Tensor:
        """Returns (4, B) float losses in the order of `ALL_TASKS`, on the model's device; zero if a switch is off.

        With `loss.attention`, one more row holds each image's penalty before its weight. With a penalty on embeddings
        that reveal sources, the last row holds it, weighted and spread over the images.
        """
        precision, channels_last = self.config.train.precision, self.config.speed.channels_last
        if learns_from_instances(self.model):
            return _instance_losses(self.model, batch, self.config, precision)
        if self.config.loss.attention:
            both, places_N = with_copies(batch)
            output, copies = divided(predict(self.model, both, precision, channels_last), len(batch))
            loss_TB, on_TB = task_losses(output, batch, self.config.loss.reduction)
            taught_B = on_TB[ALL_TASKS.index(Task.COVID)]
            loss_TB = torch.cat([loss_TB, penalty(output, copies, places_N, batch.covid_B, taught_B)[None]])
        else:
            output = predict(self.model, batch, precision, channels_last)
            loss_TB = task_losses(output, batch, self.config.loss.reduction)[0]
        weight = self.config.loss.source_penalty
        if not weight or batch.group_B3 is None:
            return loss_TB
        _, source_B, class_B = batch.group_B3.unbind(1)
        # A step in parts has the mean of their penalties, so that its weight does not grow with their number.
        distance = weight * source_distance(output.embedding, source_B, class_B) / self.config.train.accumulate
        distance = distance / len(batch)
        return torch.cat([loss_TB, distance.expand(1, len(batch))])


def learns_from_instances(model: nn.Module) -> bool:
    """Whether the network has its own loss: `instance_loss` of normalised images and masks, a mean over images."""
    return hasattr(model, "instance_loss")


@torch.no_grad()
def instance_losses_alone(model: nn.Module, batch: Batch, config: TrainConfig) -> Tensor:
    """Returns (4, B) losses of a network with its own loss, image by image, in float32.

    Such a network draws boxes at random. Here every image has the same draw, whatever batch it is in, and the random
    state of the training stays unchanged.
    """
    device = batch.frames_BHW.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        found = []
        for image in batch.parts(len(batch)):
            torch.manual_seed(0)
            found.append(_instance_losses(model, image, config, "float32"))
    return torch.cat(found, dim=1)


def _instance_losses(model: nn.Module, batch: Batch, config: TrainConfig, precision: str) -> Tensor:
    task = Task(config.model.tasks[0])  # such a network has exactly one task
    instance_loss = cast("Callable[[Tensor, Tensor], Tensor]", model.instance_loss)
    with _autocast(batch, precision):
        loss = instance_loss(_input(batch, config.speed.channels_last), batch.mask_BHW(task))
    on_TB = switches(batch, [task])
    # Zero times the loss instead of zero, so that a worker without a known mask still joins the sum of gradients.
    spread_TB = loss.float() * torch.ones_like(on_TB, dtype=torch.float32)
    return torch.where(on_TB, spread_TB, 0 * spread_TB)


def predict(model: nn.Module, batch: Batch, precision: str, channels_last: bool = True) -> ModelOutput:
    """Returns the model's output for a batch on its device, in float32 or bfloat16 arithmetic."""
    with _autocast(batch, precision):
        output: ModelOutput = model(_input(batch, channels_last))
    return output


def _input(batch: Batch, channels_last: bool) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return normalise(batch.frames_BHW).contiguous(memory_format=layout)


def _autocast(batch: Batch, precision: str) -> torch.autocast:
    return torch.autocast(batch.frames_BHW.device.type, torch.bfloat16, enabled=precision == "bfloat16")
