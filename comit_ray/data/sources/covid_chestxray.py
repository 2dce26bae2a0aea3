"""ieee8023/covid-chestxray-dataset: `metadata.csv`, whose columns drifted, with images from papers and teaching sites.

Cohen et al., "COVID-19 Image Data Collection: Prospective Predictions Are the Future", 2020.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime
from urllib.parse import urlsplit

from comit_ray.data.sources.files import SourceFiles, read_csv
from comit_ray.data.sources.row import ManifestRow, located, parse_age, parse_sex, scoped, unlisted
from comit_ray.errors import ManifestError, Reason
from comit_ray.schema import View
from comit_ray.source_options import SourceOptions

_REQUIRED = ("filename", "finding", "view")
_UNDECIDED = {"todo", "unknown"}
_SITES = ("sirm", "radiopaedia", "eurorad", "bsti", "rsna", "figure1")  # known by a label of the host name
_UNCLEAR_VIEWS = {"", "?", "X-RAY"}
_CT_VIEWS = {"AXIAL", "CORONAL", "SAGITTAL", "CT"}
_DAY_FORMATS = ("%B %d, %Y", "%b %d, %Y", "%Y-%m-%d", "%d %B %Y", "%d %b %Y")


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Every row of `metadata.csv`, then the images of `images/` that it does not list (without labels).

    Raises:
        ManifestError: if `metadata.csv` is absent or lacks a column.
    """
    table = files.table(r"metadata\.csv(\.gz)?", "metadata.csv[.gz]")
    header, lines = read_csv(files, table)
    columns = [re.sub(r"\s+", "_", name.lower()) for name in header]
    lacking = [name for name in _REQUIRED if name not in columns]
    if lacking:
        raise ManifestError(f"expected columns {', '.join(lacking)} in {table.name}, got: {', '.join(header)}")
    for number, line in enumerate(lines, start=1):
        record = dict(zip(columns, (value.strip() for value in line), strict=False))
        if not record["filename"]:
            raise ManifestError(
                f"expected a file name in every row of {table.name}, row {number} below the header has none"
            )
        yield _row(record, files, dataset)
    yield from unlisted(files, r"images/[^/]+\.(png|jpe?g)")


def _row(record: dict[str, str], files: SourceFiles, dataset: str) -> ManifestRow:
    name = record["filename"]
    stem = name.rpartition(".")[0] or name
    findings = tuple(token.strip() for token in re.split(r"[/,]", record["finding"]) if token.strip())
    unhealthy, covid, other = labels(findings)
    view, excluded = view_of(record["view"], record.get("modality", ""))
    return ManifestRow(
        **located(files, f"{record.get('folder') or 'images'}/{name}"),
        site=site_of(record.get("url", "")),
        patient_id=scoped(dataset, record.get("patientid", "")),
        view=view,
        view_source="none" if view is View.UNKNOWN else "view",
        sex=parse_sex(record.get("sex", "")),
        age=parse_age(record.get("age", "")),
        acquired_on=parse_day(record.get("date", "")),
        illness_day=_whole(record.get("offset", "")),
        findings=findings,
        unhealthy=unhealthy,
        covid=covid,
        other=other,
        lung_mask=files.first_uri(f"annotations/lung_masks/{stem}.png", f"annotations/lungVAE-masks/{stem}_mask.png"),
        disease_mask=files.first_uri(f"annotations/disease_masks/{stem}.png"),
        excluded=excluded,
    )


def labels(findings: tuple[str, ...]) -> tuple[int | None, int | None, int | None]:
    """Unhealthy, COVID and other disease from the tokens of `finding`, old form or new.

    `COVID-19, ARDS` and `Pneumonia/Viral/COVID-19` are COVID-19: its complications are no other disease.
    """
    known = {token.lower() for token in findings} - _UNDECIDED
    if not known:
        return None, None, None
    if "covid-19" in known:
        return 1, 1, 0
    if known == {"no finding"}:
        return 0, 0, 0
    return 1, 0, 1


def view_of(view: str, modality: str) -> tuple[View, Reason | None]:
    """The view and, where the row is no frontal radiograph, why it is excluded.

    The earliest copies have no `modality` and say `CT` under `view`. A blank view or `?` is unknown, not excluded.
    """
    view, modality = view.strip().upper(), modality.strip().upper()
    if modality not in ("", "X-RAY") or view in _CT_VIEWS:
        return View.UNKNOWN, Reason.WRONG_MODALITY
    if view.startswith("PA"):
        return View.PA, None
    if view.startswith("AP"):
        return View.AP, None
    if view == "L" or view.startswith("LAT"):
        return View.LATERAL, Reason.LATERAL
    return View.UNKNOWN, None if view in _UNCLEAR_VIEWS else Reason.NOT_FRONTAL


def site_of(url: str) -> str | None:
    """`sirm`, `radiopaedia`, `eurorad` ... from the URL's host; an unknown host stands for itself."""
    host = (urlsplit(url if "://" in url else f"//{url}").hostname or "").removeprefix("www.")
    return next((site for site in _SITES if site in host.split(".")), host or None)


def parse_day(text: str) -> date | None:
    """The day from `January 22, 2020`, `Mar 4, 2020`, `2020-03-04` or `2/29/2020`; None for a year alone.

    A numeric day that could be read either way (`3/7/2020`) is None rather than a guess.
    """
    for form in _DAY_FORMATS:
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    numeric = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{2}|\d{4})", text)
    if not numeric:
        return None
    first, second, year = (int(group) for group in numeric.groups())
    if first != second and first <= 12 and second <= 12:
        return None
    month, day = (first, second) if first <= 12 else (second, first)
    try:
        return date(year + 2000 if year < 100 else year, month, day)
    except ValueError:
        return None


def _whole(text: str) -> int | None:
    """A whole number of days from `3` or `3.0`; else None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
