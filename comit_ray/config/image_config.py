"""Options of images: the frame of the model, limits before decoding, and how annotated masks are used."""

from typing import Literal, Self

from pydantic import model_validator

from comit_ray.config.config_base import (
    Config,
    PositiveInt,
)


class FrameConfig(Config):
    """The model's frame: what every radiograph is resampled to."""

    size: PositiveInt = 224
    """Side of the square frame in pixels; a multiple of 32."""
    fit: Literal["stretch", "letterbox"] = "stretch"
    """How the original fills the frame: stretch (the paper's) or letterbox (keeps the aspect ratio, black borders)."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.size % 32:
            raise ValueError(f"frame size must be a multiple of 32 (five poolings halve it), got {self.size}")
        return self


class DecodeLimits(Config):
    """Bounds checked before anything is decompressed."""

    max_bytes: PositiveInt = 256 * 2**20
    """Largest file in bytes."""
    max_pixels: PositiveInt = 64 * 2**20
    """Largest image in pixels (rows times columns)."""
    max_decoded_bytes: PositiveInt = 512 * 2**20
    """Largest decompressed size in bytes: deflated DICOM included."""
    min_side: PositiveInt = 32
    """Shortest side in pixels that can still be a radiograph."""


class MasksConfig(Config):
    """What is taken of the annotated masks."""

    lungs: Literal["pixels", "boxes"] = "pixels"
    """Lung masks as drawn, or as the paper's: two solid rectangles, one around each lung."""
