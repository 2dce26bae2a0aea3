"""Layers that several networks share."""

from torch import Tensor, nn

from comit_ray.errors import ConfigError
from comit_ray.models.outputs import within_unhealthy

BRANCH_WIDTHS = (256, 128)
"""Hidden sizes of the classification branches. They are ours: the paper gives only their depth (three layers)."""


def scaled(channels: int, width: float) -> int:
    """Returns `channels` times `width`, rounded, at least 1."""
    return max(1, round(channels * width))


def conv_layer(inputs: int, outputs: int) -> nn.Sequential:
    """Returns a 3x3 convolution that keeps the size, batch normalisation, and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Branch(nn.Sequential):
    """Three fully connected layers on the embedding: ReLU, ReLU, two logits (section 2.2)."""

    def __init__(self, inputs: int, width: float) -> None:
        first, second = (scaled(size, width) for size in BRANCH_WIDTHS)
        super().__init__(
            nn.Linear(inputs, first),
            nn.ReLU(inplace=True),
            nn.Linear(first, second),
            nn.ReLU(inplace=True),
            nn.Linear(second, 2),
        )
        self.apply(he_initialise)


class Branches(nn.Module):
    """A network's branches: `health` and `covid`, each a `Branch` or None.

    Attributes:
        within_unhealthy: whether the COVID-19 branch knows unhealthy images alone, so that its scores, but not what it
            is trained by, are multiplied by that of unhealthy (`comit_ray.models.outputs.within_unhealthy`).
    """

    within_unhealthy = False
    health: Branch | None
    covid: Branch | None

    def branch_logits(self, embedding_BE: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Returns (B, 2) logits of health and of COVID-19, from (B, E) embeddings; None without the branch."""
        health_B2 = self.health(embedding_BE) if self.health else None
        covid_B2 = self.covid(embedding_BE) if self.covid else None
        if self.within_unhealthy and not self.training and health_B2 is not None and covid_B2 is not None:
            covid_B2 = within_unhealthy(covid_B2, health_B2)
        return health_B2, covid_B2


def he_initialise(module: nn.Module) -> None:
    """Applies He initialisation for layers before a ReLU, as in torchvision's VGG."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(
            module.weight, mode="fan_out" if isinstance(module, nn.Conv2d) else "fan_in", nonlinearity="relu"
        )
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def check_sides(x_B3HW: Tensor, multiple: int, least: int | None = None) -> None:
    """Refuses a batch whose sides the network's strides do not divide.

    Args:
        x_B3HW: the batch.
        multiple: both sides must be a multiple of this many pixels.
        least: smallest side in pixels; None: `multiple`.

    Raises:
        ConfigError: a side is not a multiple, or shorter than `least`.
    """
    height, width = x_B3HW.shape[-2:]
    least = least or multiple
    if height % multiple or width % multiple or min(height, width) < least:
        at_least = f", at least {least}" if least > multiple else ""
        raise ConfigError(f"the input's sides must be multiples of {multiple} pixels{at_least}, got {height}x{width}")
