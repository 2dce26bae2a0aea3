"""Communication between training workers (torch.distributed), and batch normalisation across them.

With a single process nothing is sent. Batch normalisation is done per worker, over all workers, or frozen.
"""

from typing import TypeVar

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

T = TypeVar("T")


def world_size() -> int:
    """Returns the number of workers."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Returns this worker's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def sum_over_workers(values: Tensor) -> Tensor:
    """Returns the elementwise sum of every worker's `values`; it carries no gradient."""
    total = values.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def gather(value: T) -> list[T]:
    """Returns every worker's `value`, by rank, on all workers."""
    if world_size() == 1:
        return [value]
    gathered: list[T | None] = [None] * world_size()
    dist.all_gather_object(gathered, value)
    return gathered  # type: ignore[return-value]  # every rank has filled its place


def share_buffers(model: nn.Module) -> None:
    """Copies rank 0's buffers to every worker, because each worker counts batch norm statistics on its own."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def synchronised(model: nn.Module) -> nn.Module:
    """Returns the model with statistics over the whole batch (torch.nn.SyncBatchNorm, GPUs only); same state dict."""
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return converted


def freeze(model: nn.Module) -> None:
    """Uses the running statistics unchanged until the next `model.train()`; the weights still learn."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
