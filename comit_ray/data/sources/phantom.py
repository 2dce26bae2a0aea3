"""Source `phantom`: an archive of the job `phantom`, with `labels.csv`, `images/` and two mask folders."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import TypeVar

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.manifest_row import ManifestRow, located, parse_age, parse_sex, scoped, unlisted
from comit_ray.data.sources.readers import read_csv
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError
from comit_ray.tables.vocabulary import View

Value = TypeVar("Value")

TABLE = "labels.csv[.gz]"
COLUMNS = ("file", "patient", "study", "view", "sex", "age", "covid", "unhealthy", "other", "findings")
_LABELS: dict[str, int | None] = {"": None, "0": 0, "1": 1}
_VIEWS = {"": View.UNKNOWN, "PA": View.PA, "AP": View.AP}


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every line of `labels.csv[.gz]`, also for broken and absent files, which the decoder has to detect.

    Raises:
        ManifestError: if the table is absent, lacks a column, or holds an unknown label or view.
    """
    table = files.table(r"labels\.csv(\.gz)?", TABLE)
    header, lines = read_csv(files, table)
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise ManifestError(f"expected columns {', '.join(COLUMNS)} in {table.name}, missing: {', '.join(missing)}")
    for line in lines:
        cells = {name: cell.strip() for name, cell in zip(header, line, strict=False)}
        file = cells["file"]
        stem = file.rpartition("/")[2].rpartition(".")[0]
        view = _one_of(cells, "view", _VIEWS)
        yield ManifestRow(
            **located(files, file),
            patient_id=scoped(dataset, cells["patient"]),
            study_id=scoped(dataset, cells["study"]),
            view=view,
            view_source="none" if view is View.UNKNOWN else "view",
            site=cells.get("site") or None,
            device=cells.get("device") or None,
            acquired_on=_day(cells.get("date", "")),
            sex=parse_sex(cells["sex"]),
            age=parse_age(cells["age"]),
            findings=(cells["findings"],) if cells["findings"] else (),
            unhealthy=_one_of(cells, "unhealthy", _LABELS),
            covid=_one_of(cells, "covid", _LABELS),
            other=_one_of(cells, "other", _LABELS),
            lung_mask=files.first_uri(f"lung_masks/{stem}.png"),
            disease_mask=files.first_uri(f"disease_masks/{stem}.png"),
        )
    yield from unlisted(files, r"images/.+")


def _day(text: str) -> date | None:
    """Returns the day of a cell YYYYMMDD; None for a blank cell, as in older archives."""
    try:
        return datetime.strptime(text, "%Y%m%d").date() if text else None
    except ValueError:
        raise ManifestError(f"expected date in {TABLE} as YYYYMMDD, such as 20200313, got {text!r}") from None


def _one_of(cells: dict[str, str], column: str, known: dict[str, Value]) -> Value:
    """Returns the meaning of a cell.

    Raises:
        ManifestError: if the cell has no known meaning.
    """
    if cells[column] not in known:
        options = ", ".join(repr(option) for option in known)
        raise ManifestError(
            f"expected {column} of {cells['file']} in {TABLE} to be one of {options}, got {cells[column]!r}"
        )
    return known[cells[column]]
