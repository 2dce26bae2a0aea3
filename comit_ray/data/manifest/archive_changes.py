"""Compares an archive's listing with the rows of a manifest: which files are new, changed, gone or unchanged.

A file has changed if its size, its tag (ETag or time of change) or the checksum that the source states differs. A fact
that only one side knows decides nothing. If an archive was written anew, a member is unchanged when its own size,
place and tag are unchanged.
"""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.data.manifest.manifest import path_of
from comit_ray.data.manifest.manifest_build import ARCHIVE_TAG, archive_tag
from comit_ray.data.manifest.manifest_updates import Marks
from comit_ray.errors import ConfigError
from comit_ray.storage.storage import FileEntry
from comit_ray.tables.manifest_schema import MANIFEST

COMPARED = ["image_id", "dataset", "member", "member_offset", "version", "file_size", "file_tag", "checksum"]
"""Columns of the manifest that a comparison needs."""
Row = dict[str, Any]


@dataclass
class KnownImages:
    """The newest version of every image of one dataset, and which of their files the listing has shown so far.

    Attributes:
        rows: columns `COMPARED` of the images.
        by_path: path below the root -> index into `rows`.
        members: archive -> indices into `rows` of its members.
        seen: indices into `rows` of the images whose file is there and unchanged.
    """

    rows: list[Row]
    by_path: dict[str, int]
    archives: dict[str, str | None]
    """Archive -> the part of its members' tags that describes the archive; None if unknown."""
    members: dict[str, list[int]]
    seen: set[int] = field(default_factory=set)

    def passes(self, entry: FileEntry, *, only_new: bool) -> bool:
        """Returns whether a listed file must be looked at; notes the file of an unchanged row in `seen`."""
        at = self.by_path.get(entry.path)
        if entry.passed is not None:
            return True
        if at is not None and not _same(self.rows[at], entry.size, entry.tag):
            return True
        if entry.path in self.archives:
            now = archive_tag(pa.chunked_array([[entry.size]]), pa.chunked_array([[entry.tag]], pa.string()))
            if self.archives[entry.path] != now[0].as_py():
                return True
            self.seen.update(self.members[entry.path])
        if at is not None:
            self.seen.add(at)
        return not only_new or (at is None and entry.path not in self.archives)


def known_rows(columns: pa.Table, marks: Marks, dataset: str) -> KnownImages:
    """Returns the newest versions of the images of `dataset`, from rows of the manifest with the columns `COMPARED`.

    Raises:
        ConfigError: the manifest has no rows of `dataset`.
    """
    rows = columns.filter(pc.equal(columns["dataset"], dataset))
    if not len(rows):
        there = ", ".join(sorted(columns["dataset"].unique().to_pylist()))
        raise ConfigError(
            f"the manifest has no rows of dataset {dataset!r} (it has {there}): give the --name and --source "
            "that it was made with, or make a manifest of its own and merge both"
        )
    rows = rows.filter(pc.invert(pc.is_in(rows["image_id"], pa.array(list(marks.superseded), pa.string()))))
    found = rows.select(COMPARED).to_pylist()
    known = KnownImages(found, {}, {}, {})
    for index, row in enumerate(found):
        path = path_of(row["image_id"], dataset, row["version"])
        known.by_path[path] = index
        if row["member"] is not None:
            archive = path.removesuffix(f"!{row['member']}")
            known.members.setdefault(archive, []).append(index)
            known.archives[archive] = (row["file_tag"] or "").partition(ARCHIVE_TAG)[0] or None
    return known


def _same(row: Row, size: int | None, tag: str | None) -> bool:
    """Returns whether size and tag are still those of the row; a fact that only one side knows decides nothing."""
    pairs = ((row["file_size"], size), (row["file_tag"], tag))
    return all(before is None or now is None or before == now for before, now in pairs)


def _same_file(before: Row, now: Row) -> bool:
    """Returns whether two rows show the same file; a member of a rewritten archive counts by its own facts."""
    stated = (before["checksum"], now["checksum"])  # a member's row states the checksum of its archive
    if before["member"] is None and None not in stated and stated[0] != stated[1]:
        return False
    if now["member"] is None or before["file_tag"] is None or now["file_tag"] is None:
        return _same(before, now["file_size"], now["file_tag"])
    (archive, _, own), (archive_now, _, own_now) = (row["file_tag"].partition(ARCHIVE_TAG) for row in (before, now))
    if archive == archive_now:
        return True
    facts = (own, before["file_size"], before["member_offset"])
    return own != "?" and facts == (own_now, now["file_size"], now["member_offset"])


def sorted_out(rows: pa.Table, known: KnownImages, *, by_rows: bool) -> tuple[pa.Table, dict[str, str]]:
    """Returns the rows that are new or whose file changed, and for the changed the earlier image_id -> the new one.

    Args:
        rows: rows of the source.
        known: what the manifest has; unchanged files are noted in `known.seen`.
        by_rows: whether a row stands for its file, because nothing can be listed.
    """
    keep: list[int] = []
    ids: list[str] = []
    versions: list[int] = []
    changed: dict[str, str] = {}
    sized = any(row["file_size"] is not None for row in known.rows)  # older manifests have no sizes
    for index, row in enumerate(rows.select(COMPARED).to_pylist()):
        at = known.by_path.get(row["image_id"].removeprefix(f"{row['dataset']}/"))
        if at is None:
            keep.append(index)
            ids.append(row["image_id"])
            versions.append(1)
            continue
        before = known.rows[at]
        if row["file_size"] is None and not by_rows:  # a table names the file, but storage lacks it
            continue
        came = before["file_size"] is None and sized and not by_rows
        if _same_file(before, row) and not came:
            known.seen.add(at)
            continue
        version = (before["version"] or 1) + 1
        keep.append(index)
        ids.append(f"{row['image_id']}@{version}")
        versions.append(version)
        changed[before["image_id"]] = ids[-1]
    return with_columns(
        rows.take(pa.array(keep, pa.int64())),
        image_id=pa.array(ids, pa.string()),
        version=pa.array(versions, pa.int32()),
    ), changed


def with_columns(table: pa.Table, **columns: pa.Array) -> pa.Table:
    """Returns the table with new values in the named columns."""
    for name, values in columns.items():
        at = MANIFEST.get_field_index(name)
        table = table.set_column(at, MANIFEST.field(at), values)
    return table
