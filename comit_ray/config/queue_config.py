"""Options of the review queue and of the job `requeue`: which images are read, and how many."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, field_validator

from comit_ray.config.config_base import (
    ADVANCED,
    Config,
    Fraction,
    PositiveInt,
)
from comit_ray.config.monitor_config import MEMORY_GIB, MemoryGib


class QueueConfig(Config):
    """Which images go to the radiologist. A change rebuilds the queue from the tables, without reading images again."""

    capacity: PositiveInt | None = None
    """Number of images that readers can take, per night in a nightly programme; null: all images with a reason."""
    since: str | None = None
    """Day, such as 2026-11-30. queue.csv then lists only images that came on this day or later; null: all unread
    images."""
    near_threshold: Annotated[float, Field(ge=0), ADVANCED] = 0.5
    """Also read images whose score is this close below the operating point, in log-odds. 0.5 means odds of at least
    0.61 times those of the threshold."""
    covid_but_healthy: Annotated[Fraction, ADVANCED] = 0.5
    """A flagged image with p_unhealthy below this counts as a disagreement."""
    min_disease_area: Annotated[Fraction, ADVANCED] = 0.002
    """Predicted disease smaller than this fraction of the frame counts as no disease."""
    max_disease_outside: Annotated[Fraction, ADVANCED] = 0.5
    """If more than this fraction of the predicted disease lies outside the predicted lungs, it counts as a
    disagreement."""
    min_lung_area: Annotated[Fraction, ADVANCED] = 0.05
    """Predicted lungs smaller than this fraction of the frame count as no lungs found."""
    min_frontal_chest: Annotated[Fraction, ADVANCED] = 0.5
    """Images with p_frontal_chest below this are read, because they may not be a frontal chest. 0 turns this reason
    off."""
    child_age: Annotated[float, Field(ge=0), ADVANCED] = 16
    """Patients younger than this, in years, are always read, because the training data hold mainly adults."""
    random_negatives: Annotated[Fraction, ADVANCED] = 0.02
    """Share of images without another reason that is read at random, with a sampling weight."""
    quotas: Annotated[dict[str, Fraction], ADVANCED] = {"random_negative": 0.1, "failed": 0.1}  # noqa: RUF012 pydantic copies it
    """Share of the capacity that is reserved for a reason, whatever the scores of other images."""
    order: Literal["urgency", "severity"] = "urgency"
    """What is read first. urgency: the most urgent reason, and within one reason the highest score. severity: the
    greatest extent of disease in the lungs (the column severity), whatever the reason."""
    untrusted: Literal["ranked", "random", "all"] = "ranked"
    """The queue of an archive that does not look like the training data, so that its flags are not trusted. ranked: as
    always. random: scored images in random order, so that the capacity cuts an unbiased sample. all: every scored
    image, those without another reason last."""
    seed: Annotated[int, ADVANCED] = 0
    """Seed of the random sample of negatives, and of the random order."""

    @field_validator("since")
    @classmethod
    def _a_day(cls, since: str | None) -> str | None:
        try:
            return since and date.fromisoformat(since).isoformat()
        except ValueError:
            raise ValueError(f"expected a day such as 2026-11-30, got {since!r}") from None

    @field_validator("quotas")
    @classmethod
    def _quotas(cls, quotas: dict[str, float]) -> dict[str, float]:
        from comit_ray.tables.vocabulary import ReviewReason  # loads the tables' columns, which `--help` does not need

        unknown = sorted(set(quotas) - set(ReviewReason))
        if unknown:
            raise ValueError(f"quotas: unknown reason {unknown[0]!r}; known: {', '.join(ReviewReason)}")
        if sum(quotas.values()) > 1:
            raise ValueError(f"quotas must sum to at most 1, got {sum(quotas.values()):g}")
        return quotas


class RequeueConfig(Config):
    """Options of `comit-ray requeue`."""

    results: str
    """Path or URI of a screen's output."""
    manifest: str
    """Path or URI of the manifest that was screened."""
    queue: QueueConfig = QueueConfig()
    """The review queue."""
    memory_gib: MemoryGib = MEMORY_GIB
    """GiB of memory that the tables may take; what does not fit goes to disk (TMPDIR)."""
