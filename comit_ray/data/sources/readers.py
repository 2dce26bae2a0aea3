"""A source's text tables, plain or gzip, loose or inside an archive, read line by line."""

import codecs
import csv
import gzip
import io
from collections.abc import Iterator
from typing import BinaryIO, cast

from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import ManifestError
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
