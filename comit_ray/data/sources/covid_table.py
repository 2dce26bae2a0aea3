"""Reads tables in the form of covid-chestxray's `metadata.csv`, which other collections share.

Their headers vary (`Patientid` or `patientid`, ` url`, `clinical notes` or `clinical_notes`); findings and views use
the same words everywhere.
"""

import re
from collections.abc import Iterator

from comit_ray.data.sources.readers import read_csv
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import ManifestError, Reason
from comit_ray.tables.vocabulary import View

Labels = tuple[int | None, int | None, int | None]
"""Unhealthy, COVID-19, other disease: 1, 0 or None for unknown."""

UNKNOWN: Labels = (None, None, None)
HEALTHY: Labels = (0, 0, 0)
COVID: Labels = (1, 1, 0)
OTHER: Labels = (1, 0, 1)

_UNDECIDED = {"todo", "unknown"}
_UNCLEAR_VIEWS = {"", "?", "X-RAY"}
_CT_VIEWS = {"AXIAL", "CORONAL", "SAGITTAL", "CT"}


def read_records(
    files: SourceFiles, table: SourceFile, columns: tuple[str, ...], encoding: str = "utf-8-sig"
) -> Iterator[dict[str, str]]:
    """Yields the rows of a table as normalised column name -> cell; both are stripped.

    Column names are in lower case with `_` for spaces.

    Args:
        files: files of the source.
        table: the CSV file.
        columns: required columns; the first names the image, and no row may leave it blank.
        encoding: encoding of the table.

    Raises:
        ManifestError: (while reading) if a column is absent, a row names no image, or the file is not such a table.
    """
    header, lines = read_csv(files, table, encoding=encoding)
    names = [re.sub(r"\s+", "_", name.lower()) for name in header]
    lacking = [name for name in columns if name not in names]
    if lacking:
        raise ManifestError(f"expected columns {', '.join(columns)} in {table.name}, got: {', '.join(header)}")
    for number, line in enumerate(lines, start=1):
        record = dict(zip(names, (cell.strip() for cell in line), strict=False))
        if not record[columns[0]]:
            raise ManifestError(
                f"expected {columns[0]} in every row of {table.name}, row {number} below the header has none"
            )
        yield record


def beside(table: SourceFile, name: str) -> str:
    """Returns the name of a file given relative to the folder of `table`."""
    folder = table.name.rpartition("/")[0]
    return f"{folder}/{name}" if folder else name


def tokens(finding: str) -> tuple[str, ...]:
    """Splits a finding into its parts, in the old form (`COVID-19, ARDS`) or the new (`Pneumonia/Viral/COVID-19`)."""
    return tuple(token.strip() for token in re.split(r"[/,]", finding) if token.strip())


def labels(findings: tuple[str, ...]) -> Labels:
    """Returns unhealthy, COVID-19 and other disease from the `tokens` of a finding.

    `COVID-19, ARDS` and `Pneumonia/Viral/COVID-19` are COVID-19: its complications do not count as another disease.
    """
    known = {token.lower() for token in findings} - _UNDECIDED
    if not known:
        return UNKNOWN
    if "covid-19" in known:
        return COVID
    return HEALTHY if known == {"no finding"} else OTHER


def view_of(view: str, modality: str) -> tuple[View, Reason | None]:
    """Returns the view and, if the row is not a frontal radiograph, the reason to exclude it.

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


def whole(text: str) -> int | None:
    """Returns a whole number of days from `3` or `3.0`; None for anything else."""
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
