"""Options of the jobs `screen` and `verify`."""

from typing import Annotated, Literal, Self

from pydantic import model_validator

from comit_ray.config.config_base import (
    ADVANCED,
    SPECIFICITY,
    Config,
    Fraction,
    PositiveInt,
    operating_point_name,
)
from comit_ray.config.image_config import DecodeLimits
from comit_ray.config.prepare_config import MAX_FAILED_SHARE, Reasons
from comit_ray.config.queue_config import QueueConfig


class ScreenConfig(Config):
    """`jobs/screen.py`."""

    one_of = ("archive", "manifest")

    archive: str | None = None
    """URI of the folder or bucket to screen: DICOM, PNG and JPEG files, loose or in tar and zip files. Its manifest is
    made at OUTPUT/manifest."""
    manifest: str | None = None
    """URI of a manifest to screen, instead of an archive."""
    checkpoint: str
    """URI of the checkpoint."""
    output: str
    """URI of the results: predictions/, masks/, review_queue/, run.json."""
    operating_point: str = operating_point_name(SPECIFICITY)
    """Name of the operating point, as stored in the checkpoint, that decides the flags."""
    operating_points: Annotated[str | None, ADVANCED] = None
    """URI of a site's own operating points (JSON), meant for the scores as they are written; null: those of the
    checkpoint."""
    temperature: Annotated[Literal["off", "on"], ADVANCED] = "off"
    """on: log-odds of every score are divided by the checkpoint's temperature for it, so that scores are nearer to
    probabilities in data like its validation split; off: scores as the model gives them. The checkpoint's thresholds
    are brought to the same scale, so flags stay; --queue.* options and a site's own operating points are taken as meant
    for the scores as written (a temperature above 1 brings more images near the threshold). In YAML: 'on', quoted."""
    split: Literal["all", "train", "val", "test"] = "all"
    """Screen only this split of the manifest; all: every row."""
    masks: Annotated[Literal["all", "flagged", "none"], ADVANCED] = "all"
    """Of which images masks are made. flagged: those that are flagged, near a threshold, or drawn at random (3%); none:
    of none. Scores are the same, and a screen is up to three times as fast. Of the others nothing that a mask tells is
    judged: areas are null, and no_lungs_found and disease_outside_lungs are not among the queue's reasons."""
    embeddings: Annotated[bool, ADVANCED] = False
    """Write embeddings/ too."""
    gradcam: Annotated[bool, ADVANCED] = False
    """Write gradcam/ too: heat maps of where in an image p_covid and p_unhealthy come from (Grad-CAM). Needs captum
    (the extra `gradcam`) and a model with a covid or health head; scores stay as they are."""
    variants: Annotated[tuple[Literal["lungs_only", "lungs_removed", "borders_cropped"], ...], ADVANCED] = ()
    """Write variants/ too: the scores of altered copies of every image, for the report's audit of shortcuts. Each costs
    a forward pass; those of the lungs need a model with a lung head."""
    batch_size: Annotated[PositiveInt, ADVANCED] = 32
    """Images a forward pass."""
    predictors: PositiveInt | Literal["auto"] = "auto"
    """Predictor actors at most; fewer where the cluster has no room for them, or reading does not keep up. auto: chosen
    with their threads, readers and writers from the cores, GPUs and memory that are there, and printed."""
    compact: Annotated[bool, ADVANCED] = False
    """At the end, copy the finished chunks into larger files under OUTPUT/compact (a local OUTPUT only)."""
    gpu: bool = False
    """One GPU a predictor."""
    fetch_threads: Annotated[PositiveInt, ADVANCED] = 2
    """Threads that fetch and decode in one reading task."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Bounds on images."""
    retry: Annotated[Reasons, ADVANCED] = ()
    """Reasons of failed images that are read again, such as missing,truncated. What the storage refused is read again
    without being named. An image that was scored keeps its scores."""
    max_failed_share: Annotated[Fraction, ADVANCED] = MAX_FAILED_SHARE
    """If more than this share of the images failed, the exit status is 1, and what they have in common is printed."""
    queue: QueueConfig = QueueConfig()
    """The review queue."""

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if self.archive and self.manifest:
            raise ValueError(
                "--archive and --manifest exclude each other: give --archive for a folder or bucket of radiographs, or "
                "--manifest for a manifest that is there already"
            )
        if not (self.archive or self.manifest):
            raise ValueError("give --archive, a folder or bucket of radiographs, or --manifest, a manifest of them")
        if self.archive and self.split != "all":
            raise ValueError(f"--split {self.split} needs --manifest: of an --archive every image is screened")
        return self


class VerifyConfig(Config):
    """`jobs/verify.py`."""

    results: str
    """URI of what a job wrote: a screen, a training table, a manifest."""
