"""Options of the job `optimise`: which form of a model is made, on what it is measured, and what it may differ by."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from comit_ray.config.config_base import ADVANCED, Config, Fraction, PositiveInt


class BoundsConfig(Config):
    """What an optimised model may differ by from PyTorch in float32, on the validation images."""

    flags: Fraction = 0.005
    """Most images, as a share, whose flag differs at an operating point, with thresholds chosen anew."""
    score: Fraction = 0.02
    """Most that a score differs by, at the 99th percentile of the images."""
    auroc: Fraction = 0.002
    """Most AUROC that is lost, of any score."""
    lung_iou: Fraction = 0.98
    """Least mean IoU of the two lung masks."""
    disease_iou: Fraction = 0.95
    """Least mean IoU of the two disease masks, of images where either has one."""


class OptimiseConfig(Config):
    """`jobs/optimise.py`."""

    checkpoint: str
    """URI of the checkpoint; the optimised models are stored in it, as optimised/."""
    data: str
    """URI of the training table that `jobs/prepare.py` wrote: ranges are taken of its training images, and changes
    measured on its validation images."""
    precisions: tuple[Literal["int8", "bfloat16", "float32"], ...] = ("int8", "float32")
    """Forms that are made; each is stored only if it is within the bounds."""
    bounds: BoundsConfig = BoundsConfig()
    """What they may differ by."""
    images: Annotated[PositiveInt, ADVANCED] = 300
    """Training images that int8 ranges are taken of, drawn at random."""
    threads: Annotated[PositiveInt | None, ADVANCED] = None
    """Threads that predict while it is measured; null: one a core."""
    seed: Annotated[int, Field(ge=0), ADVANCED] = 0
    """Seed of the draw."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.precisions or len(set(self.precisions)) != len(self.precisions):
            raise ValueError(f"precisions must be at least one, none twice, got {list(self.precisions)}")
        return self
