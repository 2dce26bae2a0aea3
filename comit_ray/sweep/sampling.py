"""Points of a random search, drawn before anything runs: the same seed gives the same points, so a study can resume."""

import math
from typing import Any

import numpy as np

from comit_ray.config.sweep_config import DrawConfig, SearchConfig
from comit_ray.errors import ConfigError

TRIES = 100  # draws a point that is wanted, until one is new


def draw(search: SearchConfig) -> list[tuple[str, dict[str, Any]]]:
    """`search.samples` different points: in words, and as dotted options.

    Raises:
        ConfigError: the choices do not have so many.
    """
    rng = np.random.default_rng(search.seed)
    points: list[dict[str, Any]] = []
    for _ in range(TRIES * search.samples):
        options = {option: _value(how, rng) for option, how in search.draw.items()}
        if options not in points:
            points.append(options)
        if len(points) == search.samples:
            return [(_words(options), options) for options in points]
    raise ConfigError(f"search: {search.samples} different points are wanted, and its choices gave {len(points)}")


def _words(options: dict[str, Any]) -> str:
    return ", ".join(
        f"{option}={value:.3g}" if isinstance(value, float) else f"{option}={value}"
        for option, value in options.items()
    )


def _value(how: DrawConfig, rng: np.random.Generator) -> Any:
    if how.choice is not None:
        return how.choice[int(rng.integers(len(how.choice)))]
    if how.log_uniform is not None:
        least, greatest = how.log_uniform
        return float(math.exp(rng.uniform(math.log(least), math.log(greatest))))
    assert how.uniform is not None
    return float(rng.uniform(*how.uniform))
