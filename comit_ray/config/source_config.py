"""Options of single sources, such as `--chexpert.uncertain positive`."""

from typing import Annotated, Literal

from comit_ray.config.config_base import (
    ADVANCED,
    Config,
)


class ChexpertOptions(Config):
    """Options for CheXpert."""

    uncertain: Literal["ignore", "positive", "negative"] = "ignore"
    """How to count an uncertain label (-1.0). ignore: as not mentioned, so that only 1.0 is a finding (the paper's
    choice); positive: as a finding; negative: gives the same rows as ignore, because No Finding is never inferred."""


class BimcvOptions(Config):
    """Options for BIMCV-COVID19+."""

    act: bool = False
    """Count antigen tests (ACT) too; the paper counts PCR, IgG and IgM."""
    sidecars: Literal["read", "skip"] = "read"
    """read: read each radiograph's JSON of DICOM tags for its view and date; skip: use only file names and tables."""


class TableOptions(Config):
    """Options for any table beside images."""

    mapping: str | None = None
    """Path or URI of a YAML that maps the table's columns, or the name of a shipped one."""


class DicomwebOptions(Config):
    """Options for a PACS with DICOMweb. `--root` is its URL; credentials come from the environment (docs/pacs.md)."""

    modalities: tuple[str, ...] = ("CR", "DX")
    """Modalities to search for."""
    study_date: str | None = None
    """Study dates in the form of DICOM: 20261101-20261130, 20261101-, or one day; null: all."""
    since: str | None = None
    """First study date as YYYYMMDD, or a number of days back from today, such as 2d; for a nightly screen."""
    body_part: str | None = None
    """BodyPartExamined to search for, such as CHEST. null: any, because many devices leave it blank."""
    location: str | None = None
    """CurrentPatientLocation to search for, such as ICU*; null: any. Not every PACS stores it."""


class SourceOptions(Config):
    """Options of the sources that have any."""

    chexpert: Annotated[ChexpertOptions, ADVANCED] = ChexpertOptions()
    """Options of the source chexpert."""
    bimcv: Annotated[BimcvOptions, ADVANCED] = BimcvOptions()
    """Options of the source bimcv."""
    table: TableOptions = TableOptions()
    """Options of the source table."""
    dicomweb: DicomwebOptions = DicomwebOptions()
    """Options of the source dicomweb."""
