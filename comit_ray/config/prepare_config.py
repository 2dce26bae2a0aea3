"""Options of the job `prepare`, and options for failed images that a screen has too."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from comit_ray.config.config_base import (
    ADVANCED,
    Config,
    Fraction,
    PositiveInt,
)
from comit_ray.config.image_config import DecodeLimits
from comit_ray.errors import FAILURES

MAX_FAILED_SHARE = 0.05


def _failures(reasons: tuple[str, ...]) -> tuple[str, ...]:
    unknown = sorted(set(reasons) - set(map(str, FAILURES)))
    if unknown:
        raise ValueError(f"expected reasons of failed images ({', '.join(FAILURES)}), got {unknown[0]!r}")
    return reasons


Reasons = Annotated[tuple[str, ...], AfterValidator(_failures)]
"""Reasons of failed images (`comit_ray.errors.Reason`)."""


class PrepareConfig(Config):
    """Options of `comit-ray prepare`."""

    manifest: str
    """Path or URI of the manifest."""
    output: str
    """Path or URI for the training table: images/ and run.json."""
    format: Annotated[Literal["png", "webp"], ADVANCED] = "png"
    """Lossless format of the pixels: png, or webp (smaller, slower to write)."""
    threads: Annotated[PositiveInt, ADVANCED] = 2
    """Number of threads that fetch and decode images in one reading task."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Limits for images."""
    retry: Annotated[Reasons, ADVANCED] = ()
    """Read images again that failed for these reasons, such as missing,truncated. Failures of the storage are always
    read again. An image that was decoded stays as it is."""
    max_failed_share: Annotated[Fraction, ADVANCED] = MAX_FAILED_SHARE
    """If a larger share of the images failed, the exit status is 1, and the job prints what they have in common."""
