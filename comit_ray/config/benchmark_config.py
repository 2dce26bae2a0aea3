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
    """URI of the checkpoint."""
    output: str
    """URI of a new directory: the benchmark's manifests and screens, and benchmark.json."""
    manifest: str | None = None
    """URI of the manifest of the archive that is to be screened; null: an archive of phantoms is drawn."""
    images: Annotated[int, Field(ge=64)] = 512
    """Images that are screened, drawn at random from the manifest."""
    chunk_rows: Annotated[PositiveInt, ADVANCED] = 32
    """Images of a chunk: fewer than a screen's, so that there are enough to keep every process busy."""
    project: tuple[PositiveInt, ...] = (56_000, 10_000_000)
    """Numbers of images to project hours (and cost) for."""
    cost_per_hour: Annotated[float, Field(ge=0)] | None = None
    """Of the whole cluster, in any currency; null: no cost is projected."""
    batch_size: Annotated[PositiveInt, ADVANCED] = 32
    """Images a forward pass."""
    predictors: PositiveInt | Literal["auto"] = "auto"
    """Predictor actors; auto: as many as a screen would start."""
    gpu: bool = False
    """One GPU a predictor."""
    fetch_threads: Annotated[PositiveInt, ADVANCED] = 2
    """Threads that fetch and decode in one reading task."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Bounds on images."""
    seed: Annotated[int, ADVANCED] = 0
    """Seed of the draw."""
