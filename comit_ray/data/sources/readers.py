"""Reads a source's text tables line by line: plain or gzip, loose or inside an archive.

It also reads the first sheet of an Excel workbook as a table of text, and derives from a URL the website that an image
of a published collection comes from (the column `site`).
"""

import codecs
import csv
import gzip
import io
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import SplitResult, urlsplit

from openpyxl import load_workbook

from comit_ray.data.images.radiograph import decoder_guard
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import DecodeError, ManifestError
from comit_ray.storage import storage

if TYPE_CHECKING:
    import _csv


_UNKNOWN = frozenset(
    ("", "nan", "-nan", "+nan", "na", "n/a", "n.a.", "n.a", "#n/a", "#na", "#n/a n/a", "<na>", "nat", "none", "null")
) | frozenset(
    ("nil", "(null)", "\\n", "-", "--", "---", "\u2013", "\u2014", "?", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan")
)


def read_lines(files: SourceFiles, file: SourceFile, encoding: str = "utf-8-sig") -> Iterator[str]:
    """Yields the lines of a text file, gzip or not, with line ends; a byte-order mark is dropped.

    Raises:
        ManifestError: the file is not text in this encoding, or is a broken gzip file.
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
    # newline="" keeps line ends inside quotes, as the csv module needs
    yield from io.TextIOWrapper(plain, encoding=encoding, newline="")


@lru_cache(maxsize=4096)  # a table has few values in most of its columns, but millions of cells
def is_unknown(cell: str) -> bool:
    """Whether a cell is blank or marks an unknown value as some tool does (`NaN`, `#N/A`, `-`)."""
    return cell.strip().casefold() in _UNKNOWN


def read_csv(
    files: SourceFiles,
    file: SourceFile,
    delimiter: str = ",",
    encoding: str = "utf-8-sig",
    *,
    unknown_as_blank: bool = True,
) -> tuple[list[str], Iterator[list[str]]]:
    """Returns the header of a CSV table, and its rows one by one; blank lines are left out.

    Rows shorter than the header are filled with empty strings, because spreadsheets drop trailing commas. Cells that
    say that a value is not known (see `is_unknown`) become empty strings too, unless `unknown_as_blank` is false.

    Raises:
        ManifestError: there is no header, or (while reading) the csv module refuses a row, for example because a quote
            is never closed; the message names the line where the row begins.
    """
    lines = _strict(csv.reader(read_lines(files, file, encoding), delimiter=delimiter, strict=True), files, file)
    header = [name.strip() for name in next(lines, [])]
    if not any(header):
        raise ManifestError(f"expected a header line in {files.reference(file)}, got an empty file")
    return header, _filled(lines, len(header), unknown_as_blank)


def _strict(reader: "_csv.Reader", files: SourceFiles, file: SourceFile) -> Iterator[list[str]]:
    """Yields the rows; an error names the line where its row begins, since the reader finds it at the file's end."""
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ManifestError(
                f"expected a CSV table in {files.reference(file)}, in the row that begins in line {line} got: {error} "
                "(a quote that is not closed, or not doubled, takes in what follows it)"
            ) from error
        if row is None:
            return
        yield row


def _filled(lines: Iterator[list[str]], width: int, unknown_as_blank: bool) -> Iterator[list[str]]:
    for row in lines:
        if any(row):
            cells = ["" if is_unknown(cell) else cell for cell in row] if unknown_as_blank else row
            yield cells + [""] * (width - len(row))


def read_sheet(files: SourceFiles, file: SourceFile) -> tuple[list[str], list[list[str]]]:
    """Returns the header of the first sheet, and its rows as stripped text; rows without any cell are left out.

    Raises:
        ManifestError: the file is not an Excel workbook, or its first sheet is empty.
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


_SITES = ("sirm", "radiopaedia", "eurorad", "bsti", "rsna", "figure1", "bimcv")  # recognised by a part of the host name
_SHARED_HOSTS = {"github.com", "kaggle.com"}  # one host, many collections: the first folder distinguishes them
_SHELVES = {"c", "competitions", "datasets"}  # Kaggle's folders before the folder of a collection


def site_of(url: str) -> str | None:
    """Returns `sirm`, `radiopaedia`, `eurorad` ... from the URL's host; an unknown host is returned as it is.

    On GitHub and Kaggle the owner or the competition is the site: `https://github.com/ml-workgroup/x` gives
    `ml-workgroup`. Returns None for a blank cell or text that is not a URL.
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
