"""Options of the jobs `manifest` and `listing`: which images an archive has, and how patients are split."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import model_validator

from comit_ray.config.config_base import (
    ADVANCED,
    Config,
    Fraction,
    PositiveInt,
)
from comit_ray.config.image_config import DecodeLimits
from comit_ray.config.source_config import SourceOptions


class SplitConfig(Config):
    """How patients are divided into train, val and test."""

    train: Fraction = 0.7
    """Share of patients for training."""
    val: Fraction = 0.1
    """Share of patients for validation: early stopping and operating points."""
    test: Fraction = 0.2
    """Share of patients for testing."""
    seed: Annotated[int, ADVANCED] = 0
    """Seed of the split; the same seed and rows give the same split."""
    keep_source: bool | None = None
    """Keep the split that the rows already have: the source's own lists, or that of merged manifests. Without a val
    split, val is drawn from train. null: yes for a merge, so that no patient moves to another split; no for a
    source."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"split shares must sum to 1, got {self.train} + {self.val} + {self.test} = {total:g}")
        return self


MAX_CHANGED_SHARE = 0.1
"""If more of an archive than this share changed between two nights, the archive was probably copied or is not
mounted."""


class ListingConfig(Config):
    """Options of `comit-ray listing`."""

    root: str
    """Path or URI of the directory or bucket prefix to list."""
    output: str
    """Path or URI for the listing; the directory must be empty."""


class ManifestConfig(SourceOptions):
    """Options of `comit-ray manifest`."""

    one_of = ("root", "inputs")

    output: str
    """Path or URI for the manifest."""
    source: str | None = None
    """Format of the dataset: files (DICOM, PNG, JPEG and archives of them side by side), nih, chexpert, bimcv,
    covid-chestxray, radiography, hannover, figure1, actualmed, covid-cxnet, table, dicom, dicomweb, images or
    phantom. null: files, unless --inputs is given."""
    root: str | None = None
    """Path or URI of the dataset's directory; for dicomweb the URL of the server."""
    listing: Annotated[str | None, ADVANCED] = None
    """A listing of the root, written by the job `listing`; null: list the root now."""
    name: str | None = None
    """Name of the dataset in the rows; null: the name of the source. Give each of several folders of the sources
    `files`, `images` or `dicom` a name of its own."""
    inputs: str | None = None
    """Manifests to merge (paths or URIs, separated by commas), instead of a source. Every patient keeps the split of
    the inputs; --split.keep_source false divides all patients anew."""
    check_files: bool = False
    """Mark rows whose file is absent (`missing`). OUTPUT/check.csv lists files that only a table names, and files that
    only the storage has."""
    list_skipped: str | None = None
    """CSV to write (path or URI), with every file below the root that is not a row, and the reason. The counts are
    always printed."""
    present_only: bool = False
    """Leave out rows whose file is absent."""
    duplicates: Literal["ignore", "report", "exclude"] | None = None
    """Search for near-duplicates; this decodes all images. report: list them in OUTPUT/duplicates.csv and keep them in
    one split. exclude: also keep only one of the copies of a picture in several datasets, the one with more
    annotations. null: exclude for a merge of several datasets, else ignore."""
    protocol: Annotated[Literal["all", "paper"], ADVANCED] = "all"
    """paper: select images by the paper's rules (section 3.1) and exclude the others; all: keep all."""
    protocol_seed: Annotated[int, ADVANCED] = 0
    """Seed of the random selection for `protocol`."""
    chunk_rows: Annotated[PositiveInt, ADVANCED] = 512
    """Most rows per chunk, the unit in which a screen works, commits and resumes. The first chunks are smaller (16 rows
    and more), so that first results are there early."""
    part_rows: Annotated[PositiveInt, ADVANCED] = 2048
    """Rows per Parquet part, the unit in which a manifest is read."""
    update: bool = False
    """Add what is new in the archive to the manifest at OUTPUT. New files become new parts, and no old part is touched.
    A changed file gets a new version, a vanished file is marked, and patients keep their split. If there is no
    manifest yet, it is made."""
    added_on: Annotated[date | None, ADVANCED] = None
    """Day of the new rows; null: today (UTC). Rows of one day are one night of a programme."""
    max_changed_share: Annotated[Fraction, ADVANCED] = MAX_CHANGED_SHARE
    """Refuse an update if more than ten files, and more than this share of the known ones, have changed or are gone."""
    split: SplitConfig = SplitConfig()
    """The split."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Limits for images that `duplicates` decodes."""

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
        if self.update and (self.inputs or self.listing or self.check_files or self.present_only):
            raise ValueError("--update lists the --root again: leave out inputs, listing, check_files and present_only")
        if self.update and (self.duplicates or self.protocol != "all"):
            raise ValueError(
                "--update does not search for near-duplicates or select images: leave out duplicates and protocol"
            )
        return self
