"""Where the image of a table's row is: at a place that its cells name, or under its name in any folder."""

import posixpath
from array import array
from collections.abc import Iterator

import numpy as np

from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.data.sources.table.table_cells import Record, fill, template_columns
from comit_ray.data.sources.table.table_mapping import Mapping, Table
from comit_ray.errors import ManifestError


class ImageFinder:
    """Finds images among a source's files.

    Args:
        files: of the source.
        mapping: says where images are.
    """

    def __init__(self, files: SourceFiles, mapping: Mapping) -> None:
        self._files = files
        self._mapping = mapping
        self._names: _Names | None = None  # made at the first look: most sources need none

    def find(self, record: Record, table: Table, folder: str) -> tuple[str, SourceFile | None]:
        """The image's name relative to the root, and its file if it is at hand.

        An image that is not at hand bears the first name that its templates give.

        Args:
            record: the row.
            table: the list it stands in.
            folder: of the table's file, relative to the root.

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
        """Names relative to the root that templates give; those with a blank cell, or above the root, are left out."""
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
    """Files by the last part of their names: 12 bytes a file, and each folder's name once.

    Args:
        files: of the source.
        pattern: regular expression of the names that count.
    """

    def __init__(self, files: SourceFiles, pattern: str) -> None:
        self._files = files
        numbers: dict[str, int] = {}
        hashes, folders = array("q"), array("i")
        for file in files.matching(pattern):
            folder, _, name = file.name.rpartition("/")
            hashes.append(hash(name))
            folders.append(numbers.setdefault(folder, len(numbers)))
        self._folders = list(numbers)
        order = np.argsort(np.array(hashes, np.int64), kind="stable")
        self._hashes = np.array(hashes, np.int64)[order]
        self._numbers = np.array(folders, np.int32)[order]

    def find(self, name: str) -> list[SourceFile]:
        """All files of this name."""
        key = hash(name)
        first, end = (int(np.searchsorted(self._hashes, key, side=side)) for side in ("left", "right"))
        folders = (self._folders[number] for number in self._numbers[first:end])
        found = (self._files.find(f"{folder}/{name}" if folder else name) for folder in folders)
        return [file for file in found if file is not None]
