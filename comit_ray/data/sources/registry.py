"""The sources the command line knows, by name."""

from importlib import import_module

from comit_ray.data.sources.adapter import Adapter
from comit_ray.errors import ConfigError

SOURCES: dict[str, str] = {
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
    "images": "comit_ray.data.sources.images",
    "phantom": "comit_ray.data.sources.phantom",
}
"""Name -> module with the function `rows` (see `comit_ray.data.sources.adapter`)."""


def adapter(source: str) -> Adapter:
    """The adapter of `source`; its module is imported only when asked for, as some need a DICOM library.

    Raises:
        ConfigError: for an unknown name; it lists the known ones.
    """
    if source not in SOURCES:
        raise ConfigError(f"unknown source {source!r}; known: {', '.join(SOURCES)}")
    rows: Adapter = import_module(SOURCES[source]).rows
    return rows
