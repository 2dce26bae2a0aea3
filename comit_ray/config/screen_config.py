"""Options of the jobs that give scores: screen, its review queue (`QueueConfig`), requeue, benchmark, classifiers.

Each has its default and range, and unknown keys are refused. Of the classifiers on embeddings the paper names the
methods (section 4.2, Table 4) and gives none of their hyperparameters: the defaults are scikit-learn's. The text under
a field is what `--help` prints.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from comit_ray.config.config_base import (
    ADVANCED,
    SPECIFICITIES,
    SPECIFICITY,
    AboveZero,
    Config,
    Fraction,
    PositiveFloat,
    PositiveInt,
    operating_point_name,
)
from comit_ray.config.data_config import MAX_FAILED_SHARE, DecodeLimits, Reasons


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


class RequeueConfig(Config):
    """`jobs/requeue.py`."""

    results: str
    """URI of a screening run's output."""
    manifest: str
    """URI of the manifest that was screened."""
    queue: QueueConfig = QueueConfig()
    """The review queue."""


class VerifyConfig(Config):
    """`jobs/verify.py`."""

    results: str
    """URI of what a job wrote: a screen, a training table, a manifest."""


class BenchmarkConfig(Config):
    """`jobs/benchmark.py`."""

    checkpoint: str
    """URI of the checkpoint."""
    output: str
    """URI of a new directory: the benchmark's manifests and screens, and benchmark.json."""
    manifest: str | None = None
    """URI of the manifest of the archive that is to be screened; null: an archive of phantoms is drawn."""
    images: Annotated[int, Field(ge=64)] = 512
    """Images that are screened, drawn at random from the manifest."""
    chunk_rows: Annotated[PositiveInt, ADVANCED] = 32
    """Images of a chunk: fewer than a screen's, so that there are enough to keep every process busy."""
    project: tuple[PositiveInt, ...] = (56_000, 10_000_000)
    """Numbers of images to project hours (and cost) for."""
    cost_per_hour: Annotated[float, Field(ge=0)] | None = None
    """Of the whole cluster, in any currency; null: no cost is projected."""
    batch_size: Annotated[PositiveInt, ADVANCED] = 32
    """Images a forward pass."""
    predictors: PositiveInt | Literal["auto"] = "auto"
    """Predictor actors; auto: as many as a screen would start."""
    gpu: bool = False
    """One GPU a predictor."""
    fetch_threads: Annotated[PositiveInt, ADVANCED] = 2
    """Threads that fetch and decode in one reading task."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Bounds on images."""
    seed: Annotated[int, ADVANCED] = 0
    """Seed of the draw."""


LabelName = Literal["covid", "unhealthy"]
"""Labels of the manifest that a classifier is fitted to; its score is `p_covid` or `p_unhealthy`."""


class MethodConfig(Config):
    """The method, and what it is fitted with; options of another method are left aside."""

    name: Literal["random_forest", "svm_sigmoid", "svm_gaussian", "svm_rbf"] = "svm_rbf"
    """random_forest, or a support vector machine by its kernel. svm_gaussian and svm_rbf are the same kernel under two
    names: the paper lists both, with equal figures."""
    trees: Annotated[PositiveInt, ADVANCED] = 100
    """Trees of random_forest. Fully grown, they give trees + 1 different scores at most."""
    cost: Annotated[PositiveFloat, ADVANCED] = 1.0
    """C of the support vector machines: what a training image on the wrong side costs."""
    gamma: Annotated[PositiveFloat | Literal["scale"], ADVANCED] = "scale"
    """Kernel coefficient; scale: 1 / (width of the embedding * variance of its standardised values)."""
    class_weight: Annotated[Literal["none", "balanced"], ADVANCED] = "none"
    """none: every training image counts alike; balanced: each class as much as the other."""
    seed: Annotated[int, Field(ge=0, lt=2**32), ADVANCED] = 0
    """Seed of random_forest's samples; the support vector machines draw nothing."""


class EmbeddingClassifierConfig(Config):
    """`jobs/embedding_classifier.py`."""

    results: str
    """URI of what `jobs/screen.py --embeddings true --split all` wrote with a trained COMiT-Net."""
    manifest: str
    """URI of the manifest that was screened: labels and splits."""
    output: str
    """URI of the results to write: predictions/, masks/ (without masks), operating_points.json, run.json."""
    method: MethodConfig = MethodConfig()
    """The classifier."""
    tasks: tuple[LabelName, ...] = ("covid", "unhealthy")
    """Labels that get a classifier each, fitted on the training images whose label is known."""
    specificities: Annotated[tuple[AboveZero, ...], ADVANCED] = SPECIFICITIES
    """Specificities at which operating points are chosen on the validation split; the paper's two."""
    operating_point: Annotated[str, ADVANCED] = operating_point_name(SPECIFICITY)
    """Name of the one that decides the flags."""
    threads: Annotated[PositiveInt, ADVANCED] = 1
    """Threads that fit random_forest; the numbers do not depend on it."""

    @model_validator(mode="after")
    def _whole(self) -> Self:

        for key, values in (("tasks", self.tasks), ("specificities", self.specificities)):
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{key} must be at least one, none twice, got {list(values)}")
        known = [operating_point_name(specificity) for specificity in self.specificities]
        if self.operating_point not in known:
            raise ValueError(
                f"operating_point {self.operating_point!r} is not of these specificities: {', '.join(known)}"
            )
        return self
