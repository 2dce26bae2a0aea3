"""Counts and lists files below a root that are not a row of the manifest, each with its reason.

Files that a table of the source names, masks and other files that belong to an image count as used, not passed over.
"""

import re
from collections import Counter
from enum import StrEnum

import pyarrow as pa

from comit_ray.storage import local_files
from comit_ray.storage.archive import archive_kind
from comit_ray.tables import parquet
from comit_ray.tables.vocabulary import counted

_BATCH = 65_536
_EXAMPLES = 4
_UNREAD = re.compile(
    r".+\.(7z|rar|zipx|cab|arj|lzh|lha|ace|iso|dmg|wim|xar|cpio|sit|tar\.(zst|lz|lz4|lzma|z|br)|tzst|tlz|taz|tz"
    r"|(7z|zip|rar|tar|tgz)\.\d{2,4}|z\d\d|r\d\d|part\d+\.rar)",
    re.IGNORECASE | re.DOTALL,
)
_COMPRESSED = re.compile(r".+\.(gz|bz2|xz|zst|lz|lz4|lzma|z|br)", re.IGNORECASE | re.DOTALL)


class Why(StrEnum):
    """Reasons why a file is not a row."""

    HIDDEN = "hidden"
    NOT_A_FILE = local_files.NOT_A_FILE
    BROKEN_LINK = local_files.BROKEN_LINK
    LINK_ABOVE = local_files.LINK_ABOVE
    UNREADABLE = local_files.UNREADABLE
    FOLDER_MARKER = "folder_marker"
    NESTED = "archive_in_archive"
    ARCHIVE = "archive_not_read"
    COMPRESSED = "compressed_file"
    UNPACKED = "unpacked_beside"
    INDEX = "dicom_index"
    OTHER = "other_format"


MEANINGS: dict[Why, str] = {
    Why.HIDDEN: "names that begin with a dot, or __MACOSX",
    Why.NOT_A_FILE: "pipes, sockets and devices",
    Why.BROKEN_LINK: "links that lead nowhere",
    Why.LINK_ABOVE: "links to a directory that holds them",
    Why.UNREADABLE: "directories that may not be listed",
    Why.FOLDER_MARKER: "objects whose key ends in a slash",
    Why.NESTED: "archives inside archives: unpack the outer one",
    Why.ARCHIVE: "archives of a format that is not read: unpack them",
    Why.COMPRESSED: "single files that are compressed: unpack them",
    Why.UNPACKED: "members of an archive that lie unpacked beside it, and count once",
    Why.INDEX: "DICOMDIR",
    Why.OTHER: "neither an image of this source nor named by one of its tables",
}
SCHEMA = pa.schema([("path", pa.string()), ("member", pa.string()), ("size", pa.int64()), ("reason", pa.string())])


def why(name: str, member: str | None) -> Why:
    """Returns the reason why a file that nothing has used is not a row, judged by its name."""
    if archive_kind(name) is not None:
        return Why.OTHER if member is None else Why.NESTED
    if _UNREAD.fullmatch(name):
        return Why.ARCHIVE if member is None else Why.NESTED
    if name.rpartition("/")[2].upper() == "DICOMDIR":
        return Why.INDEX
    return Why.COMPRESSED if _COMPRESSED.fullmatch(name) else Why.OTHER


class Skipped:
    """Files that are not a row, in the order in which they were found; about 100 bytes per file."""

    def __init__(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._rows: list[tuple[str, str | None, int, str]] = []
        self._counts: Counter[str] = Counter()
        self._endings: dict[str, Counter[str]] = {}

    def add(self, path: str, member: str | None, size: int, reason: str) -> None:
        """Adds one file: its path relative to the root, its name inside the archive there, its size, and the reason."""
        self._rows.append((path, member, size, str(reason)))
        self._counts[str(reason)] += 1
        base = (member or path).rpartition("/")[2]
        ending = f".{base.rpartition('.')[2].lower()}" if "." in base.lstrip(".") else "no ending"
        endings = self._endings.setdefault(str(reason), Counter())
        if ending in endings or len(endings) < 1000:
            endings[ending] += 1
        if len(self._rows) == _BATCH:
            self._flush()

    def __len__(self) -> int:
        return sum(self._counts.values())

    def counts(self) -> dict[str, int]:
        """Returns the number of files per reason, the most frequent first."""
        return dict(self._counts.most_common())

    def table(self) -> pa.Table:
        """Returns one row per file: `path`, `member`, `size`, `reason`."""
        self._flush()
        return pa.Table.from_batches(self._batches, schema=SCHEMA)

    def describe(self) -> str:
        """Returns the number of files per reason, with the most frequent file endings."""
        lines = [f"passed over: {counted(len(self), 'file')} below the root"]
        for reason, count in self.counts().items():
            endings = ", ".join(
                f"{ending!a} {number:,}" for ending, number in self._endings[reason].most_common(_EXAMPLES)
            )
            lines.append(f"  {count:,} {reason} ({MEANINGS[Why(reason)]}): {endings}")
        return "\n".join(lines)

    def write(self, uri: str) -> None:
        """Writes the `table` as CSV."""
        parquet.write_csv(uri, self.table())

    def _flush(self) -> None:
        if self._rows:
            columns = [
                pa.array(values, field.type)
                for values, field in zip(zip(*self._rows, strict=True), SCHEMA, strict=True)
            ]
            self._batches.append(pa.record_batch(columns, schema=SCHEMA))
            self._rows = []


def member_name(folder: str, name: str) -> str:
    """Returns a member's name as if its archive in `folder` were unpacked: without `.`, `..` and superfluous slashes.

    A name that leads out of the root begins with `../`.
    """
    parts: list[str] = []
    inside = name.replace("\\", "/").lstrip("/")  # zips made on Windows have backslashes
    for part in f"{folder}/{inside}".split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def is_hidden(name: str) -> bool:
    """Whether a part of the name begins with a dot, or is what macOS puts beside files; `.` and `..` do not count."""
    parts = name.split("/")
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in parts)
