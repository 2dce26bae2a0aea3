"""Options of the review queue and of the job `requeue`: who is read, and how many."""

from typing import Annotated

from pydantic import Field, field_validator

from comit_ray.config.config_base import (
    ADVANCED,
    Config,
    Fraction,
    PositiveInt,
)


class QueueConfig(Config):
    """Who goes to the radiologist. A change rebuilds the queue from the tables, without a pass over the images."""

    capacity: PositiveInt | None = None
    """Images the readers can take; null: all that have a reason."""
    near_threshold: Annotated[float, Field(ge=0), ADVANCED] = 0.5
    """Scores this little below the operating point, in log-odds, are read too; 0.5: at least 0.61 times its odds."""
    covid_but_healthy: Annotated[Fraction, ADVANCED] = 0.5
    """p_unhealthy below this on a flagged image is a disagreement."""
    min_disease_area: Annotated[Fraction, ADVANCED] = 0.002
    """Predicted disease below this fraction of the frame counts as no disease mask."""
    max_disease_outside: Annotated[Fraction, ADVANCED] = 0.5
    """Predicted disease lying outside the predicted lungs beyond this fraction is a disagreement."""
    min_lung_area: Annotated[Fraction, ADVANCED] = 0.05
    """Predicted lung below this fraction of the frame counts as no lungs found."""
    child_age: Annotated[float, Field(ge=0), ADVANCED] = 16
    """Patients younger than this many years are read: the training data hold adults."""
    random_negatives: Annotated[Fraction, ADVANCED] = 0.02
    """Share of the negatives without any other reason that is drawn at random, with its sampling weight."""
    quotas: Annotated[dict[str, Fraction], ADVANCED] = {"random_negative": 0.1, "failed": 0.1}  # noqa: RUF012 pydantic copies it
    """Share of the capacity kept for a reason, whatever the scores of others."""
    seed: Annotated[int, ADVANCED] = 0
    """Seed of the random sample of negatives."""

    @field_validator("quotas")
    @classmethod
    def _quotas(cls, quotas: dict[str, float]) -> dict[str, float]:
        from comit_ray.tables.vocabulary import ReviewReason  # with the tables' columns: `--help` does without them

        unknown = sorted(set(quotas) - set(ReviewReason))
        if unknown:
            raise ValueError(f"quotas: unknown reason {unknown[0]!r}; known: {', '.join(ReviewReason)}")
        if sum(quotas.values()) > 1:
            raise ValueError(f"quotas must sum to at most 1, got {sum(quotas.values()):g}")
        return quotas


class RequeueConfig(Config):
    """`jobs/requeue.py`."""

    results: str
    """URI of a screening run's output."""
    manifest: str
    """URI of the manifest that was screened."""
    queue: QueueConfig = QueueConfig()
    """The review queue."""
