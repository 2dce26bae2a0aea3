"""Compares an archive's listing with the rows of a manifest: which files are new, changed, gone, or as they were.

A file has changed if its size or its tag (ETag, time of change) is another, or a checksum that the source states. What
one of both does not know decides nothing. A member of an archive that was written anew is as it was if its own size,
place and tag are.
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
"""Columns of the manifest that this needs."""
Row = dict[str, Any]


@dataclass
class KnownImages:
    """The newest version of every image of one dataset, by path below the root, and what the listing says of it."""

    rows: list[Row]
    by_path: dict[str, int]
    archives: dict[str, str | None]
    """Archive -> its part of its members' tags; None: not known."""
    members: dict[str, list[int]]
    seen: set[int] = field(default_factory=set)

    def passes(self, entry: FileEntry, *, only_new: bool) -> bool:
        """Whether a listed file is to be looked at; one that is a row, and has not changed, is noted as there."""
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
    """The newest versions of the images of `dataset`, from rows of the manifest with `COMPARED`.

    Raises:
        ConfigError: there are none.
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
    """Whether a file is still what the row's was; what one of both does not know decides nothing."""
    pairs = ((row["file_size"], size), (row["file_tag"], tag))
    return all(before is None or now is None or before == now for before, now in pairs)


def _same_file(before: Row, now: Row) -> bool:
    """The same of two rows. A member of an archive that was written anew is the same if its own facts are."""
    stated = (before["checksum"], now["checksum"])  # of a member it is the archive's
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
    """The rows that are new, or of a file that changed; and of the latter the earlier image_id -> the new one.

    Args:
        rows: of the source.
        known: what there is; files that are as they were are noted as there.
        by_rows: whether a row stands for its file, as nothing can be listed.
    """
    keep: list[int] = []
    ids: list[str] = []
    versions: list[int] = []
    changed: dict[str, str] = {}
    sized = any(row["file_size"] is not None for row in known.rows)  # not in manifests of before
    for index, row in enumerate(rows.select(COMPARED).to_pylist()):
        at = known.by_path.get(row["image_id"].removeprefix(f"{row['dataset']}/"))
        if at is None:
            keep.append(index)
            ids.append(row["image_id"])
            versions.append(1)
            continue
        before = known.rows[at]
        if row["file_size"] is None and not by_rows:  # a table names it, and there is no file
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
    """The table with other values in some columns."""
    for name, values in columns.items():
        at = MANIFEST.get_field_index(name)
        table = table.set_column(at, MANIFEST.field(at), values)
    return table
