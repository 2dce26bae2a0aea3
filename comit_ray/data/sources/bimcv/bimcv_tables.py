"""Reads the tables of BIMCV-COVID19: participants, tests, and labels of the reports.

Iterations of the dataset differ in the tables' names and in the language of their headers. Several tables of one kind
(positive and negative collection, two iterations) are read as one.

The module also reads the quality sheets, in which people noted each file's position and faults:
`COVID19_POSI_v1.0.xlsx` (its header is in row 2) or a table with the same columns, `image_metadata_v1.tsv[.gz]`. Both
also hold the DICOM elements of every file, so a sheet can replace absent sidecars.
"""

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import NamedTuple

from comit_ray.data.sources.bimcv import bimcv_labels
from comit_ray.data.sources.bimcv.bimcv_labels import CovidTest, Report, join, parse_labels
from comit_ray.data.sources.manifest_row import parse_age, parse_sex
from comit_ray.data.sources.readers import read_csv, read_sheet
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import ManifestError

PARTICIPANTS = r"(?:.*/)?participants\.tsv(\.gz)?"
TESTS = r"(?:.*/)?sil_reg_covid[^/]*\.(tsv|txt)(\.gz)?"
REPORTS = r"(?:.*/)?labels_(covid|sars)[^/]*\.tsv(\.gz)?"

_SPANISH = {"fecha": "date", "prueba": "test", "resultado": "result"}
_KINDS = bimcv_labels.COUNTED | {bimcv_labels.ANTIGEN}
_RESULTS = {bimcv_labels.POSITIVE, bimcv_labels.NEGATIVE, bimcv_labels.INDETERMINATE}


class Participant(NamedTuple):
    """A patient: sex (M, F or None), and the age in years if the table gives only one."""

    sex: str | None
    age: float | None


def participants(files: SourceFiles) -> dict[str, Participant]:
    """Returns subject (`sub-S03044`) -> sex and age. The row `derivatives`, a folder, is left out.

    An age cell lists the ages at all of the patient's sessions. Several ages give None, since it is unclear which age
    belongs to which session.

    Raises:
        ManifestError: if a table lacks a column.
    """
    found: dict[str, Participant] = {}
    for table in _tables(files, PARTICIPANTS):
        for subject, sex, ages in records(files, table, "participant", "gender", "age"):
            if subject.startswith("sub-"):
                stated = {parse_age(age) for age in re.findall(r"[\d.]+[A-Za-z]?", ages)}
                found[subject] = Participant(parse_sex(sex), stated.pop() if len(stated) == 1 else None)
    return found


def covid_tests(files: SourceFiles) -> dict[str, list[CovidTest]]:
    """Returns subject -> all tests of the patient; tests that give no label are counted on standard error.

    Raises:
        ManifestError: if a table lacks a column.
    """
    found: dict[str, list[CovidTest]] = {}
    for table in _tables(files, TESTS):
        unusable: Counter[str] = Counter()
        for subject, day, kind, result in records(files, table, "participant", "date", "test", "result"):
            test = CovidTest(parse_test_day(day), kind, result)
            found.setdefault(subject, []).append(test)
            if test.taken_on is None:
                unusable["without a day dd.mm.YYYY"] += 1
            elif bimcv_labels.normalise(kind) not in _KINDS:
                unusable[f"of other kinds than {', '.join(sorted(_KINDS))}"] += 1
            elif bimcv_labels.normalise(result) not in _RESULTS:
                unusable[f"with other results than {', '.join(sorted(_RESULTS))}"] += 1
        if unusable:
            what = ", ".join(f"{number} {why}" for why, number in unusable.items())
            print(f"{table.name}: tests left out: {what}", file=sys.stderr)
    return found


def report_labels(files: SourceFiles) -> dict[tuple[str, str], Report]:
    """Returns subject and session (`ses-E06828`) -> the labels of all its reports.

    Raises:
        ManifestError: if a table lacks a column.
    """
    found: dict[tuple[str, str], list[Report]] = {}
    for table in _tables(files, REPORTS):
        for subject, session, labels in records(files, table, "PatientID", "ReportID", "Labels"):
            found.setdefault((subject, session), []).append(parse_labels(labels))
    return {key: join(held) for key, held in found.items()}


