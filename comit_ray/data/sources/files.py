"""A source's files, listed once, and its tables: `.csv` or `.csv.gz`, whichever copy somebody has."""

import csv
import gzip
import io
import re
from collections.abc import Iterator

from comit_ray import storage
from comit_ray.errors import ManifestError


class SourceFiles:
    """The files below a source's root: one listing, so that looking for masks never asks the storage again.

    Args:
        root: URI of the source's directory.

    Raises:
        NotFoundError: if there is no directory at `root`.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.sizes: dict[str, int] = {entry.path: entry.size for entry in storage.list_files(root)}

    def matching(self, pattern: str) -> list[str]:
        """Relative paths, sorted, that the regular expression matches whole, in any case."""
        compiled = re.compile(pattern, re.IGNORECASE)
        return [path for path in self.sizes if compiled.fullmatch(path)]

    def first_uri(self, *paths: str) -> str | None:
        """URI of the first of the relative `paths` that exists, or None."""
        return next((storage.join(self.root, path) for path in paths if path in self.sizes), None)

    def table(self, pattern: str, expected: str) -> str:
        """The one relative path that `pattern` matches.

        Raises:
            ManifestError: if there is none, or more than one; it names what was `expected`.
        """
        found = self.matching(pattern)
        if len(found) != 1:
            came = f"found {', '.join(found)}" if found else "found none"
            raise ManifestError(f"expected one {expected} in {self.root}, {came}")
        return found[0]


def read_lines(files: SourceFiles, path: str) -> Iterator[str]:
    """The lines of a text file, gzip or not, with their ends; a byte-order mark is dropped.

    Raises:
        ManifestError: if it is no UTF-8 text or a broken gzip file.
    """
    raw = storage.read_bytes(storage.join(files.root, path))
    stream = gzip.GzipFile(fileobj=io.BytesIO(raw)) if path.lower().endswith(".gz") else io.BytesIO(raw)
    try:
        # newline="": the csv module wants the line ends inside quotes as they are
        yield from io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise ManifestError(f"expected UTF-8 text in {files.root}/{path}, got: {error}") from error


def read_csv(files: SourceFiles, path: str) -> tuple[list[str], Iterator[list[str]]]:
    """The header of a CSV table and its rows, one by one; blank lines are left out.

    Rows shorter than the header are filled with empty strings (spreadsheets drop trailing commas).

    Raises:
        ManifestError: if there is no header.
    """
    reader = csv.reader(read_lines(files, path))
    header = [name.strip() for name in next(reader, [])]
    if not any(header):
        raise ManifestError(f"expected a header line in {files.root}/{path}, got an empty file")
    width = len(header)
    return header, (row + [""] * (width - len(row)) for row in reader if any(row))
