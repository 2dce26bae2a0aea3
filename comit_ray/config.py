"""Every option of every job but training (train_config.py): default, unit and range; unknown keys are refused.

The text under a field is what `--help` prints.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from comit_ray.config_base import Config, Fraction, PositiveInt
from comit_ray.schema import ReviewReason
from comit_ray.source_options import SourceOptions


class FrameConfig(Config):
    """The model's frame: what every radiograph is resampled to."""

    size: PositiveInt = 224
    """Side of the square frame in pixels; a multiple of 32."""
    fit: Literal["stretch", "letterbox"] = "stretch"
    """How the original fills the frame: stretch (the paper's) or letterbox (keeps the aspect ratio, black borders)."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.size % 32:
            raise ValueError(f"frame size must be a multiple of 32 (five poolings halve it), got {self.size}")
        return self


class SplitConfig(Config):
    """How patients are divided into train, val and test."""

    train: Fraction = 0.7
    """Share of patients for training."""
    val: Fraction = 0.1
    """Share of patients for validation: early stopping and operating points."""
    test: Fraction = 0.2
    """Share of patients for testing."""
    seed: int = 0
    """Seed of the division; the same seed and rows give the same split."""
    keep_source: bool | None = None
    """Keep the split rows have: a source's own lists, or the inputs' on a merge; no val: drawn from train. null: yes on
    a merge, so that no patient moves from one split to another, no for a source."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"split shares must sum to 1, got {self.train} + {self.val} + {self.test} = {total:g}")
        return self


class DecodeLimits(Config):
    """Bounds checked before anything is decompressed."""

    max_bytes: PositiveInt = 256 * 2**20
    """Largest file in bytes."""
    max_pixels: PositiveInt = 64 * 2**20
    """Largest image in pixels (rows times columns)."""
    max_decoded_bytes: PositiveInt = 512 * 2**20
    """Largest decompressed size in bytes: deflated DICOM included."""
    min_side: PositiveInt = 32
    """Shortest side in pixels that can still be a radiograph."""


class MasksConfig(Config):
    """What is taken of the annotated masks."""

    lungs: Literal["pixels", "boxes"] = "pixels"
    """Lung masks as drawn, or as the paper's: two solid rectangles, one around each lung."""


class QueueConfig(Config):
    """Who goes to the radiologist. A change rebuilds the queue from the tables, without a pass over the images."""

    capacity: PositiveInt | None = None
    """Images the readers can take; null: all that have a reason."""
    near_threshold: Annotated[float, Field(ge=0)] = 0.5
    """Scores this little below the operating point, in log-odds, are read too; 0.5: at least 0.61 times its odds."""
    covid_but_healthy: Fraction = 0.5
    """p_unhealthy below this on a flagged image is a disagreement."""
    min_disease_area: Fraction = 0.002
    """Predicted disease below this fraction of the frame counts as no disease mask."""
    max_disease_outside: Fraction = 0.5
    """Predicted disease lying outside the predicted lungs beyond this fraction is a disagreement."""
    min_lung_area: Fraction = 0.05
    """Predicted lung below this fraction of the frame counts as no lungs found."""
    child_age: Annotated[float, Field(ge=0)] = 16
    """Patients younger than this many years are read: the training data hold adults."""
    random_negatives: Fraction = 0.02
    """Share of the negatives without any other reason that is drawn at random, with its sampling weight."""
    quotas: dict[str, Fraction] = {"random_negative": 0.1, "failed": 0.1}  # noqa: RUF012 pydantic copies it
    """Share of the capacity kept for a reason, whatever the scores of others."""
    seed: int = 0
    """Seed of the random sample of negatives."""

    @model_validator(mode="after")
    def _quotas(self) -> Self:
        unknown = sorted(set(self.quotas) - set(ReviewReason))
        if unknown:
            raise ValueError(f"quotas: unknown reason {unknown[0]!r}; known: {', '.join(ReviewReason)}")
        if sum(self.quotas.values()) > 1:
            raise ValueError(f"quotas must sum to at most 1, got {sum(self.quotas.values()):g}")
        return self


class ScreenConfig(Config):
    """`jobs/screen.py`."""

    manifest: str
    """URI of the manifest to screen."""
    checkpoint: str
    """URI of the checkpoint."""
    output: str
    """URI of the results: predictions/, masks/, review_queue/, run.json."""
    operating_point: str = "specificity_0.90"
    """Name of the operating point, as stored in the checkpoint, that decides the flags."""
    operating_points: str | None = None
    """URI of a site's own operating points (JSON), meant for the scores as they are written; null: those of the
    checkpoint."""
    temperature: Literal["off", "on"] = "off"
    """on: log-odds of every score are divided by the checkpoint's temperature for it, so that scores are nearer to
    probabilities in data like its validation split; off: scores as the model gives them. The checkpoint's thresholds
    are brought to the same scale, so flags stay; --queue.* options and a site's own operating points are taken as meant
    for the scores as written (a temperature above 1 brings more images near the threshold). In YAML: 'on', quoted."""
    split: Literal["all", "train", "val", "test"] = "all"
    """Screen only this split of the manifest; all: every row."""
    embeddings: bool = False
    """Write embeddings/ too."""
    gradcam: bool = False
    """Write gradcam/ too: heat maps of where in an image p_covid and p_unhealthy come from (Grad-CAM). Needs captum
    (the extra `gradcam`) and a model with a covid or health head; scores stay as they are."""
    variants: tuple[Literal["lungs_only", "lungs_removed", "borders_cropped"], ...] = ()
    """Write variants/ too: the scores of altered copies of every image, for the report's audit of shortcuts. Each costs
    a forward pass; those of the lungs need a model with a lung head."""
    batch_size: PositiveInt = 32
    """Images a forward pass."""
    predictors: PositiveInt = 1
    """Predictor actors at most; fewer where the cluster has no room for them, or reading does not keep up."""
    compact: bool = False
    """At the end, copy the finished chunks into larger files under OUTPUT/compact (a local OUTPUT only)."""
    gpu: bool = False
    """One GPU a predictor."""
    fetch_threads: PositiveInt = 2
    """Threads that fetch and decode in one reading task."""
    decode: DecodeLimits = DecodeLimits()
    """Bounds on images."""
    queue: QueueConfig = QueueConfig()
    """The review queue."""


