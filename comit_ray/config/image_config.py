"""Options of images: the frame of the model, limits before decoding, and how annotated masks are used."""

from typing import Any, Literal, Self

from pydantic import model_validator

from comit_ray.config.config_base import (
    Config,
    PositiveFloat,
    PositiveInt,
)


class FrameConfig(Config):
    """The frame of the model: the size that every radiograph is resampled to."""

    size: PositiveInt = 224
    """Side of the square frame in pixels; a multiple of 32."""
    fit: Literal["stretch", "letterbox"] = "stretch"
    """How a radiograph fills the frame: stretch (as in the paper), or letterbox (keeps the aspect ratio, black
    borders)."""
    equalise: Literal["none", "histogram", "clahe"] = "none"
    """Change of the grey values. none: as decoded, as in the paper; histogram: equalised over the whole frame; clahe:
    equalised by tiles with limited contrast. The checkpoint stores this option, and every job that uses it does the
    same."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.size % 32:
            raise ValueError(f"frame size must be a multiple of 32 (five poolings halve it), got {self.size}")
        return self


class DecodeLimits(Config):
    """Limits that are checked before a file is decompressed, and limits of the process that decodes it."""

    max_bytes: PositiveInt = 256 * 2**20
    """Largest file in bytes."""
    max_pixels: PositiveInt = 64 * 2**20
    """Largest image in pixels (rows times columns)."""
    max_decoded_bytes: PositiveInt = 512 * 2**20
    """Largest decompressed size in bytes, also for deflated DICOM."""
    min_side: PositiveInt = 32
    """Shortest side in pixels that a radiograph may have."""
    max_seconds: PositiveFloat = 30.0
    """Longest CPU time in seconds for decoding one image. By the clock, the limit is twenty times as long. A file over
    the limit is tried twice."""
    max_memory: PositiveInt = 2**30
    """Most memory in bytes that decoding one image may take, in addition to the libraries."""
    processes: bool = True
    """Decode in separate processes, so that a file that crashes or stalls its decoder costs one row only."""
    reduce: bool = False
    """Decode JPEG 2000 at a half, a quarter or an eighth of its size where the frame needs no more. This is several
    times as fast, and scores differ a little (docs/sizing.md)."""

    def question(self) -> dict[str, Any]:
        """Return the limits that decide which images are read, as `run.json` stores them.

        Limits of time, memory and processes are left out. `reduce` is named only if it is on, so that older runs can
        continue.
        """
        left_out = {"max_seconds", "max_memory", "processes"} | (set() if self.reduce else {"reduce"})
        return self.model_dump(exclude=left_out)


class MasksConfig(Config):
    """How annotated masks are used."""

    lungs: Literal["pixels", "boxes"] = "pixels"
    """pixels: lung masks as drawn; boxes: two solid rectangles, one around each lung, as in the paper."""
