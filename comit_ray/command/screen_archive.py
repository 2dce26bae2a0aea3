"""Makes the manifest for `comit-ray screen --archive` under the output, once; later runs reuse it.

OUTPUT/listing holds what the archive held when its screen was begun, OUTPUT/manifest its images, OUTPUT/skipped.csv
every file that is none. OUTPUT/archive.json, written last, says that the three belong together.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from comit_ray.chunks import nodes
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.data.manifest.manifest import write
from comit_ray.data.manifest.manifest_build import finish, read_source
from comit_ray.data.sources import listing, mixed_files
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ConfigError, NotFoundError, StorageError
from comit_ray.storage import storage
from comit_ray.storage.storage import FileEntry

MANIFEST, LISTING, SKIPPED, RECORD = "manifest", "listing", "skipped.csv", "archive.json"


@dataclass
class ListingChanges:
    """What differs between the listing of a begun screen and the archive as it is now."""

    new: int = 0
    changed: int = 0
    gone: int = 0


def manifest_of(archive: str, output: str) -> str:
    """The URI of the manifest of `archive` below `output`: made now, or by an earlier run of the same screen.

    Raises:
        ConfigError: the output lies inside the archive, belongs to another archive or to a manifest of somebody else,
            or the archive has grown or changed since its screen was begun.
        ManifestError: there is no image, or it is not clear which mask belongs to which.
        StorageError: the archive cannot be listed, or the manifest not be written.
    """
    root, output = storage.normalise(archive).rstrip("/"), storage.normalise(output)
    storage.refuse_inside("--output", output, "--archive", root)
    nodes.check_submitted({"archive": root}, {"output": output})
    record = _record(output)
    if record is None:
        return _make(root, output)
    if record["root"] != root:
        raise ConfigError(
            f"--output {output} holds a screen of {record['root']}, not of {root}: give another --output for this one"
        )
    found = compare(listing.read(storage.join(output, LISTING), root), storage.list_files(root, passed_over=True))
    if found.new or found.changed:
        raise ConfigError(
            f"the archive {root} is no longer what it was when this screen was begun: {found.new:,} files are new and "
            f"{found.changed:,} have another size. Give another --output to screen it as it is now"
        )
    print(f"{_said(record)} (listed by an earlier run)")
    if found.gone:
        print(f"{found.gone:,} files of the archive are gone; images among them that have no score yet will fail")
    return storage.join(output, MANIFEST)


def compare(before: Iterator[FileEntry], now: Iterator[FileEntry]) -> ListingChanges:
    """Files that are new, of another size, or gone; both listings are in the order of the paths' bytes.

    One file of each is held at a time, whatever their number.
    """
    found = ListingChanges()
    old, new = next(before, None), next(now, None)
    while old is not None or new is not None:
        if old is None or (new is not None and _key(new) < _key(old)):
            found.new += 1
            new = next(now, None)
        elif new is None or _key(old) < _key(new):
            found.gone += 1
            old = next(before, None)
        else:
            found.changed += old.size != new.size
            old, new = next(before, None), next(now, None)
    return found


def _key(entry: FileEntry) -> bytes:
    return entry.path.encode("utf-8", "surrogateescape")


def _record(output: str) -> dict[str, Any] | None:
    """What an earlier run wrote last; None: none came so far."""
    uri = storage.join(output, RECORD)
    try:
        record = json.loads(storage.read_bytes(uri))
        return {"root": str(record["root"]), "images": int(record["images"]), "skipped": dict(record["skipped"])}
    except NotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{uri} is not what a screen of an archive writes: {error!r}; give another --output"
        ) from error


def _make(root: str, output: str) -> str:
    uri, listed = storage.join(output, MANIFEST), storage.join(output, LISTING)
    if _files(uri) and not _files(listed):
        raise ConfigError(
            f"{uri} is a manifest that this command did not make: screen it with --manifest {uri}, or give another "
            "--output"
        )
    for path in _files(listed):  # of a run that was stopped before its manifest was whole
        storage.delete(storage.join(listed, path))
    listing.write(root, listed)
    config = ManifestConfig(source=mixed_files.NAME, root=root, output=uri, listing=listed)
    files = SourceFiles(root, listing=listed)
    source = read_source(mixed_files.rows, files, mixed_files.NAME, config)
    assert source.skipped is not None, "read_source knows them"
    write(uri, finish(source.table, config.split, config.chunk_rows), config.part_rows, config.model_dump_json())
    source.skipped.write(storage.join(output, SKIPPED))
    record = {"root": root, "images": len(source.table), "skipped": source.skipped.counts()}
    storage.write_bytes(storage.join(output, RECORD), json.dumps(record).encode())
    print(_said(record))
    if source.skipped:
        print(source.skipped.describe())
        print(f"passed over: {storage.join(output, SKIPPED)}")
    return uri


def _files(uri: str) -> list[str]:
    try:
        return [entry.path for entry in storage.list_files(uri)]
    except NotFoundError:
        return []


def _said(record: dict[str, Any]) -> str:
    skipped = sum(record["skipped"].values())
    others = f", other files: {skipped:,}" if skipped else ""
    return f"{record['root']}: {record['images']:,} images{others}"
