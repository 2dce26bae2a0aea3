"""Options of the jobs `phantom` and `demo`, which make synthetic radiographs."""

from typing import Annotated

from pydantic import Field

from comit_ray.config.config_base import (
    ADVANCED,
    Config,
    PositiveInt,
)


class PhantomConfig(Config):
    """`jobs/phantom.py`."""

    output: str
    """URI of the archive to write; must be empty."""
    count: PositiveInt = 300
    """Files of the archive, a dozen broken and alien ones included."""
    seed: Annotated[int, Field(ge=0), ADVANCED] = 0
    """Seed of everything; the same count and seed give the same bytes."""


class DemoConfig(Config):
    """`jobs/demo.py`."""

    output: str = "build/demo"
    """Local directory for everything the demo makes."""
    count: PositiveInt = 300
    """Phantom radiographs in the archive."""
    seed: Annotated[int, Field(ge=0), ADVANCED] = 0
    """Seed of the phantoms."""
