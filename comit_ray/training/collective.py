"""Communication between training workers (torch.distributed); with one process nothing is sent.

Batch normalisation when a batch is shared by workers: per worker, over all of them, or frozen.
"""

from typing import TypeVar

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

T = TypeVar("T")


def world_size() -> int:
    """Number of workers."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This worker's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def sum_over_workers(values: Tensor) -> Tensor:
    """The elementwise sum of every worker's `values`; carries no gradient."""
    total = values.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def gather(value: T) -> list[T]:
    """Every worker's `value`, by rank, on all workers."""
    if world_size() == 1:
        return [value]
    gathered: list[T | None] = [None] * world_size()
    dist.all_gather_object(gathered, value)
    return gathered  # type: ignore[return-value]  # all are filled


def share_buffers(model: nn.Module) -> None:
    """Give every worker rank 0's buffers: batch norm statistics are counted by each worker for itself."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def synchronised(model: nn.Module) -> nn.Module:
    """The model with statistics of the whole batch (torch.nn.SyncBatchNorm, GPUs only); the same state dict."""
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return converted


def freeze(model: nn.Module) -> None:
    """Use the running statistics, and leave them as they are, until the next `model.train()`; the weights learn on."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
