"""Options of the job `evaluate`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from comit_ray.config.config_base import (
    ADVANCED,
    SENSITIVITIES,
    SPECIFICITIES,
    AboveZero,
    Config,
    PositiveInt,
)
from comit_ray.config.image_config import DecodeLimits, MasksConfig


class EvaluateConfig(Config):
    """`jobs/evaluate.py`."""

    results: str | None = None
    """URI of a screening run's output. Exactly one of results, predictions and study is needed."""
    predictions: str | None = None
    """URI of a bare predictions table, without masks beside it."""
    study: str | None = None
    """URI of a study, as jobs/sweep.py writes it."""
    manifest: str
    """URI of the manifest that holds labels and mask references."""
    output: str
    """URI of the report to write: report.md, metrics.json, tables/, figures/."""
    split: Literal["all", "train", "val", "test"] | None = None
    """Split that is scored; null: test, or all of an external archive. A study has its own."""
    external: bool = False
    """The model never saw this archive (section 4.4): found and missed at the frozen operating point, and readers."""
    reviews: str | None = None
    """URI of a reviews/ table: readings of an external archive, or those of the reading room that lie beside `results`;
    these also make the chapter "Readers" of the report."""
    compare: str | None = None
    """URI of what another model gave for the same images, of the same kind: the two are compared, image by image."""
    specificities: Annotated[tuple[AboveZero, ...], ADVANCED] = SPECIFICITIES
    """Specificities at which sensitivity and the like are given, thresholds from the scored images; the paper's two."""
    sensitivities: Annotated[tuple[AboveZero, ...], ADVANCED] = SENSITIVITIES
    """Sensitivities at which specificity is given, thresholds from the scored images."""
    prevalences: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (
        0.01,
        0.05,
        0.10,
        0.20,
    )
    """Shares of images that are positive, as fractions, at which predictive values and readers' work are given."""
    subgroup_minimum: Annotated[PositiveInt, ADVANCED] = 10
    """Fewest patients (with a positive image, with a negative one) of whom figures of a subgroup are given."""
    draws: Annotated[PositiveInt, ADVANCED] = 1000
    """Draws of patients for every bootstrap interval."""
    seed: Annotated[int, ADVANCED] = 0
    """Seed of the draws, and of the choice of images in figures."""
    sheet_images: Annotated[int, Field(ge=0), ADVANCED] = 12
    """Radiographs on the sheet of overlays."""
    sheet_seed: Annotated[int, ADVANCED] = 0
    """Seed of their choice."""
    masks: Annotated[MasksConfig, ADVANCED] = MasksConfig()
    """The true masks that predicted ones are compared with: as the model was trained."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Bounds on images."""

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        given = [name for name in ("results", "predictions", "study") if getattr(self, name)]
        if len(given) != 1:
            what = " and ".join(f"--{name}" for name in given) or "none"
            raise ValueError(f"give one of --results, --predictions and --study, got {what}")
        if self.study and (self.split or self.external or self.compare):
            raise ValueError(
                "--study goes without --split, --external and --compare: its trials scored a split of their own, and "
                "are compared with one another"
            )
        if self.reviews and not self.external and not self.results:
            raise ValueError("--reviews go with --results, whose queue was read, or with --external true")
        return self
