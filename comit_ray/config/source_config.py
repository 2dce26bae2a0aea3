"""Options of single sources, such as `--chexpert.uncertain positive`."""

from typing import Annotated, Literal

from comit_ray.config.config_base import (
    ADVANCED,
    Config,
)


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
