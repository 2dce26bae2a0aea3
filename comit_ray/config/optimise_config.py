"""Options of the job `optimise`: the forms of a model to make, the data that measure them, and allowed differences."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from comit_ray.config.config_base import ADVANCED, Config, Fraction, PositiveInt


class BoundsConfig(Config):
    """Largest differences that an optimised model may have from PyTorch in float32, on the validation images."""

    flags: Fraction = 0.005
    """Largest share of images whose flag differs at an operating point, after thresholds are chosen anew."""
    score: Fraction = 0.02
    """Largest difference of a score, at the 99th percentile of the images."""
    auroc: Fraction = 0.002
    """Largest loss of AUROC, for any score."""
    lung_iou: Fraction = 0.98
    """Smallest mean IoU (overlap) of the two lung masks."""
    disease_iou: Fraction = 0.95
    """Smallest mean IoU (overlap) of the two disease masks, over images where at least one of them is not empty."""


class OptimiseConfig(Config):
    """Options of `comit-ray optimise`."""

    checkpoint: str
    """Path or URI of the checkpoint. The optimised models are stored in it, as optimised/."""
    data: str
    """Path or URI of a training table (job `prepare`). Its training images give the value ranges for int8; changes are
    measured on its validation images."""
    precisions: tuple[Literal["int8", "bfloat16", "float32"], ...] = ("int8", "float32")
    """Forms to make. Each is stored only if its differences are within the bounds."""
    bounds: BoundsConfig = BoundsConfig()
    """Allowed differences."""
    images: Annotated[PositiveInt, ADVANCED] = 300
    """Number of training images, drawn at random, that give the value ranges for int8."""
    threads: Annotated[PositiveInt | None, ADVANCED] = None
    """Number of threads that predict during the measurement; null: one per core."""
    seed: Annotated[int, Field(ge=0), ADVANCED] = 0
    """Seed of the random draw."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.precisions or len(set(self.precisions)) != len(self.precisions):
            raise ValueError(f"precisions: expected one or more values, none twice, got {list(self.precisions)}")
        return self
