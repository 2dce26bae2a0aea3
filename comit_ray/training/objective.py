"""The network together with its loss: what DistributedDataParallel wraps."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from comit_ray.config.train_config import TrainConfig
from comit_ray.models.outputs import ModelOutput, normalise
from comit_ray.tables.vocabulary import Task
from comit_ray.training.batches import Batch
from comit_ray.training.losses import switches, task_losses


class Objective(nn.Module):
    """Images and labels to losses.

    A network that learns from instances (Mask R-CNN) has a loss of its own over a whole batch; each of its images then
    bears that mean.

    Args:
        model: the network; compiled or not.
        config: tasks, reduction, precision and memory layout.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(self, batch: Batch) -> Tensor:
        """(4, B) float losses of `batch`, on the model's device, in the order of `ALL_TASKS`; zero where off."""
        precision, channels_last = self.config.train.precision, self.config.speed.channels_last
        if learns_from_instances(self.model):
            return _instance_losses(self.model, batch, self.config, precision)
        output = predict(self.model, batch, precision, channels_last)
        return task_losses(output, batch, self.config.loss.reduction)[0]


def learns_from_instances(model: nn.Module) -> bool:
    """Whether the network has a loss of its own: `instance_loss` of normalised images and masks, a mean over images."""
    return hasattr(model, "instance_loss")


@torch.no_grad()
def instance_losses_alone(model: nn.Module, batch: Batch, config: TrainConfig) -> Tensor:
    """(4, B) losses of a network with its own loss, image by image, in float32.

    Such a network draws boxes at random: here every image has the same draw, whatever batch it comes in, and the random
    state of the training is left as it is.
    """
    device = batch.frames_BHW.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        found = []
        for image in batch.parts(len(batch)):
            torch.manual_seed(0)
            found.append(_instance_losses(model, image, config, "float32"))
    return torch.cat(found, dim=1)


def _instance_losses(model: nn.Module, batch: Batch, config: TrainConfig, precision: str) -> Tensor:
    task = Task(config.model.tasks[0])  # it has one
    instance_loss = cast("Callable[[Tensor, Tensor], Tensor]", model.instance_loss)
    with _autocast(batch, precision):
        loss = instance_loss(_input(batch, config.speed.channels_last), batch.mask_BHW(task))
    on_TB = switches(batch, [task])
    # Zero times the loss, not zero: so a worker without any known mask still takes part in the sum of gradients.
    spread_TB = loss.float() * torch.ones_like(on_TB, dtype=torch.float32)
    return torch.where(on_TB, spread_TB, 0 * spread_TB)


def predict(model: nn.Module, batch: Batch, precision: str, channels_last: bool = True) -> ModelOutput:
    """The model's output for a batch on its device, in float32 or bfloat16 arithmetic."""
    with _autocast(batch, precision):
        output: ModelOutput = model(_input(batch, channels_last))
    return output


def _input(batch: Batch, channels_last: bool) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return normalise(batch.frames_BHW).contiguous(memory_format=layout)


def _autocast(batch: Batch, precision: str) -> torch.autocast:
    return torch.autocast(batch.frames_BHW.device.type, torch.bfloat16, enabled=precision == "bfloat16")
