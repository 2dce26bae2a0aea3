"""Source `hannover` (Hannover Medical School): `data.csv` and `png/<image_id>.png`.

Winther et al., "COVID-19 Image Repository", 2020. Every patient was admitted with COVID-19, but some images were taken
before that. `admission_offset` is the day of admission relative to the image: -21 means an image of day 21, 23 an image
taken 23 days before admission (the repository's issues 2 and 4). The owners' rule for the label, from issue 4: more
than 14 days before admission is not COVID-19, 7 to 14 days before is unknown, all others are COVID-19. They publish no
radiological findings (issue 8).
"""

from collections.abc import Iterator

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.covid_table import COVID, UNKNOWN, Labels, beside, read_records, view_of, whole
from comit_ray.data.sources.manifest_row import ManifestRow, located, parse_age, parse_sex, scoped, unlisted
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.tables.vocabulary import View

BEFORE: Labels = (None, 0, None)
"""Not yet COVID-19; the source does not say why the radiograph was taken or what it shows."""

_COLUMNS = ("image_id", "patient_id", "admission_offset", "modality", "projection")
_RADIOGRAPHY = {"CR", "DX"}


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every row of `data.csv`, then the images of `png/` that it does not list (without labels).

    Raises:
        ManifestError: if `data.csv` is absent, lacks a column or has a row without an image.
    """
    table = files.table(r"(?:.*/)?data\.csv(\.gz)?", "data.csv[.gz]")
    for record in read_records(files, table, _COLUMNS):
        offset = whole(record["admission_offset"])
        illness_day = None if offset is None else -offset
        unhealthy, covid, other = labels(illness_day)
        modality = record["modality"].upper()
        view, excluded = view_of(record["projection"], "" if modality in _RADIOGRAPHY else modality)
        yield ManifestRow(
            **located(files, beside(table, f"png/{record['image_id']}.png")),
            patient_id=scoped(dataset, record["patient_id"]),
            view=view,
            view_source="none" if view is View.UNKNOWN else "projection",
            sex="F" if record.get("sex") == "w" else parse_sex(record.get("sex", "")),  # w: weiblich
            age=parse_age(record.get("age", "")),
            illness_day=illness_day,
            unhealthy=unhealthy,
            covid=covid,
            other=other,
            excluded=excluded,
        )
    yield from unlisted(files, r"(?:.*/)?png/[^/]+\.png")


def labels(illness_day: int | None) -> Labels:
    """Returns unhealthy, COVID-19 and other disease by the day of the image, counted from admission."""
    if illness_day is None or -14 <= illness_day <= -7:
        return UNKNOWN
    return BEFORE if illness_day < -14 else COVID
