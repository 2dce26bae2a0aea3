"""Options of the throughput benchmark."""

from typing import Annotated

from pydantic import Field

from comit_ray.config import DecodeLimits
from comit_ray.config_base import Config, PositiveInt


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
    chunk_rows: PositiveInt = 32
    """Images of a chunk: fewer than a screen's, so that there are enough to keep every process busy."""
    project: tuple[PositiveInt, ...] = (56_000, 10_000_000)
    """Numbers of images to project hours (and cost) for."""
    cost_per_hour: Annotated[float, Field(ge=0)] | None = None
    """Of the whole cluster, in any currency; null: no cost is projected."""
    batch_size: PositiveInt = 32
    """Images a forward pass."""
    predictors: PositiveInt = 1
    """Predictor actors."""
    gpu: bool = False
    """One GPU a predictor."""
    fetch_threads: PositiveInt = 2
    """Threads that fetch and decode in one reading task."""
    decode: DecodeLimits = DecodeLimits()
    """Bounds on images."""
    seed: int = 0
    """Seed of the draw."""
