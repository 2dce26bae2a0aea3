"""Lists the sources (`SOURCES`), and defines the interface that a source's module must have.

A source is a module of this package with one function,

    def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]

`files` are the files below the dataset's root, including members of archives. `dataset` is the name that the rows get.
`options` are the options of the sources. The function looks at names and tables through `files` only. It yields rows
one by one, never opens pixels, and raises `ManifestError` if a table does not have its form. It yields every image of
the source, unusable ones with their reason in `excluded`, and at the end `unlisted(...)`, the images that no table
names. An entry in `SOURCES` below makes the source known to the command line. `tests/data/sources/test_contract.py`
checks all sources against this text.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Protocol

from comit_ray.config import config_words
from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ConfigError


class Adapter(Protocol):
    """The function `rows` of a source's module."""

    def __call__(self, files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
        """Yields every image among `files`."""
        ...


SOURCES: dict[str, str] = {
    "files": "comit_ray.data.sources.mixed_files",
    "nih": "comit_ray.data.sources.nih",
    "chexpert": "comit_ray.data.sources.chexpert",
    "bimcv": "comit_ray.data.sources.bimcv.bimcv",
    "covid-chestxray": "comit_ray.data.sources.covid_chestxray",
    "radiography": "comit_ray.data.sources.radiography",
    "hannover": "comit_ray.data.sources.hannover",
    "figure1": "comit_ray.data.sources.figure1",
    "actualmed": "comit_ray.data.sources.actualmed",
    "covid-cxnet": "comit_ray.data.sources.covid_cxnet",
    "table": "comit_ray.data.sources.table.table",
    "dicom": "comit_ray.data.sources.dicom_files",
    "dicomweb": "comit_ray.data.sources.dicomweb",
    "images": "comit_ray.data.sources.image_files",
    "phantom": "comit_ray.data.sources.phantom",
}
"""Name -> module with the function `rows` (see the first lines of this module)."""


def adapter(source: str) -> Adapter:
    """Returns the function `rows` of `source`; imports its module on demand, as some sources need a DICOM library.

    Raises:
        ConfigError: the name is unknown; the message lists the known names.
    """
    if source not in SOURCES:
        near = config_words.did_you_mean(source, list(SOURCES))
        raise ConfigError(f"unknown source {source!r}{near}; known: {', '.join(SOURCES)}")
    rows: Adapter = import_module(SOURCES[source]).rows
    return rows
