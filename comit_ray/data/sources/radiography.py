"""Source `radiography` (COVID-19 Radiography Database): a folder and a sheet per class, lung masks.

Chowdhury et al., "Can AI Help in Screening Viral and COVID-19 Pneumonia?", 2020; Rahman et al., 2021 (masks). The
images come from other collections (the `site`, from the sheet's URL), without patients. So it is unknown which images
show one patient or also belong to another source. `Viral Pneumonia` and a part of `Normal` are children.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.covid_table import COVID, HEALTHY, OTHER, Labels
from comit_ray.data.sources.manifest_row import ManifestRow, place, unlisted
from comit_ray.data.sources.readers import read_sheet, site_of
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError

_CLASS = r"(?P<root>(?:.*/)?)(?P<kind>COVID(?:-19)?|Normal|Lung[_ ]Opacity|Viral[_ ]Pneumonia)"
_IMAGE = rf"{_CLASS}/(?:images/)?(?P<stem>[^/]+)\.(?:png|jpe?g)"  # early versions have no images/
_SHEET = rf"{_CLASS}\.m[ea]tadata\.xlsx"  # one sheet of an early version is `matadata`
_ELSEWHERE = r"(?!(?:.*/)?masks/).+\.(png|jpe?g)"
_COLUMNS = ("FILE NAME", "URL")
_LABELS: dict[str, Labels] = {
    "covid": COVID,
    "covid-19": COVID,
    "normal": HEALTHY,
    "lungopacity": OTHER,
    "viralpneumonia": OTHER,
}

Key = tuple[str, str, str]
"""Folder that holds the classes, class and image; class and image are without case, spaces and underscores."""


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every image of a class folder, the absent images that a sheet names, and all other images.

    Sheet and file names are matched without regard to case and spaces: `NORMAL-1` is `Normal-1.png`.

    Raises:
        ManifestError: if there is neither an image in a class folder nor a sheet, or a sheet lacks a column.
    """
    listed = _listed(files)
    missing = dict(listed)
    empty = not listed
    for file in files.matching(_IMAGE):
        empty = False
        parts = _parts(_IMAGE, file.name)
        key = _key(parts["root"], parts["kind"], parts["stem"])
        missing.pop(key, None)
        row = ManifestRow(
            **place(files.take(file)),
            listed=key in listed,
            site=site_of(listed[key][1]) if key in listed else None,
            lung_mask=files.first_uri(f"{parts['root']}{parts['kind']}/masks/{parts['stem']}.png"),
        )
        yield _labelled(row, parts["kind"])
    if empty:
        raise ManifestError(
            f"expected images in folders COVID, Normal, Lung_Opacity or Viral Pneumonia below {files.root}, found none"
        )
    for path, url in missing.values():
        yield _labelled(ManifestRow(path=path, site=site_of(url)), path.split("/")[-3])
    yield from unlisted(files, _ELSEWHERE)


def _listed(files: SourceFiles) -> dict[Key, tuple[str, str]]:
    """Returns key of every image that a sheet names -> its path in the present version, and its URL."""
    found: dict[Key, tuple[str, str]] = {}
    for file in files.matching(_SHEET):
        header, lines = read_sheet(files, file)
        names = [name.upper() for name in header]
        if not set(_COLUMNS) <= set(names):
            raise ManifestError(f"expected columns {', '.join(_COLUMNS)} in {file.name}, got: {', '.join(header)}")
        name_at, url_at = (names.index(column) for column in _COLUMNS)
        parts = _parts(_SHEET, file.name)
        for line in lines:
            if line[name_at]:
                key = _key(parts["root"], parts["kind"], line[name_at])
                found[key] = f"{parts['root']}{parts['kind']}/images/{line[name_at]}.png", line[url_at]
    return found


def _labelled(row: ManifestRow, kind: str) -> ManifestRow:
    """Returns the row with the labels of its class."""
    unhealthy, covid, other = _LABELS[_plain(kind)]
    return replace(row, findings=(kind,), unhealthy=unhealthy, covid=covid, other=other)


def _parts(pattern: str, name: str) -> dict[str, str]:
    """Returns the named groups of a file name that matches."""
    found = re.fullmatch(pattern, name, re.IGNORECASE)
    assert found is not None
    return found.groupdict()


def _key(root: str, kind: str, stem: str) -> Key:
    return root, _plain(kind), _plain(stem)


def _plain(text: str) -> str:
    return re.sub(r"[\s_]", "", text).lower()