class RequeueConfig(Config):
    """`jobs/requeue.py`."""

    results: str
    """URI of a screening run's output."""
    manifest: str
    """URI of the manifest that was screened."""
    queue: QueueConfig = QueueConfig()
    """The review queue."""


class ListingConfig(Config):
    """`jobs/listing.py`."""

    root: str
    """URI of the directory or bucket prefix to list."""
    output: str
    """URI of the listing to write; must be empty."""


class ManifestConfig(SourceOptions):
    """`jobs/manifest.py`."""

    output: str
    """URI of the manifest to write."""
    source: str | None = None
    """Name of the dataset's format: nih, chexpert, bimcv, covid-chestxray, radiography, hannover, figure1, actualmed,
    covid-cxnet, table, dicom, images or phantom."""
    root: str | None = None
    """URI of the dataset's directory."""
    listing: str | None = None
    """URI of a listing of the root (jobs/listing.py); null: list it now."""
    name: str | None = None
    """`dataset` of the rows; null: the source's name. Give each of several `images` or `dicom` trees its own."""
    inputs: str | None = None
    """URIs of manifests to merge, separated by commas, instead of a source; the split is computed again."""
    check_files: bool = False
    """Mark rows whose file is absent (`missing`); list in OUTPUT/check.csv what only a table, or only storage, has."""
    present_only: bool = False
    """Leave out rows whose file is absent."""
    duplicates: Literal["ignore", "report", "exclude"] | None = None
    """Images that look alike, found by decoding all: report lists them in OUTPUT/duplicates.csv and keeps them in one
    split; exclude also keeps, of the same picture in several datasets, the one with more annotations. null: exclude
    where several datasets are merged, else ignore."""
    protocol: Literal["all", "paper"] = "all"
    """Images to use: all, or a selection by the paper's rules (section 3.1); the others are excluded."""
    protocol_seed: int = 0
    """Seed of the selection."""
    chunk_rows: PositiveInt = 512
    """Rows of one chunk: the unit of screening work, of commit and of resume."""
    part_rows: PositiveInt = 2048
    """Rows of one Parquet part: the unit of sequential reading."""
    split: SplitConfig = SplitConfig()
    """The split."""
    decode: DecodeLimits = DecodeLimits()
    """Bounds on images, where `duplicates` has them decoded."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.inputs) == bool(self.source):
            raise ValueError("give either --source with --root, or --inputs with manifests to merge")
        if self.source and not self.root:
            raise ValueError(f"--source {self.source} needs --root, the dataset's directory")
        return self


class PrepareConfig(Config):
    """`jobs/prepare.py`."""

    manifest: str
    """URI of the manifest."""
    output: str
    """URI of the training table: images/ and run.json."""
    format: Literal["png", "webp"] = "png"
    """Lossless coding of the pixels: png, or webp (smaller, slower to write)."""
    threads: PositiveInt = 2
    """Threads that fetch and decode in one reading task."""
    decode: DecodeLimits = DecodeLimits()
    """Bounds on images."""


class PhantomConfig(Config):
    """`jobs/phantom.py`."""

    output: str
    """URI of the archive to write; must be empty."""
    count: PositiveInt = 300
    """Files of the archive, a dozen broken and alien ones included."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything; the same count and seed give the same bytes."""


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
    """URI of a reviews/ table: readings of an external archive."""
    compare: str | None = None
    """URI of what another model gave for the same images, of the same kind: the two are compared, image by image."""
    specificities: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.90, 0.99)
    """Specificities at which sensitivity and the like are given, thresholds from the scored images; the paper's two."""
    sensitivities: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.90, 0.95)
    """Sensitivities at which specificity is given, thresholds from the scored images."""
    prevalences: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (
        0.01,
        0.05,
        0.10,
        0.20,
    )
    """Shares of images that are positive, as fractions, at which predictive values and readers' work are given."""
    subgroup_minimum: PositiveInt = 10
    """Fewest patients (with a positive image, with a negative one) of whom figures of a subgroup are given."""
    draws: PositiveInt = 1000
    """Draws of patients for every bootstrap interval."""
    seed: int = 0
    """Seed of the draws, and of the choice of images in figures."""
    sheet_images: Annotated[int, Field(ge=0)] = 12
    """Radiographs on the sheet of overlays."""
    sheet_seed: int = 0
    """Seed of their choice."""
    masks: MasksConfig = MasksConfig()
    """The true masks that predicted ones are compared with: as the model was trained."""
    decode: DecodeLimits = DecodeLimits()
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
        if self.reviews and not self.external:
            raise ValueError("--reviews are the readings of an external archive: give --external true with them")
        return self


class DemoConfig(Config):
    """`jobs/demo.py`."""

    output: str = "build/demo"
    """Local directory for everything the demo makes."""
    count: PositiveInt = 300
    """Phantom radiographs in the archive."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the phantoms."""
