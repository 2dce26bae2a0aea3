"""Options of the jobs `phantom` and `demo`, which make synthetic radiographs."""

from typing import Annotated

from pydantic import Field

from comit_ray.config.config_base import (
    ADVANCED,
    Config,
    PositiveInt,
)


class PhantomConfig(Config):
    """Options of `comit-ray phantom`."""

    output: str
    """Path or URI for the archive; the directory must be empty."""
    count: PositiveInt = 300
    """Number of files, including about a dozen broken and foreign ones."""
    seed: Annotated[int, Field(ge=0), ADVANCED] = 0
    """Seed of all random numbers; the same count and seed give the same bytes."""


class DemoConfig(Config):
    """Options of `comit-ray demo`."""

    output: str = "build/demo"
    """Local directory for everything that the demo makes."""
    count: PositiveInt = 300
    """Number of synthetic radiographs."""
    epochs: PositiveInt | None = None
    """Epochs of the training. null: as many as the configuration `demo` says."""
    seed: Annotated[int, Field(ge=0), ADVANCED] = 0
    """Seed of the synthetic radiographs."""
