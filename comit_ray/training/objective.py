"""The network together with its loss: what DistributedDataParallel wraps."""

import torch
from torch import Tensor, nn

from comit_ray.data.transforms import normalise
from comit_ray.models.outputs import ModelOutput
from comit_ray.schema import Task
from comit_ray.train_config import TrainConfig
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
        instance_loss = getattr(self.model, "instance_loss", None)
        if instance_loss is None:
            output = predict(self.model, batch, self.config.train.precision, self.config.speed.channels_last)
            return task_losses(output, batch, self.config.loss.reduction)[0]
        task = Task(self.config.model.tasks[0])  # it has one
        with _autocast(batch, self.config.train.precision):
            loss: Tensor = instance_loss(_input(batch, self.config.speed.channels_last), batch.mask_BHW(task))
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
