"""Source `table`: any table beside images, with a YAML that maps its columns.

`--table.mapping covidx` (and `rsna-boxes`, `siim-rle`, `vindr-boxes`) is part of the package; `--table.mapping my.yaml`
is your own.

The image of a row lies at a place that the row's cells name, or under its name in any folder.
"""

import posixpath
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.manifest_row import ManifestRow, place, unlisted
from comit_ray.data.sources.readers import read_csv, read_lines
from comit_ray.data.sources.source_files import IMAGES, SourceFile, SourceFiles, composed
from comit_ray.data.sources.table.table_cells import Record, fill, template_columns
from comit_ray.data.sources.table.table_mapping import COVIDX_COLUMNS, MappedTable, Mapping, load
from comit_ray.data.sources.table.table_parts import Mask
from comit_ray.data.sources.table.table_rows import Description, describe, join, to_row
from comit_ray.errors import ManifestError


class ImageFinder:
    """Finds images among a source's files.

    Args:
        files: files of the source.
        mapping: states where images are.
    """

    def __init__(self, files: SourceFiles, mapping: Mapping) -> None:
        self._files = files
        self._mapping = mapping
        self._names: _Names | None = None  # made when first needed: most sources do not need it

    def find(self, record: Record, table: MappedTable, folder: str) -> tuple[str, SourceFile | None]:
        """Returns the image's name relative to the root, and its file if it is present.

        An absent image gets the first name that its templates give.

        Args:
            record: the row.
            table: the list that holds the row.
            folder: folder of the table's file, relative to the root.

        Raises:
            ManifestError: if a cell that the name needs is blank or leaves its folder, or two files have the name.
        """
        names = list(self.names((*table.image, *self._mapping.image.at), record, folder))
        for name in names:
            file = self._files.find(name)
            if file is not None:
                return name, file
        if self._mapping.image.anywhere is not None:
            text = fill(self._mapping.image.anywhere, record)
            if text is not None:
                file = self._anywhere(text)
                if file is not None:
                    return file.name, file
                names.append(text)
        if not names:
            raise ManifestError("expected the name of an image, got a blank cell")
        return names[0], None

    def names(self, templates: tuple[str, ...], record: Record, folder: str) -> Iterator[str]:
        """Yields the names from templates, relative to the root, except those with a blank cell or above the root."""
        for template in templates:
            text = fill(template, record)
            if text is None:
                continue
            if any(".." in record[column].split("/") for column in template_columns(template)):
                raise ManifestError("expected a name below its folder, got a cell with `..`")
            name = posixpath.normpath(posixpath.join(folder, text.lstrip("/")))
            if not name.startswith("../"):  # the template leads above the root
                yield name

    def _anywhere(self, name: str) -> SourceFile | None:
        if "/" in name or name.startswith("."):
            raise ManifestError(
                "expected the name of a file alone for `anywhere`, got one with folders or a leading dot"
            )
        if self._names is None:
            self._names = _Names(self._files, self._mapping.images)
        found = self._names.find(name)
        if len(found) > 1:
            shown = " and ".join(file.name for file in found[:2])
            raise ManifestError(f"expected one file of the image's name in {self._files.root}, got {shown}")
        return found[0] if found else None


class _Names:
    """Files by the last part of their names; each file takes 12 bytes, and each folder's name is stored once.

    Args:
        files: files of the source.
        pattern: regular expression of the names that count.
    """

    def __init__(self, files: SourceFiles, pattern: str) -> None:
        self._files = files
        numbers: dict[str, int] = {}
        hashes, folders = array("q"), array("i")
        for file in files.matching(pattern):
            folder, _, name = file.name.rpartition("/")
            hashes.append(hash(composed(name)))
            folders.append(numbers.setdefault(folder, len(numbers)))
        self._folders = list(numbers)
        order = np.argsort(np.array(hashes, np.int64), kind="stable")
        self._hashes = np.array(hashes, np.int64)[order]
        self._numbers = np.array(folders, np.int32)[order]

    def find(self, name: str) -> list[SourceFile]:
        """Returns all files of this name."""
        key = hash(composed(name))
        first, end = (int(np.searchsorted(self._hashes, key, side=side)) for side in ("left", "right"))
        folders = (self._folders[number] for number in self._numbers[first:end])
        found = (self._files.find(f"{folder}/{name}" if folder else name) for folder in folders)
        return [file for file in found if file is not None]


_DELIMITERS = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a table.

    Attributes:
        at: table and number of the row, for errors.
        name: name of its image, relative to the root.
        image: file of the image, if present.
    """

    at: str
    name: str
    image: SourceFile | None
    description: Description


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every image that the mapping's tables name, then the images that no table names (without labels).

    Raises:
        ConfigError: if no mapping has the name in `options.table.mapping`, or it is not well-formed.
        ManifestError: if a table is absent, lacks a column or has a cell that the mapping does not know, or rows of
            one image disagree; the message names table and row.
    """
    mapping = load(options.table.mapping)
    read = _read(files, mapping, dataset)
    yield from _singly(files, mapping, read) if mapping.rows_per_image == "one" else _joined(files, mapping, read)
    yield from unlisted(files, mapping.images)


