"""Source `figure1`: `metadata.csv`, and `images/<patientid>.jpg` or `.png`.

A `patientid` identifies an image: `COVID-00003a` and `COVID-00003b` are two images of one patient, whose id here has no
letter. Ages such as `50+` or `early 40s` are not numbers and stay unknown.
"""

import re
from collections.abc import Iterator
from typing import Any

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.covid_table import beside, labels, read_records, tokens, view_of, whole
from comit_ray.data.sources.manifest_row import ManifestRow, parse_age, parse_sex, place, scoped, unlisted
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.tables.vocabulary import View

_SUFFIXES = ("jpg", "png", "jpeg")
_LETTER = re.compile(r"(?<=\d)[a-z]$")


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every row of `metadata.csv`, then the images of `images/` that it does not list (without labels).

    A blank finding is unknown, whatever the notes say.

    Raises:
        ManifestError: if `metadata.csv` is absent, lacks a column or has a row without an id.
    """
    table = files.table(r"(?:.*/)?metadata\.csv(\.gz)?", "metadata.csv[.gz]")
    for record in read_records(files, table, ("patientid", "finding", "view"), encoding="latin-1"):
        name = record["patientid"]
        findings = tokens(record["finding"])
        unhealthy, covid, other = labels(findings)
        view, excluded = view_of(record["view"], record.get("modality", ""))
        yield ManifestRow(
            **_where(files, table, name),
            patient_id=scoped(dataset, _LETTER.sub("", name)),
            view=view,
            view_source="none" if view is View.UNKNOWN else "view",
            sex=parse_sex(record.get("sex", "")),
            age=parse_age(record.get("age", "")),
            illness_day=whole(record.get("offset", "")),
            findings=findings,
            unhealthy=unhealthy,
            covid=covid,
            other=other,
            excluded=excluded,
        )
    yield from unlisted(files, r"(?:.*/)?images/[^/]+\.(png|jpe?g)")


def _where(files: SourceFiles, table: SourceFile, name: str) -> dict[str, Any]:
    """Returns the place of the image with this id; an absent image gets the name that it would have as `.jpg`."""
    candidates = [beside(table, f"images/{name}.{suffix}") for suffix in _SUFFIXES]
    file = files.first(*candidates)
    return {"path": candidates[0]} if file is None else place(files.take(file))
