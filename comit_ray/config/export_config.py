"""Options of the job `export`: which results to send, in which format, to which place."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from comit_ray.config.config_base import ADVANCED, Config, PositiveFloat, PositiveInt
from comit_ray.config.image_config import DecodeLimits

FORMATS = {"seg": 1, "sr": 2, "sc": 3, "gsps": 4, "reviews": 5}
"""Format -> what is added to the first series number."""


class ExportConfig(Config):
    """`export`."""

    results: str
    """URI of a screening run's output."""
    manifest: str
    """URI of the manifest that was screened: where the images lie, whose headers say whose they are."""
    format: str = "seg,sr,sc,gsps"
    """What is made of each result, comma-separated: seg (segmentation), sr (structured report), sc (secondary capture),
    gsps (presentation state), reviews (readers' verdicts as structured reports). A PNG or JPEG can only have sc."""
    output: str | None = None
    """URI of a directory for the objects; or give --dicomweb."""
    dicomweb: str | None = None
    """URL of a DICOMweb server to store the objects on; who we are comes from the environment (docs/pacs.md)."""
    select: Literal["queue", "all"] = "queue"
    """queue: images of the review queue alone; all: every image of the results."""
    where: str | None = None
    """SQL condition on a row of `predictions` (DuckDB), such as "covid_flag"; of the selected images, those it holds
    for. An image for which it is null is left out."""
    reviews: str | None = None
    """URI of the readers' verdicts, a reviews/ table; for the format reviews."""
    series_description: Annotated[str, Field(min_length=1, max_length=40), ADVANCED] = "COMiT-Net research"
    """Beginning of every series' description: by it a viewer shows, and an administrator finds, what was exported."""
    series_number: Annotated[int, Field(ge=1, le=2**31 - 10), ADVANCED] = 9701
    """Series number of seg; those of sr, sc, gsps and reviews follow."""
    workers: Annotated[PositiveInt, ADVANCED] = 2
    """Chunks that are exported at a time."""
    rate: PositiveFloat | None = None
    """Objects a second at most, all workers together; null: as fast as it goes."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Bounds on images."""

    @property
    def formats(self) -> tuple[str, ...]:
        """Of `FORMATS`, in their order."""
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