def _singly(files: SourceFiles, mapping: Mapping, read: Iterator[_Row]) -> Iterator[ManifestRow]:
    """Yields row by row; the manifest's own check finds absent images that are repeated."""
    seen = bytearray(len(files))
    for row in read:
        if row.image is not None:
            if seen[row.image.position]:
                raise ManifestError(
                    f"{row.at}: expected each image once, got {row.name} again; `rows_per_image: many` joins rows"
                )
            seen[row.image.position] = 1
        yield _finish(row, row.description, mapping, files)


def _joined(files: SourceFiles, mapping: Mapping, read: Iterator[_Row]) -> Iterator[ManifestRow]:
    """Reads all rows, then yields the images in the order in which they first appeared."""
    images: dict[str, tuple[_Row, Description]] = {}
    for row in read:
        first, so_far = images.get(row.name, (row, None))
        try:
            images[row.name] = first, row.description if so_far is None else join(so_far, row.description, mapping)
        except ManifestError as error:
            raise ManifestError(f"{row.at}, and {first.at}: {error}") from error
    for first, description in images.values():
        yield _finish(first, description, mapping, files)


def _finish(row: _Row, description: Description, mapping: Mapping, files: SourceFiles) -> ManifestRow:
    where: dict[str, Any] = {"path": row.name} if row.image is None else place(files.take(row.image))
    try:
        return to_row(description, where, mapping)
    except ManifestError as error:
        raise ManifestError(f"{row.at}: {error}") from error


def _read(files: SourceFiles, mapping: Mapping, dataset: str) -> Iterator[_Row]:
    """Yields every row of every table."""
    finder = ImageFinder(files, mapping)
    for table, file in _tables(files, mapping):
        folder = file.name.rpartition("/")[0]
        for number, record in _records(files, file, mapping):
            at = f"{file.name}, row {number}"

            def mask_file(mask: Mask, record: Record = record, folder: str = folder) -> str | None:
                found = files.first(*finder.names(mask.files, record, folder))
                return None if found is None else files.reference(files.take(found)).to_text()

            try:
                name, image = finder.find(record, table, folder)
                description = describe(record, mapping, table, dataset, mask_file)
            except ManifestError as error:
                raise ManifestError(f"{at}: {error}") from error
            yield _Row(at, name, image, description)


def _tables(files: SourceFiles, mapping: Mapping) -> list[tuple[MappedTable, SourceFile]]:
    found = []
    for table in mapping.tables:
        pattern = rf"(?:.*/)?(?:{table.name})(?:\.gz)?"
        if not (table.optional and next(files.matching(pattern), None) is None):
            found.append((table, files.table(pattern, table.name)))
    if not found:
        expected = " or ".join(table.name for table in mapping.tables)
        raise ManifestError(f"expected a table {expected} in {files.root}, found none")
    return found


def _records(files: SourceFiles, file: SourceFile, mapping: Mapping) -> Iterator[tuple[int, Record]]:
    """Yields the number of each row (from 1 below the header, blank lines not counted) and its cells."""
    if mapping.format == "covidx":
        yield from _covidx(files, file, mapping.encoding)
        return
    header, lines = read_csv(
        files, file, _DELIMITERS[mapping.format], mapping.encoding, unknown_as_blank=False
    )  # a mapping may give "none" a meaning of its own
    places = _places(header, file, mapping)
    absent = {column: "" for column in mapping.columns() if column not in places}
    width = len(header)
    for number, line in enumerate(lines, start=1):
        if len(line) > width and any(cell.strip() for cell in line[width:]):
            raise ManifestError(f"{file.name}, row {number}: expected {width} cells as in the header, got {len(line)}")
        yield number, absent | {column: line[at].strip() for column, at in places.items()}


def _places(header: list[str], file: SourceFile, mapping: Mapping) -> dict[str, int]:
    """Returns column, as the mapping writes it -> its index."""
    names = [name.casefold() for name in header]
    optional = {name.casefold() for name in mapping.optional_columns}
    lacking = [name for name in mapping.columns() if name.casefold() not in names and name.casefold() not in optional]
    if lacking:
        raise ManifestError(f"expected columns {', '.join(lacking)} in {file.name}, got: {', '.join(header)}")
    twice = [name for name in mapping.columns() if names.count(name.casefold()) > 1]
    if twice:
        raise ManifestError(f"expected one column {twice[0]} in {file.name}, got: {', '.join(header)}")
    return {name: names.index(name.casefold()) for name in mapping.columns() if name.casefold() in names}


def _covidx(files: SourceFiles, file: SourceFile, encoding: str) -> Iterator[tuple[int, Record]]:
    """Reads `patientid filename label [source]` from the right: the patient may hold blanks, the other three do not."""
    for number, line in enumerate(filter(str.strip, read_lines(files, file, encoding)), start=1):
        tokens = line.split()
        at = next(
            (at for at in (-3, -2) if len(tokens) > -at and re.fullmatch(IMAGES, tokens[at], re.IGNORECASE)), None
        )
        if at is None:
            raise ManifestError(
                f"{file.name}, row {number}: expected `patientid filename label [source]`, got {len(tokens)} words, "
                "none of them an image's name where it should be"
            )
        cells = [" ".join(tokens[:at]), *tokens[at:], ""]
        yield number, dict(zip(COVIDX_COLUMNS, cells, strict=False))
