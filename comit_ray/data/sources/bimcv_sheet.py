"""BIMCV-COVID19: the quality sheets, in which people noted each file's position and what is wrong with it.

`COVID19_POSI_v1.0.xlsx` (its header is on row 2) or a table of the same columns, `image_metadata_v1.tsv[.gz]`. Both
also hold the DICOM elements of every file, so that a sheet stands in for sidecars that are not at hand.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from comit_ray.data.sources.readers import read_csv
from comit_ray.data.sources.sheet import read_sheet
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import ManifestError

SHEETS = r"(?:.*/)?(image_metadata[^/]*\.tsv(\.gz)?|COVID19_(POSI|NEG)[^/]*\.xlsx)"
_REQUIRED = ("file", "position_manual")
_EXCLUDED = {"true": True, "1": True, "false": False, "0": False, "": False}


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One file, as the sheet has it; cells that are absent are blank.

    Attributes:
        file: name without folders.
        position: `Position_Manual`: PA (frontal), L (lateral) or blank.
        excluded: whether the sheet's makers leave the file out (burned-in text, or shown with black and white swapped).
        labels: of the session's reports, as `comit_ray.data.sources.bimcv_reports.parse_labels` reads them.
        orientation: the first value of PatientOrientation.
    """

    file: str
    position: str
    excluded: bool
    labels: str
    series: str
    orientation: str
    study_day: str
    device: str
    sex: str
    age: str


def sheet_rows(files: SourceFiles) -> dict[str, SheetRow]:
    """File name -> its row, of all sheets at hand; of several rows of one file the first.

    145 of the 5,525 rows of the real sheet repeat another wholly: two rows of a manifest for one file would count it
    twice.

    Raises:
        ManifestError: if a sheet lacks a column, or two rows of one file contradict each other.
    """
    found: dict[str, SheetRow] = {}
    for sheet in files.matching(SHEETS):
        header, lines = _read(files, sheet)
        columns = [name.strip().lower().replace(" ", "_") for name in header]
        lacking = [name for name in _REQUIRED if name not in columns]
        if lacking:
            raise ManifestError(f"expected columns {', '.join(lacking)} in {sheet.name}, got: {', '.join(header)}")
        for number, line in enumerate(lines, start=1):
            row = _row(dict(zip(columns, line, strict=False)), sheet, number)
            if not row.file:
                continue
            known = found.setdefault(row.file, row)
            if (known.position, known.excluded) != (row.position, row.excluded):
                raise ManifestError(f"expected one Position_Manual and Exclude of {row.file}, {sheet.name} has another")
    return found


def _read(files: SourceFiles, sheet: SourceFile) -> tuple[list[str], Iterator[list[str]]]:
    if not sheet.name.lower().endswith(".xlsx"):
        return read_csv(files, sheet, "\t")
    header, lines = read_sheet(files, sheet)
    if lines and "File" not in header:  # a title stands above it
        return lines[0], islice(lines, 1, None)
    return header, iter(lines)


def _row(record: dict[str, str], sheet: SourceFile, number: int) -> SheetRow:
    def cell(name: str) -> str:
        return record.get(name, "").strip().strip('"')

    stated = cell("exclude").lower().removesuffix(".0")
    if stated not in _EXCLUDED:
        raise ManifestError(f"expected True or False under Exclude in {sheet.name}, row {number} below the header not")
    return SheetRow(
        file=cell("file"),
        position=cell("position_manual"),
        excluded=_EXCLUDED[stated],
        labels=record.get("labels", ""),
        series=cell("series_description"),
        orientation=cell("patient_orientation").strip("['").partition("'")[0],
        study_day=cell("study_date"),
        device=" ".join([*cell("manufacturer").split(), *cell("manufacturer's_model_name").split()]),
        sex=cell("patient's_sex"),
        age=cell("patient's_age"),
    )
