"""The sources the command line knows, by name."""

from importlib import import_module

from comit_ray.data.sources.row import Adapter
from comit_ray.errors import ConfigError

SOURCES: dict[str, str] = {
    "covid-chestxray": "comit_ray.data.sources.covid_chestxray",
    "dicom": "comit_ray.data.sources.dicom",
    "images": "comit_ray.data.sources.images",
    "nih": "comit_ray.data.sources.nih",
    "phantom": "comit_ray.data.sources.phantom",
}
"""Name -> module with the function `rows` (see `comit_ray.data.sources.row`)."""


def adapter(source: str) -> Adapter:
    """The adapter of `source`; its module is imported only when asked for, as some need a DICOM library.

    Raises:
        ConfigError: for an unknown name; it lists the known ones.
    """
    if source not in SOURCES:
        raise ConfigError(f"unknown source {source!r}; known: {', '.join(SOURCES)}")
    rows: Adapter = import_module(SOURCES[source]).rows
    return rows
