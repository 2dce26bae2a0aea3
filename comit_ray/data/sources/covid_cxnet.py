"""Source `covid-cxnet`: `metadata.csv` and `chest_xray_images/covid19/NNN[p][-].ext`.

Haghanifar et al., "COVID-CXNet: Detecting COVID-19 in frontal chest X-ray images using deep learning", 2020. The table
begins at image 260. For images before it, and in the folders `normal` and `pneumonia` of fuller copies, the folder is
the label and patients are unknown. In the names `p` stands for a child. `-` mostly stands where the column
`opacification` is 0: COVID-19 confirmed by PCR, but no opacity on the radiograph.
"""

import re
from collections.abc import Iterator

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.covid_table import (
    COVID,
    HEALTHY,
    OTHER,
    Labels,
    beside,
    labels,
    read_records,
    tokens,
    view_of,
    whole,
)
from comit_ray.data.sources.manifest_row import ManifestRow, located, parse_age, parse_sex, place, scoped
from comit_ray.data.sources.readers import site_of
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.tables.vocabulary import View

_TABLE = r"(?:.*/)?metadata\.csv(\.gz)?"
_IMAGE = r"(?:.*/)?chest_xray_images/(covid19|normal|pneumonia)/[^/]+\.(?:png|jpe?g|jfif|webp)"
_FOLDERS: dict[str, Labels] = {"covid19": COVID, "normal": HEALTHY, "pneumonia": OTHER}


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every row of `metadata.csv`, if present, then the images that it does not list, labelled by their folder.

    A blank label is unknown, whatever the folder.

    Raises:
        ManifestError: if there are several tables, or one lacks a column or has a row without an image.
    """
    if next(files.matching(_TABLE), None) is not None:
        yield from _listed(files, dataset)
    for file in files.untaken(_IMAGE):
        folder, name = file.name.lower().split("/")[-2:]
        unhealthy, covid, other = _FOLDERS[folder]
        if covid == 1:
            unhealthy = seen(name)
        yield ManifestRow(**place(file), listed=False, unhealthy=unhealthy, covid=covid, other=other)


def seen(name: str, opacification: str = "", other: str = "") -> int | None:
    """Returns 1 if a radiograph with COVID-19 shows disease; None if the table, or else the name, reports no opacity.

    Without opacity it may still show something else, so it is not known to be healthy.

    Args:
        name: name of the file.
        opacification: `1`, `0` or blank.
        other: other visible findings, such as `pneumothorax`.
    """
    doubtful = opacification == "0" or (not opacification and re.fullmatch(r".*-\.\w+", name))
    return None if doubtful and not other else 1


def _listed(files: SourceFiles, dataset: str) -> Iterator[ManifestRow]:
    table = files.table(_TABLE, "metadata.csv[.gz]")
    for record in read_records(files, table, ("filename", "patient_id", "label", "view")):
        name = record["filename"]
        findings = tokens(record["label"])
        unhealthy, covid, other = labels(findings)
        if covid == 1:
            unhealthy = seen(name, record.get("opacification", ""), record.get("other", ""))
        view, excluded = view_of(record["view"], record.get("modality", ""))
        days = (whole(record.get(column, "")) for column in ("symptom_offset", "admission_offset"))
        yield ManifestRow(
            **located(files, beside(table, f"chest_xray_images/covid19/{name}")),
            site=site_of(record.get("url", "")),
            patient_id=scoped(dataset, record["patient_id"]),
            view=view,
            view_source="none" if view is View.UNKNOWN else "view",
            sex=parse_sex(record.get("sex", "")),
            age=parse_age(record.get("age", "")),
            illness_day=next((day for day in days if day is not None), None),
            findings=findings,
            unhealthy=unhealthy,
            covid=covid,
            other=other,
            excluded=excluded,
        )
