"""Options of the jobs `screen` and `verify`."""

from typing import Annotated, Literal, Self

from pydantic import model_validator

from comit_ray.config.config_base import (
    ADVANCED,
    Backend,
    Config,
    Fraction,
    PositiveInt,
    Precision,
)
from comit_ray.config.image_config import DecodeLimits
from comit_ray.config.manifest_config import MAX_CHANGED_SHARE
from comit_ray.config.monitor_config import MEMORY_GIB, MemoryGib
from comit_ray.config.prepare_config import MAX_FAILED_SHARE, Reasons
from comit_ray.config.queue_config import QueueConfig


class ScreenConfig(Config):
    """Options of `comit-ray screen`."""

    one_of = ("archive", "manifest")

    archive: str | None = None
    """Path or URI of the folder or bucket to screen: DICOM, PNG and JPEG files, loose or in tar and zip files. Its
    manifest is written to OUTPUT/manifest. If the archive grows, run the same command again: it screens what is new."""
    manifest: str | None = None
    """Path or URI of a manifest to screen, instead of an archive."""
    checkpoint: str
    """Path or URI of the trained model, such as runs/first/best."""
    output: str
    """Path or URI for the results: predictions/, masks/, review_queue/, run.json."""
    operating_point: str | None = None
    """Name of the operating point (threshold) that decides the flags. The checkpoint stores them. null: the one that
    the training named (train.flag_point), else specificity_0.90."""
    operating_points: Annotated[str | None, ADVANCED] = None
    """A site's own operating points (JSON file), for scores as they are written; null: those of the checkpoint."""
    temperature: Annotated[Literal["off", "on"], ADVANCED] = "off"
    """on: divides the log-odds of each score by a stored temperature, so that scores are nearer to probabilities for
    data like the validation split. off: scores as the model computes them. Flags stay the same, because the
    checkpoint's thresholds are scaled too. --queue.* options and a site's own operating points apply to the scores
    as written. With a temperature above 1, more images are near the threshold. In YAML write 'on' in quotes."""
    model_change: Annotated[Literal["keep", "rescreen"] | None, ADVANCED] = None
    """What happens to the rows of an output if the checkpoint is another model. keep: they stay, and the new model
    scores new images. rescreen: every image is scored again. Both models are first compared on images that the old
    one scored. null: another model is refused."""
    model_change_sample: Annotated[PositiveInt, ADVANCED] = 500
    """Number of images on which both models are compared."""
    split: Literal["all", "train", "val", "test"] = "all"
    """Screen only this split of the manifest; all: every row."""
    masks: Annotated[Literal["all", "flagged", "none"], ADVANCED] = "all"
    """Which images get masks. flagged: images that are flagged, near a threshold, or in a random 3%; none: no image.
    Scores stay the same, and a screen is up to three times as fast. For images without a mask, areas are null, and
    the queue lacks the reasons no_lungs_found and disease_outside_lungs."""
    embeddings: Annotated[bool, ADVANCED] = False
    """Also write embeddings/, the vectors from which the network computes its scores."""
    gradcam: Annotated[bool, ADVANCED] = False
    """Also write gradcam/: heat maps of the image regions that p_covid and p_unhealthy depend on (Grad-CAM). This needs
    captum (the extra `gradcam`) and a model with a covid or health head. Scores stay the same."""
    variants: Annotated[tuple[Literal["lungs_only", "lungs_removed", "borders_cropped"], ...], ADVANCED] = ()
    """Also write variants/: scores of altered copies of every image, for the shortcut audit of the report. Each variant
    costs one more forward pass. lungs_only and lungs_removed need a model with a lung head."""
    batch_size: Annotated[PositiveInt, ADVANCED] = 32
    """Images per forward pass."""
    predictors: PositiveInt | Literal["auto"] = "auto"
    """Largest number of predictor processes. auto: the job chooses it, and the number of threads, from the cores, GPUs
    and memory of the machine or cluster, and prints it."""
    compact: Annotated[bool, ADVANCED] = False
    """At the end, copy the finished chunks into larger files under OUTPUT/compact."""
    gpu: bool = False
    """Use one GPU per predictor."""
    backend: Backend = "torch"
    """What computes the network. torch: PyTorch. torch-fused: PyTorch with batch norms folded into the convolutions,
    about 1.6 times as fast on CPUs; scores differ in about the sixth digit. openvino: an optimised model for CPUs that
    `comit-ray optimise` stored in the checkpoint. auto: the fastest optimised model that is faster than PyTorch, else
    torch-fused; the choice is printed. Each has another model_id, and an optimised model has its own thresholds."""
    precision: Annotated[Precision | None, ADVANCED] = None
    """Arithmetic of the model. null: float32 with torch, else the fastest stored form."""
    fetch_threads: Annotated[PositiveInt, ADVANCED] = 2
    """Number of threads that fetch and decode images in one reading task."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Limits for images."""
    max_changed_share: Annotated[Fraction, ADVANCED] = MAX_CHANGED_SHARE
    """Refuse an --archive if more than ten files, and more than this share of the known files, have changed or are gone
    since the last screen."""
    retry: Annotated[Reasons, ADVANCED] = ()
    """Read images again that failed for these reasons, such as missing,truncated. Failures of the storage are always
    read again. An image that has a score keeps it."""
    max_failed_share: Annotated[Fraction, ADVANCED] = MAX_FAILED_SHARE
    """If a larger share of the images failed, the exit status is 1, and the job prints what they have in common."""
    on_drift: Literal["warn", "stop"] = "warn"
    """What to do if the archive does not look like the training data. warn: the summary begins with a warning. stop:
    the exit status is also 1, after all tables are written, so that a script does not use the flags unseen."""
    memory_gib: MemoryGib = MEMORY_GIB
    """GiB of memory for the tables while the archive is compared with the training data and the queue is built; what
    does not fit goes to disk (TMPDIR)."""
    queue: QueueConfig = QueueConfig()
    """The review queue."""

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if self.gpu and self.backend not in ("torch", "torch-fused"):
            raise ValueError(f"--backend {self.backend} computes on CPUs: leave out --gpu, or use --backend torch")
        if self.archive and self.manifest:
            raise ValueError(
                "--archive and --manifest exclude each other: give --archive for a folder or bucket of radiographs, or "
                "--manifest for a manifest that exists already"
            )
        if not (self.archive or self.manifest):
            raise ValueError("give --archive, a folder or bucket of radiographs, or --manifest, a manifest of them")
        if self.archive and self.split != "all":
            raise ValueError(f"--split {self.split} needs --manifest: with --archive, every image is screened")
        return self


class VerifyConfig(Config):
    """Options of `comit-ray verify`."""

    results: str
    """Path or URI of a job's output: of a screen, a training table or a manifest."""
