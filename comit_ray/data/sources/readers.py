"""A source's text tables, plain or gzip, loose or inside an archive, read line by line.

The first sheet of an Excel workbook, read as a table of text.

Where on the web an image came from, by its URL: what the column `site` says of collections of published images.
"""

import codecs
import csv
import gzip
import io
from collections.abc import Iterator
from typing import BinaryIO, cast
from urllib.parse import SplitResult, urlsplit

from openpyxl import load_workbook

from comit_ray.data.images.radiograph import decoder_guard
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import DecodeError, ManifestError
from comit_ray.storage import storage


def read_lines(files: SourceFiles, file: SourceFile, encoding: str = "utf-8-sig") -> Iterator[str]:
    """The lines of a text file, gzip or not, with their ends, as they are read; a byte-order mark is dropped.

    Raises:
        ManifestError: if it is no text of this encoding, or a broken gzip file.
    """
    where = files.reference(file)
    try:
        codecs.lookup(encoding)
        if file.member is not None:
            yield from _decoded(io.BytesIO(files.read(file)), file.name, encoding)
        else:
            with storage.open_stream(where.uri) as stream:
                yield from _decoded(stream, file.name, encoding)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, OSError, LookupError) as error:
        raise ManifestError(f"expected {encoding} text in {where}, got: {error}") from error


def _decoded(stream: BinaryIO, name: str, encoding: str) -> Iterator[str]:
    plain = cast(BinaryIO, gzip.GzipFile(fileobj=stream)) if name.lower().endswith(".gz") else stream
    # newline="": the csv module wants the line ends inside quotes as they are
    yield from io.TextIOWrapper(plain, encoding=encoding, newline="")


def read_csv(
    files: SourceFiles, file: SourceFile, delimiter: str = ",", encoding: str = "utf-8-sig"
) -> tuple[list[str], Iterator[list[str]]]:
    """The header of a CSV table and its rows, one by one; blank lines are left out.

    Rows shorter than the header are filled with empty strings (spreadsheets drop trailing commas).

    Raises:
        ManifestError: if there is no header, or (while reading) a row the csv module refuses.
    """
    reader = csv.reader(read_lines(files, file, encoding), delimiter=delimiter)
    header = [name.strip() for name in next(reader, [])]
    if not any(header):
        raise ManifestError(f"expected a header line in {files.reference(file)}, got an empty file")
    return header, _filled(reader, len(header), files, file)


def _filled(reader: Iterator[list[str]], width: int, files: SourceFiles, file: SourceFile) -> Iterator[list[str]]:
    try:
        for row in reader:
            if any(row):
                yield row + [""] * (width - len(row))
    except csv.Error as error:
        raise ManifestError(f"expected a CSV table in {files.reference(file)}, got: {error}") from error


def read_sheet(files: SourceFiles, file: SourceFile) -> tuple[list[str], list[list[str]]]:
    """The header of the first sheet and its rows, cells as stripped text; a row without any cell is left out.

    Raises:
        ManifestError: if the file is no Excel workbook, or its first sheet is empty.
    """
    data = files.read(file)
    try:
        with decoder_guard():
            sheet = load_workbook(io.BytesIO(data), read_only=True, data_only=True).worksheets[0]
            sheet.reset_dimensions()  # some writers state a size that is too small, and the rest would be left out
            lines = [
                ["" if cell is None else str(cell).strip() for cell in row] for row in sheet.iter_rows(values_only=True)
            ]
    except DecodeError as error:
        raise ManifestError(f"expected an Excel workbook (.xlsx) at {files.reference(file)}: {error.detail}") from error
    lines = [line for line in lines if any(line)]
    if not lines:
        raise ManifestError(f"expected a header line in {files.reference(file)}, got an empty sheet")
    header, *rest = lines
    return header, [line + [""] * (len(header) - len(line)) for line in rest]


_SITES = ("sirm", "radiopaedia", "eurorad", "bsti", "rsna", "figure1", "bimcv")  # known by a label of the host name
_SHARED_HOSTS = {"github.com", "kaggle.com"}  # one host, many collections: the first folder tells them apart
_SHELVES = {"c", "competitions", "datasets"}  # folders of Kaggle before the collection's own


def site_of(url: str) -> str | None:
    """`sirm`, `radiopaedia`, `eurorad` ... from the URL's host; an unknown host stands for itself.

    On GitHub and Kaggle the owner or the competition is the site: `https://github.com/ml-workgroup/x` is
    `ml-workgroup`. None for a blank cell or one that is no URL.
    """
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
    except ValueError:
        return None
    host = (parts.hostname or "").removeprefix("www.")
    if host in _SHARED_HOSTS:
        return _owner(parts) or host
    return next((site for site in _SITES if site in host.split(".")), host or None)


def _owner(parts: SplitResult) -> str | None:
    folders = [folder for folder in parts.path.split("/") if folder]
    return next((folder for folder in folders if folder not in _SHELVES), None)