def parse_sessions(data: bytes, table: SourceFile) -> Iterator[tuple[str, date]]:
    """Yields session and study day from the bytes of a `sub-*_sessions.tsv`; sessions without a day are left out.

    The third column, the report in Spanish, is not read.

    Raises:
        ManifestError: if a column is absent, or the csv module refuses a row.
    """
    # Only the reports hold bytes that are not UTF-8.
    lines = csv.reader(io.StringIO(data.decode("utf-8-sig", errors="replace"), newline=""), delimiter="\t")
    places = columns_of(next(lines, []), ("session_id", "study_date"), table)
    try:
        for line in lines:
            if len(line) > max(places):
                session, day = (line[place].strip() for place in places)
                taken_on = parse_study_day(day)
                if taken_on is not None:
                    yield session, taken_on
    except csv.Error as error:
        raise ManifestError(f"expected a table in {table.name}, got: {error}") from error


def parse_test_day(text: str) -> date | None:
    """Returns the day from `20.03.2020`; None for any other form."""
    if not re.fullmatch(r"\d{1,2}\.\d{1,2}\.\d{4}", text.strip()):
        return None
    try:
        return datetime.strptime(text.strip(), "%d.%m.%Y").date()
    except ValueError:
        return None


def parse_study_day(text: str) -> date | None:
    """Returns the day from `20200320`, a float of it or its quoted string; None for other forms, `nan` or a blank."""
    digits = re.fullmatch(r"(\d{8})(\.0*)?", text.strip(" '\""))
    try:
        return datetime.strptime(digits[1], "%Y%m%d").date() if digits else None
    except ValueError:
        return None


def records(files: SourceFiles, table: SourceFile, *names: str) -> Iterator[list[str]]:
    """Returns the cells of the named columns, row by row; headers may be Spanish and of any case.

    Raises:
        ManifestError: if a column is absent.
    """
    header, rows = read_csv(files, table, "\t")
    places = columns_of(header, names, table)
    return ([row[place].strip() for place in places] for row in rows)


def columns_of(header: list[str], names: tuple[str, ...], table: SourceFile) -> list[int]:
    """Returns the indices of the named columns.

    Raises:
        ManifestError: if a column is absent.
    """
    plain = [column.strip().lower() for column in header]
    english = [_SPANISH.get(column, column) for column in plain]
    lacking = [name for name in names if name.lower() not in english]
    if lacking:
        raise ManifestError(f"expected columns {', '.join(lacking)} in {table.name}, got: {', '.join(header)}")
    return [english.index(name.lower()) for name in names]


def _tables(files: SourceFiles, pattern: str) -> Iterator[SourceFile]:
    """Yields the present tables; a table in an archive that is only listed is named on standard error."""
    for table in files.matching(pattern):
        if table.member is not None and files.find(table.path) is None:
            print(f"{table.name} is in {table.path}, which is not there: read without it", file=sys.stderr)
        else:
            yield table


SHEETS = r"(?:.*/)?(image_metadata[^/]*\.tsv(\.gz)?|COVID19_(POSI|NEG)[^/]*\.xlsx)"
_REQUIRED = ("file", "position_manual")
_EXCLUDED = {"true": True, "1": True, "false": False, "0": False, "": False}


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One file, as the sheet has it; absent cells are blank.

    Attributes:
        file: name without folders.
        position: `Position_Manual`: PA (frontal), L (lateral) or blank.
        excluded: whether the sheet excludes the file (burned-in text, or shown with black and white swapped).
        labels: labels of the session's reports, as `comit_ray.data.sources.bimcv.bimcv_labels.parse_labels` reads them.
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
    """Returns file name -> its row, over all present sheets; of several rows of one file the first.

    145 of the 5,525 rows of the real sheet fully repeat another row; two manifest rows for one file would count it
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
    if lines and "File" not in header:  # a title stands above the header
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
