"""Options of the job `benchmark`."""

from typing import Annotated, Literal

from pydantic import Field

from comit_ray.config.config_base import (
    ADVANCED,
    Backend,
    Config,
    PositiveInt,
    Precision,
)
from comit_ray.config.image_config import DecodeLimits


class BenchmarkConfig(Config):
    """Options of `comit-ray benchmark`."""

    checkpoint: str
    """Path or URI of the trained model."""
    output: str
    """A new directory (path or URI) for the benchmark's manifests, screens and benchmark.json."""
    manifest: str | None = None
    """Manifest of the archive to screen; null: synthetic radiographs are drawn."""
    images: Annotated[int, Field(ge=64)] = 512
    """Number of images to screen, drawn at random from the manifest."""
    chunk_rows: Annotated[PositiveInt, ADVANCED] = 32
    """Images per chunk. Smaller than in a screen, so that there are enough chunks to keep every process busy."""
    project: tuple[PositiveInt, ...] = (56_000, 10_000_000)
    """Numbers of images for which the hours (and the cost) are projected."""
    cost_per_hour: Annotated[float, Field(ge=0)] | None = None
    """Cost of the whole cluster per hour, in any currency; null: no cost is projected."""
    machines: str | None = None
    """Path or URI of a YAML of machine types, NAME: {cpus: 16, gpus: 0, price_per_hour: 0.80}. For each type, the price
    of a million radiographs is projected. The projection assumes that its cores are as fast as those of this
    cluster."""
    backend: Backend = "torch"
    """As in `screen`. The network alone is also timed with every optimised model that the checkpoint has."""
    precision: Annotated[Precision | None, ADVANCED] = None
    """As in `screen`."""
    batch_size: Annotated[PositiveInt, ADVANCED] = 32
    """Images per forward pass."""
    predictors: PositiveInt | Literal["auto"] = "auto"
    """Number of predictor processes. auto: as many as a screen would start."""
    gpu: bool = False
    """Use one GPU per predictor."""
    fetch_threads: Annotated[PositiveInt, ADVANCED] = 2
    """Number of threads that fetch and decode images in one reading task."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Limits for images."""
    seed: Annotated[int, ADVANCED] = 0
    """Seed of the random draw of images."""
