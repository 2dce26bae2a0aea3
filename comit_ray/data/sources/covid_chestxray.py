"""ieee8023/covid-chestxray-dataset: `metadata.csv`, whose columns drifted, with images from papers and teaching sites.

Cohen et al., "COVID-19 Image Data Collection: Prospective Predictions Are the Future", 2020. Masks of its images were
made by others too; see `comit_ray.data.sources.covid_masks`.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime

from comit_ray.config.data_config import SourceOptions
from comit_ray.data.sources.adapter import ManifestRow, located, parse_age, parse_sex, place, scoped
from comit_ray.data.sources.covid_masks import DrawnMasks, drawn_masks, lung_boxes
from comit_ray.data.sources.covid_table import beside, labels, read_records, tokens, view_of, whole
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.data.sources.web_site import site_of
from comit_ray.errors import Reason
from comit_ray.tables.vocabulary import View

_DAY_FORMATS = ("%B %d, %Y", "%b %d, %Y", "%Y-%m-%d", "%d %B %Y", "%d %b %Y")


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Every row of `metadata.csv`, then the images of `images/` that it does not list (without labels).

    An image that lies beside `structure.csv` a second time is excluded as a duplicate.

    Raises:
        ManifestError: if `metadata.csv` is absent or lacks a column, or an annotation file has another form.
    """
    table = files.table(r"(?:.*/)?metadata\.csv(\.gz)?", "metadata.csv[.gz]")
    drawn, boxes = drawn_masks(files), lung_boxes(files)
    copies = set()
    for record in read_records(files, table, ("filename", "finding", "view")):
        if drawn.folder is not None:
            copies.add(f"{drawn.folder}images/{record['filename']}")
        yield _row(record, files, table, dataset, drawn, boxes)
    for file in files.untaken(r"(?:.*/)?images/[^/]+\.(png|jpe?g)"):
        excluded = Reason.DUPLICATE if file.name in copies else None
        yield ManifestRow(**place(file), listed=False, excluded=excluded)


def _row(
    record: dict[str, str],
    files: SourceFiles,
    table: SourceFile,
    dataset: str,
    drawn: DrawnMasks,
    boxes: dict[str, str],
) -> ManifestRow:
    name = record["filename"]
    stem = name.rpartition(".")[0] or name
    annotations = beside(table, "annotations")
    findings = tokens(record["finding"])
    unhealthy, covid, other = labels(findings)
    view, excluded = view_of(record["view"], record.get("modality", ""))
    return ManifestRow(
        **located(files, beside(table, f"{record.get('folder') or 'images'}/{name}")),
        site=site_of(record.get("url", "")),
        patient_id=scoped(dataset, record.get("patientid", "")),
        view=view,
        view_source="none" if view is View.UNKNOWN else "view",
        sex=parse_sex(record.get("sex", "")),
        age=parse_age(record.get("age", "")),
        acquired_on=parse_day(record.get("date", "")),
        illness_day=whole(record.get("offset", "")),
        findings=findings,
        unhealthy=unhealthy,
        covid=covid,
        other=other,
        # drawn by hand before drawn by a network, pixels before boxes
        lung_mask=files.first_uri(f"{annotations}/lung_masks/{stem}.png")
        or drawn.lung.get(name)
        or files.first_uri(f"{annotations}/lungVAE-masks/{stem}_mask.png")
        or boxes.get(name),
        disease_mask=files.first_uri(f"{annotations}/disease_masks/{stem}.png") or drawn.disease.get(name),
        excluded=excluded,
    )


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
