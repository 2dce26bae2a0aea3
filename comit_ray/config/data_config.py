"""Options of the jobs that make data: manifest, listing, prepare, phantom, demo; the frame, the split, decoding limits.

Each has its default, unit and range, and unknown keys are refused. The text under a field is what `--help` prints.
Options of a single source carry its name: `--chexpert.uncertain positive`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from comit_ray.config.config_base import (
    ADVANCED,
    Config,
    Fraction,
    PositiveInt,
)
from comit_ray.errors import FAILURES


class ChexpertOptions(Config):
    """CheXpert."""

    uncertain: Literal["ignore", "positive", "negative"] = "ignore"
    """What an uncertain label (-1.0) counts as. ignore: as if it were not mentioned: 1.0 alone is a finding (the
    paper's); positive: a finding; negative: the same rows as ignore, since No Finding is never inferred."""


class BimcvOptions(Config):
    """BIMCV-COVID19+."""

    act: bool = False
    """Count antigen tests (ACT) too; the paper counts PCR, IgG and IgM."""
    sidecars: Literal["read", "skip"] = "read"
    """Read each radiograph's JSON of DICOM tags for its view and date; skip: file names and tables alone."""


class TableOptions(Config):
    """Any table beside images."""

    mapping: str | None = None
    """URI of a YAML that maps the table's columns, or the name of a shipped one."""


class DicomwebOptions(Config):
    """A PACS with DICOMweb; its URL is `--root`, who we are comes from the environment (docs/pacs.md)."""

    modalities: tuple[str, ...] = ("CR", "DX")
    """Modalities to ask for."""
    study_date: str | None = None
    """Study dates as DICOM has ranges: 20261101-20261130, 20261101-, or one day; null: all."""
    since: str | None = None
    """The first study date, YYYYMMDD, or days back from today, such as 2d; for a nightly screen."""
    body_part: str | None = None
    """BodyPartExamined to ask for, such as CHEST; null: any, as many devices leave it blank."""
    location: str | None = None
    """CurrentPatientLocation to ask for, such as ICU*; null: any. Not every PACS keeps it."""


class SourceOptions(Config):
    """Options of the sources that have some."""

    chexpert: Annotated[ChexpertOptions, ADVANCED] = ChexpertOptions()
    """Of the source chexpert."""
    bimcv: Annotated[BimcvOptions, ADVANCED] = BimcvOptions()
    """Of the source bimcv."""
    table: TableOptions = TableOptions()
    """Of the source table."""
    dicomweb: DicomwebOptions = DicomwebOptions()
    """Of the source dicomweb."""


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
    seed: Annotated[int, ADVANCED] = 0
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


MAX_FAILED_SHARE = 0.05


def _failures(reasons: tuple[str, ...]) -> tuple[str, ...]:
    unknown = sorted(set(reasons) - set(map(str, FAILURES)))
    if unknown:
        raise ValueError(f"expected reasons of failed images ({', '.join(FAILURES)}), got {unknown[0]!r}")
    return reasons


Reasons = Annotated[tuple[str, ...], AfterValidator(_failures)]
"""Reasons of images that failed (`comit_ray.errors.Reason`)."""


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
    """Name of the dataset's format: files (DICOM, PNG, JPEG and archives of them side by side), nih, chexpert, bimcv,
    covid-chestxray, radiography, hannover, figure1, actualmed, covid-cxnet, table, dicom, dicomweb, images or phantom.
    null: files, unless --inputs is given."""
    root: str | None = None
    """URI of the dataset's directory; for dicomweb the URL of the server."""
    listing: Annotated[str | None, ADVANCED] = None
    """URI of a listing of the root (jobs/listing.py); null: list it now."""
    name: str | None = None
    """`dataset` of the rows; null: the source's name. Give each of several `images` or `dicom` trees its own."""
    inputs: str | None = None
    """URIs of manifests to merge, separated by commas, instead of a source; the split is computed again."""
    check_files: bool = False
    """Mark rows whose file is absent (`missing`); list in OUTPUT/check.csv what only a table, or only storage, has."""
    list_skipped: str | None = None
    """URI of a CSV to write: every file below the root that is no row, and why. Their counts are always printed."""
    present_only: bool = False
    """Leave out rows whose file is absent."""
    duplicates: Literal["ignore", "report", "exclude"] | None = None
    """Images that look alike, found by decoding all: report lists them in OUTPUT/duplicates.csv and keeps them in one
    split; exclude also keeps, of the same picture in several datasets, the one with more annotations. null: exclude
    where several datasets are merged, else ignore."""
    protocol: Annotated[Literal["all", "paper"], ADVANCED] = "all"
    """Images to use: all, or a selection by the paper's rules (section 3.1); the others are excluded."""
    protocol_seed: Annotated[int, ADVANCED] = 0
    """Seed of the selection."""
    chunk_rows: Annotated[PositiveInt, ADVANCED] = 512
    """Rows of one chunk: the unit of screening work, of commit and of resume."""
    part_rows: Annotated[PositiveInt, ADVANCED] = 2048
    """Rows of one Parquet part: the unit of sequential reading."""
    split: SplitConfig = SplitConfig()
    """The split."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Bounds on images, where `duplicates` has them decoded."""

    @model_validator(mode="before")
    @classmethod
    def _any_files(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("root") and not (given.get("source") or given.get("inputs")):
            return {**given, "source": "files"}
        return given

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.inputs) == bool(self.source):
            raise ValueError("give --root (and its --source), or --inputs with manifests to merge")
        if self.source and not self.root:
            raise ValueError(f"--source {self.source} needs --root, the dataset's directory")
        return self


class PrepareConfig(Config):
    """`jobs/prepare.py`."""

    manifest: str
    """URI of the manifest."""
    output: str
    """URI of the training table: images/ and run.json."""
    format: Annotated[Literal["png", "webp"], ADVANCED] = "png"
    """Lossless coding of the pixels: png, or webp (smaller, slower to write)."""
    threads: Annotated[PositiveInt, ADVANCED] = 2
    """Threads that fetch and decode in one reading task."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Bounds on images."""
    retry: Annotated[Reasons, ADVANCED] = ()
    """Reasons of failed images that are read again, such as missing,truncated. What the storage refused is read again
    without being named. An image that was decoded stays as it is."""
    max_failed_share: Annotated[Fraction, ADVANCED] = MAX_FAILED_SHARE
    """If more than this share of the images failed, the exit status is 1, and what they have in common is printed."""


class PhantomConfig(Config):
    """`jobs/phantom.py`."""

    output: str
    """URI of the archive to write; must be empty."""
    count: PositiveInt = 300
    """Files of the archive, a dozen broken and alien ones included."""
    seed: Annotated[int, Field(ge=0), ADVANCED] = 0
    """Seed of everything; the same count and seed give the same bytes."""


class DemoConfig(Config):
    """`jobs/demo.py`."""

    output: str = "build/demo"
    """Local directory for everything the demo makes."""
    count: PositiveInt = 300
    """Phantom radiographs in the archive."""
    seed: Annotated[int, Field(ge=0), ADVANCED] = 0
    """Seed of the phantoms."""
