"""Models by name."""

from collections.abc import Callable
from typing import Any

from torch import nn

from comit_ray.errors import ConfigError
from comit_ray.models.comit import COMiTNet
from comit_ray.train_config import ModelConfig

MODELS: dict[str, Callable[..., nn.Module]] = {"comit_net": COMiTNet}
"""Each takes `tasks` and `width` and returns a `ModelOutput` from a normalised (B, 3, H, W) batch."""


def build_model(config: ModelConfig) -> nn.Module:
    """The network of `config` with random weights; `comit_ray.models.weights.load_pretrained` gives it others.

    Raises:
        ConfigError: if no model has that name.
    """
    try:
        model = MODELS[config.name]
    except KeyError:
        raise ConfigError(f"model.name: unknown model {config.name!r}; known: {', '.join(sorted(MODELS))}") from None
    options: dict[str, Any] = {"tasks": config.tasks, "width": config.width}
    return model(**options)
