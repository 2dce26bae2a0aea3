"""Source `actualmed`: `metadata.csv` (latin-1) and `images/<imagename>`.

A finding is the radiologists' conclusion at the end of their report. `COVID-19` means "images compatible with
COVID-19", blank means "inconclusive", and `No finding` means "normal; COVID-19 is excluded" (the notes repeat only the
second half).
"""

import re
from collections.abc import Iterator
from datetime import date, datetime

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.covid_table import beside, labels, read_records, tokens, view_of, whole
from comit_ray.data.sources.manifest_row import ManifestRow, located, parse_age, parse_sex, scoped, unlisted
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.tables.vocabulary import View

_DAY = re.compile(r"date taken \(YYYYMMDD\):\s*(\d{8})")


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every row of `metadata.csv`, then the images of `images/` that it does not list (without labels).

    Raises:
        ManifestError: if `metadata.csv` is absent, lacks a column or has a row without an image.
    """
    table = files.table(r"(?:.*/)?metadata\.csv(\.gz)?", "metadata.csv[.gz]")
    for record in read_records(files, table, ("imagename", "patientid", "finding", "view"), encoding="latin-1"):
        findings = tokens(record["finding"])
        unhealthy, covid, other = labels(findings)
        view, excluded = view_of(record["view"], record.get("modality", ""))
        yield ManifestRow(
            **located(files, beside(table, f"images/{record['imagename']}")),
            patient_id=scoped(dataset, record["patientid"]),
            view=view,
            view_source="none" if view is View.UNKNOWN else "view",
            sex=parse_sex(record.get("sex", "")),
            age=parse_age(record.get("age", "")),
            acquired_on=_day(record.get("notes", "")),
            illness_day=whole(record.get("offset", "")),
            findings=findings,
            unhealthy=unhealthy,
            covid=covid,
            other=other,
            excluded=excluded,
        )
    yield from unlisted(files, r"(?:.*/)?images/[^/]+\.(png|jpe?g)")


def _day(notes: str) -> date | None:
    """Returns the day from `Inconclusive, date taken (YYYYMMDD): 20200313`; None if there is none."""
    found = _DAY.search(notes)
    try:
        return datetime.strptime(found[1], "%Y%m%d").date() if found else None
    except ValueError:
        return None
