"""Options of the job `export`: which results to send, in which format, to which place."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from comit_ray.config.config_base import ADVANCED, Config, PositiveFloat, PositiveInt
from comit_ray.config.image_config import DecodeLimits

FORMATS = {"seg": 1, "sr": 2, "sc": 3, "gsps": 4, "reviews": 5}
"""Format -> number that is added to the first series number."""


class ExportConfig(Config):
    """Options of `comit-ray export`."""

    results: str
    """Path or URI of a screen's output."""
    manifest: str
    """Path or URI of the manifest that was screened. It says where the images lie; their headers identify the
    patients."""
    format: str = "seg,sr,sc,gsps"
    """Formats to export, separated by commas: seg (segmentation), sr (structured report), sc (secondary capture), gsps
    (presentation state), reviews (readers' verdicts as structured reports). A PNG or JPEG can only have sc."""
    output: str | None = None
    """Path or URI of a directory for the objects. Give either this or --dicomweb."""
    dicomweb: str | None = None
    """URL of a DICOMweb server that stores the objects. Its credentials come from the environment (docs/pacs.md)."""
    select: Literal["queue", "all"] = "queue"
    """queue: images of the review queue only; all: every image of the results."""
    where: str | None = None
    """SQL condition on a row of `predictions` (DuckDB), such as "covid_flag". Only selected images that meet it are
    exported. An image for which the condition is null is left out."""
    reviews: str | None = None
    """Path or URI of the readers' verdicts, a reviews/ table; only for the format reviews."""
    series_description: Annotated[str, Field(min_length=1, max_length=40), ADVANCED] = "COMiT-Net research"
    """Beginning of every series' description. Viewers show it, and administrators find exported series by it."""
    series_number: Annotated[int, Field(ge=1, le=2**31 - 10), ADVANCED] = 9701
    """Series number of seg; sr, sc, gsps and reviews have the next four numbers."""
    workers: Annotated[PositiveInt, ADVANCED] = 2
    """Number of chunks that are exported at the same time."""
    rate: PositiveFloat | None = None
    """Largest number of objects per second, for all workers together; null: no limit."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Limits for images."""

    @property
    def formats(self) -> tuple[str, ...]:
        """The chosen formats, in the order of `FORMATS`."""
        asked = {name.strip() for name in self.format.split(",")}
        return tuple(name for name in FORMATS if name in asked)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unknown = sorted({name.strip() for name in self.format.split(",")} - set(FORMATS))
        if unknown:
            raise ValueError(f"format: expected names of {', '.join(FORMATS)}, got {', '.join(unknown) or 'none'}")
        if (self.output is None) == (self.dicomweb is None):
            raise ValueError("give either --output with a directory, or --dicomweb with the URL of a server")
        if ("reviews" in self.formats) != (self.reviews is not None):
            raise ValueError("--format reviews and --reviews, the URI of the readers' verdicts, go together")
        if self.where is not None and re.search(r"\b(select|from|over)\b", self.where.lower()):
            raise ValueError("--where is a condition on one row of predictions: it cannot look at other rows")
        return self
