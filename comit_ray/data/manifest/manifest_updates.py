"""Records the updates of a manifest: each adds parts and marks rows; its record, written last, is the commit.

`MANIFEST/update-00001.json` names the parts that an update added. It marks rows of earlier parts, without changing
these parts, as `superseded` by a newer version of the file or `gone` from the archive. Parts that no record names
come from an interrupted update and do not belong to the manifest. Names of added parts hold a hash of their rows, so
two updates at the same moment write different files, and only the update whose record is put first counts.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.errors import ManifestError, NotFoundError, Reason, StorageError
from comit_ray.storage import storage

RECORD = re.compile(r"update-(\d{5,})\.json")
ADDED_PART = re.compile(r"part-\d{5,}-[0-9a-f]{12}\.parquet")


@dataclass(frozen=True)
class Update:
    """What one update did.

    Attributes:
        number: number of the update, from 1 without a gap.
        added_on: day (UTC, ISO) of its rows.
        base: hash of the rows that were written first; it differs if the update belongs to another manifest.
        parts: names of the parts that the update added, in order.
        rows: number of rows in these parts.
        superseded: image_id of an earlier version of a file -> image_id of the newer version.
        gone: image_ids whose file was there before and is gone.
        returned: image_ids that were gone and whose unchanged file is there again.
    """

    number: int
    added_on: str
    base: str
    parts: tuple[str, ...] = ()
    rows: int = 0
    superseded: Mapping[str, str] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Marks:
    """What the updates of a manifest say of earlier rows.

    Attributes:
        superseded: image_id -> image_id of the newer version.
        gone: image_id -> day (ISO) since which its file is missing from the archive.
    """

    superseded: Mapping[str, str]
    gone: Mapping[str, str]

    def excluding(self, rows: pa.Table) -> pa.Table:
        """Returns the rows, with `excluded` = `superseded` where the file has a newer version, so it is not read."""
        if not self.superseded:
            return rows
        old = pc.is_in(rows["image_id"], pa.array(list(self.superseded), pa.string()))
        index = rows.schema.get_field_index("excluded")
        values = pc.if_else(old, pa.scalar(str(Reason.SUPERSEDED)), rows["excluded"])
        return rows.set_column(index, rows.schema.field(index), values)


NO_MARKS = Marks({}, {})


def marks(updates: Sequence[Update]) -> Marks:
    """Returns what all updates together say of earlier rows."""
    superseded: dict[str, str] = {}
    gone: dict[str, str] = {}
    for update in updates:
        superseded |= update.superseded
        for image_id in (*update.superseded, *update.returned):
            gone.pop(image_id, None)
        gone |= dict.fromkeys(update.gone, update.added_on)
    return Marks(superseded, gone)


def read_marks(uri: str) -> Marks:
    """Reads what the updates of the manifest at `uri` say of earlier rows.

    Raises:
        ManifestError: a record is missing or has another form.
        StorageError: a record cannot be read.
    """
    return marks(read_updates(uri, _names(uri)))


def read_updates(uri: str, names: Sequence[str]) -> list[Update]:
    """Reads the updates of the manifest at `uri`, in order.

    Args:
        uri: URI of the manifest.
        names: names of the files there.

    Raises:
        ManifestError: a record is missing or has another form.
        StorageError: a record cannot be read.
    """
    found = sorted(name for name in names if RECORD.fullmatch(name))
    updates = [_read(storage.join(uri, name)) for name in found]
    if [update.number for update in updates] != list(range(1, len(updates) + 1)):
        raise ManifestError(
            f"{uri}: expected the updates 1 to {len(updates)}, found {', '.join(found)}: a record was removed; bring "
            "it back, or write the manifest again with comit-ray manifest"
        )
    return updates


def files(uri: str) -> tuple[list[str], list[Update]]:
    """Returns the names of the manifest's Parquet files in order, and its updates.

    Raises:
        NotFoundError: there is no Parquet file.
        ManifestError: a part that an update added is missing.
    """
    names = _names(uri)
    base = [name for name in names if name.endswith(".parquet") and not ADDED_PART.fullmatch(name)]
    if not base:
        raise NotFoundError(f"no .parquet file below {uri}: expected a manifest, a directory of Parquet parts")
    updates = read_updates(uri, names)
    added = [name for update in updates for name in update.parts]
    lost = sorted(set(added) - set(names))
    if lost:
        raise ManifestError(f"{uri}: {len(lost)} parts that an update added are not there, such as {lost[0]}")
    return [*base, *added], updates


def is_there(uri: str) -> bool:
    """Returns whether a manifest lies at `uri`, be it whole or not."""
    try:
        return any(name.endswith(".parquet") for name in _names(uri))
    except NotFoundError:
        return False


def put(uri: str, update: Update) -> None:
    """Commits an update whose parts are written already.

    Raises:
        ManifestError: another process has updated the manifest meanwhile; nothing of this update counts.
        StorageError: the record cannot be written.
    """
    said = json.dumps(asdict(update), indent=1).encode()
    if not storage.create(storage.join(uri, f"update-{update.number:05d}.json"), said):
        raise ManifestError(
            f"{uri} was updated by another process at the same moment, and nothing of this update counts: run the same "
            "command again"
        )


def _names(uri: str) -> list[str]:
    """Returns the names of the files at `uri`; a manifest's records and parts do not lie in subfolders."""
    return [entry.path for entry in storage.list_files(uri)]


def _read(uri: str) -> Update:
    text = storage.read_bytes(uri)
    try:
        said = json.loads(text)
        update = Update(
            number=int(said["number"]),
            added_on=str(said["added_on"]),
            base=str(said["base"]),
            parts=tuple(map(str, said["parts"])),
            rows=int(said["rows"]),
            superseded=dict(said["superseded"]),
            gone=tuple(map(str, said["gone"])),
            returned=tuple(map(str, said["returned"])),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{uri} is not the record of a manifest's update: {error!r}") from error
    return update
