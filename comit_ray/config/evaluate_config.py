"""Options of the job `evaluate`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from comit_ray.config.config_base import ADVANCED, SENSITIVITIES, AboveZero, Config, PositiveInt
from comit_ray.config.image_config import DecodeLimits, MasksConfig
from comit_ray.config.monitor_config import MEMORY_GIB, MemoryGib
from comit_ray.tables.vocabulary import SPECIFICITIES


class EvaluateConfig(Config):
    """Options of `comit-ray evaluate`."""

    results: str | None = None
    """Path or URI of a screen's output. Give exactly one of results, predictions and study."""
    predictions: str | None = None
    """Path or URI of a predictions table without masks."""
    study: str | None = None
    """Path or URI of a study that the job `sweep` wrote."""
    manifest: str
    """Path or URI of the manifest with labels and mask references."""
    output: str
    """Path or URI for the report: report.html, report.md, metrics.json, tables/, figures/."""
    split: Literal["all", "train", "val", "test"] | None = None
    """Split that is evaluated. null: test, or all of an external archive. A study has its own split."""
    external: bool = False
    """yes for an archive that the model never saw (section 4.4 of the paper). The report then shows found and missed
    cases at the stored operating point, and the readers."""
    reviews: str | None = None
    """A reviews/ table (path or URI): readings of an external archive, or verdicts of the reading room beside
    `results`. Verdicts of the reading room also give the report its chapter "Readers"."""
    severity: str | None = None
    """Path or URI of a CSV with readers' severity scores, for the chapter "Severity" of the report. Columns:
    `image_id`, `severity` from 0 to 18 and, if known, six zones from 0 to 3 (`right_upper`, ..., `left_lower`)."""
    compare: str | None = None
    """Results of another model for the same images, of the same kind (path or URI). The report compares the two image
    by image."""
    specificities: Annotated[tuple[AboveZero, ...], ADVANCED] = SPECIFICITIES
    """Specificities at which sensitivity is reported, with thresholds from the evaluated images; the paper's two."""
    sensitivities: Annotated[tuple[AboveZero, ...], ADVANCED] = SENSITIVITIES
    """Sensitivities at which specificity is reported, with thresholds from the evaluated images."""
    prevalences: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (
        0.01,
        0.05,
        0.10,
        0.20,
    )
    """Shares of positive images, as fractions, for which predictive values and the readers' workload are reported."""
    subgroup_minimum: Annotated[PositiveInt, ADVANCED] = 10
    """Smallest number of patients (with a positive image, and with a negative one) for which a subgroup is reported."""
    draws: Annotated[PositiveInt, ADVANCED] = 1000
    """Number of draws of patients for bootstrap intervals."""
    seed: Annotated[int, ADVANCED] = 0
    """Seed of the draws, and of the choice of images in figures."""
    sheet_images: Annotated[int, Field(ge=0), ADVANCED] = 12
    """Number of radiographs on the sheet of overlays."""
    sheet_seed: Annotated[int, ADVANCED] = 0
    """Seed of the choice of these radiographs."""
    masks: Annotated[MasksConfig, ADVANCED] = MasksConfig()
    """Annotated masks that predicted masks are compared with, as in the training of the model."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Limits for images."""
    memory_gib: MemoryGib = MEMORY_GIB
    """GiB of memory that the tables may take while they are joined; what does not fit goes to disk (TMPDIR). The values
    that metrics need are in memory besides, some 70 bytes an image."""

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        given = [name for name in ("results", "predictions", "study") if getattr(self, name)]
        if len(given) != 1:
            what = " and ".join(f"--{name}" for name in given) or "none"
            raise ValueError(f"give one of --results, --predictions and --study, got {what}")
        if self.study and (self.split or self.external or self.compare):
            raise ValueError(
                "--study excludes --split, --external and --compare: a study has its own split, and its trials are "
                "compared with one another"
            )
        if self.severity and not self.results:
            raise ValueError("--severity needs --results: their lung zones are compared with the readers' scores")
        if self.reviews and not self.external and not self.results:
            raise ValueError("--reviews needs --results, whose queue was read, or --external true")
        return self
