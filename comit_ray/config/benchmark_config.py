"""Options of the job `benchmark`."""

from typing import Annotated, Literal

from pydantic import Field

from comit_ray.config.config_base import (
    ADVANCED,
    Config,
    PositiveInt,
)
from comit_ray.config.image_config import DecodeLimits


class BenchmarkConfig(Config):
    """`jobs/benchmark.py`."""

    checkpoint: str
    """Path or URI of the trained model."""
    output: str
    """A new directory (path or URI) for the benchmark's manifests, screens and benchmark.json."""
    manifest: str | None = None
    """Manifest of the archive to screen; null: synthetic radiographs are drawn."""
    images: Annotated[int, Field(ge=64)] = 512
    """Number of images to screen, drawn at random from the manifest."""
    chunk_rows: Annotated[PositiveInt, ADVANCED] = 32
    """Images per chunk: fewer than in a screen, so that there are enough chunks to keep every process busy."""
    project: tuple[PositiveInt, ...] = (56_000, 10_000_000)
    """Numbers of images for which hours (and cost) are projected."""
    cost_per_hour: Annotated[float, Field(ge=0)] | None = None
    """Cost of the whole cluster per hour, in any currency; null: no cost is projected."""
    machines: str | None = None
    """URI of a YAML of machine types that you keep, NAME: {cpus: 16, gpus: 0, price_per_hour: 0.80}; for each the price
    of a million radiographs is projected. Cores are taken for equal to those of this cluster."""
    backend: Literal["torch", "torch-fused", "openvino", "auto"] = "torch"
    """As in `screen`. The bare network is timed with every optimised model that lies beside the checkpoint, too."""
    precision: Annotated[Literal["float32", "bfloat16", "int8"] | None, ADVANCED] = None
    """As in `screen`."""
    batch_size: Annotated[PositiveInt, ADVANCED] = 32
    """Images per forward pass."""
    predictors: PositiveInt | Literal["auto"] = "auto"
    """Number of predictor processes; auto: as many as a screen would start."""
    gpu: bool = False
    """Use one GPU per predictor."""
    fetch_threads: Annotated[PositiveInt, ADVANCED] = 2
    """Threads of one reading task that fetch and decode images."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Limits for images."""
    seed: Annotated[int, ADVANCED] = 0
    """Seed of the random draw of images."""
