"""Options of single sources of radiographs, as `jobs/manifest.py` takes them: `--chexpert.uncertain positive`."""

from typing import Literal

from comit_ray.config.config_base import Config


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


class SourceOptions(Config):
    """Options of the sources that have some."""

    chexpert: ChexpertOptions = ChexpertOptions()
    """Of the source chexpert."""
    bimcv: BimcvOptions = BimcvOptions()
    """Of the source bimcv."""
    table: TableOptions = TableOptions()
    """Of the source table."""
