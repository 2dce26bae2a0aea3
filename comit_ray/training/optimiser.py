"""The optimiser and its learning rate."""

import math

import torch
from torch import nn

from comit_ray.config.train_config import OptimConfig


def make_optimiser(model: nn.Module, config: OptimConfig, fused: bool) -> torch.optim.Optimizer:
    """Adam, or stochastic gradient descent with momentum, of all parameters of `model`."""
    if config.optimiser == "sgd":
        return torch.optim.SGD(model.parameters(), lr=config.lr, momentum=config.momentum, fused=fused)
    return torch.optim.Adam(model.parameters(), lr=config.lr, fused=fused)


def learning_rate(config: OptimConfig, step: int, steps_an_epoch: int) -> float:
    """Learning rate of `step` (from 0, over all epochs): constant, or a linear warm-up epoch and a cosine to zero."""
    if config.schedule == "constant":
        return config.lr
    if step < steps_an_epoch and config.epochs > 1:
        return config.lr * (step + 1) / steps_an_epoch
    warmup = steps_an_epoch if config.epochs > 1 else 0
    done = (step - warmup) / (config.epochs * steps_an_epoch - warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))
