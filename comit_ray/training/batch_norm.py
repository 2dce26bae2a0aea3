"""Batch normalisation when a batch is shared by workers: per worker, over all of them, or frozen."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def synchronised(model: nn.Module) -> nn.Module:
    """The model with statistics of the whole batch (torch.nn.SyncBatchNorm, GPUs only); the same state dict."""
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return converted


def freeze(model: nn.Module) -> None:
    """Use the running statistics, and leave them as they are, until the next `model.train()`; the weights learn on."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
