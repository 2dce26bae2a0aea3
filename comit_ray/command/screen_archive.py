"""Makes the manifest for `comit-ray screen --archive` under the output; later runs bring it up to date.

OUTPUT/listing lists the files of the archive when the screen began, OUTPUT/manifest its images, and OUTPUT/skipped.csv
all files that are not images. OUTPUT/archive.json is written last and says that the three belong together. This
manifest has no splits: its images are screened, and nobody trains, validates or tests a model on them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from comit_ray.chunks import nodes, one_driver
from comit_ray.chunks.accounts import Accounts
from comit_ray.config.manifest_config import MAX_CHANGED_SHARE, ManifestConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.data.manifest.manifest import part_uris, write
from comit_ray.data.manifest.manifest_build import finish, read_source, today
from comit_ray.data.manifest.manifest_growth import Asked, grow
from comit_ray.data.sources import listing, mixed_files
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ConfigError, NotFoundError, StorageError
from comit_ray.screening import run_screen
from comit_ray.storage import storage
from comit_ray.storage.storage import FileEntry
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import LATE_COLUMNS
from comit_ray.tables.vocabulary import counted

MANIFEST, LISTING, SKIPPED, RECORD = "manifest", "listing", "skipped.csv", "archive.json"


@dataclass
class ListingChanges:
    """Numbers of files that differ between the listing of an earlier screen and the archive now."""

    new: int = 0
    changed: int = 0
    gone: int = 0


def manifest_of(archive: str, output: str, most_changed: float = MAX_CHANGED_SHARE) -> str:
    """Make the manifest of an archive below the output, or bring it up to date.

    Args:
        archive: URI of the archive.
        output: URI of the screen's output.
        most_changed: see `comit_ray.data.manifest.manifest_growth.Asked`.

    Returns:
        URI of the manifest.

    Raises:
        ConfigError: the output lies inside the archive, belongs to another archive, or holds a manifest that this job
            did not make.
        ManifestError: there is no image, it is unclear which mask belongs to which image, or too many files have
            changed or are gone.
        StorageError: the archive cannot be listed, or the manifest cannot be written.
    """
    root, output = storage.normalise(archive).rstrip("/"), storage.normalise(output)
    check_places(root, output)
    record = _record(output)
    if record is None:
        return _make(root, output)
    if record["root"] != root:
        raise ConfigError(
            f"--output {output} holds a screen of {record['root']}, not of {root}: give another --output for this one"
        )
    return _grow(record, output, most_changed)


def screen(config: ScreenConfig) -> Accounts:
    """Screen a manifest, or an archive, whose manifest is made or brought up to date first.

    Returns:
        The accounts of the whole output.

    Raises:
        ComitError: as `manifest_of` and `comit_ray.screening.run_screen.screen`.
    """
    if config.archive is None:
        return run_screen.screen(config)
    run_screen.check_options(config)
    check_places(config.archive, config.output)
    output = storage.normalise(config.output)
    with one_driver.hold(output) as lease:
        manifest_uri = manifest_of(config.archive, output, config.max_changed_share)
        return run_screen.screen(config.model_copy(update={"manifest": manifest_uri}), lease=lease)


def check_places(archive: str, output: str) -> None:
    """Refuse an output inside the archive, and paths that a submitted job cannot see.

    Raises:
        ConfigError: a path is refused.
    """
    storage.refuse_inside("--output", storage.normalise(output), "--archive", storage.normalise(archive).rstrip("/"))
    nodes.check_submitted({"archive": storage.normalise(archive)}, {"output": storage.normalise(output)})


def _grow(record: dict[str, Any], output: str, most_changed: float) -> str:
    """Bring the manifest of an earlier run up to date with the archive."""
    root, uri = record["root"], storage.join(output, MANIFEST)
    _refuse_unknown_changes(root, uri, output)
    config = _config(root, uri, storage.join(output, LISTING))
    asked = Asked(
        *(mixed_files.NAME, root, mixed_files.NAME, config, None, config.chunk_rows, config.part_rows),
        most_changed=most_changed,
    )
    growth = grow(uri, asked, today())
    if not growth.any:
        print(f"{_said(record)} (listed by an earlier run)")
        return uri
    if growth.skipped is not None:
        growth.skipped.write(storage.join(output, SKIPPED))
        record["skipped"] = growth.skipped.counts()
    record["images"] = growth.images
    storage.write_bytes(storage.join(output, RECORD), json.dumps(record).encode())
    print(f"{_said(record)}\n{growth.describe()}")
    return uri


def _refuse_unknown_changes(root: str, uri: str, output: str) -> None:
    """Refuse to update an old manifest without file sizes, if the listing shows that files have changed.

    Raises:
        ConfigError: files have another size.
    """
    if parquet.read_part(part_uris(uri)[0], ["file_size"], LATE_COLUMNS).num_columns:
        return
    found = compare(listing.read(storage.join(output, LISTING), root), storage.list_files(root, passed_over=True))
    if found.changed:
        raise ConfigError(
            f"the archive {root} has changed since an older version of this program began the screen: files of "
            f"another size: {found.changed:,}. Give another --output to screen the archive as it is now"
        )


def compare(before: Iterator[FileEntry], now: Iterator[FileEntry]) -> ListingChanges:
    """Count files that are new, of another size, or gone.

    Both listings must be in the order of the paths' bytes. Memory holds one file of each at a time, whatever their
    number.

    Args:
        before: files of the earlier listing.
        now: files of the archive.
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
    """Read what an earlier run wrote last; None if no run came so far."""
    uri = storage.join(output, RECORD)
    try:
        record = json.loads(storage.read_bytes(uri))
        return {"root": str(record["root"]), "images": int(record["images"]), "skipped": dict(record["skipped"])}
    except NotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{uri}: expected a record that a screen of an archive wrote, got {error!r}: give another --output"
        ) from error


def _make(root: str, output: str) -> str:
    uri, listed = storage.join(output, MANIFEST), storage.join(output, LISTING)
    if _files(uri) and not _files(listed):
        raise ConfigError(
            f"{uri} is a manifest that this command did not make: screen it with --manifest {uri}, or give another "
            "--output"
        )
    for path in _files(listed):  # remains of a run that was stopped before its manifest was complete
        storage.delete(storage.join(listed, path))
    listing.write(root, listed)
    config = _config(root, uri, listed)
    files = SourceFiles(root, listing=listed)
    source = read_source(mixed_files.rows, files, mixed_files.NAME, config)
    assert source.skipped is not None, "read_source knows them"
    write(uri, finish(source.table, None, config.chunk_rows), config.part_rows, config.model_dump_json())
    source.skipped.write(storage.join(output, SKIPPED))
    record = {"root": root, "images": len(source.table), "skipped": source.skipped.counts()}
    storage.write_bytes(storage.join(output, RECORD), json.dumps(record).encode())
    print(_said(record))
    if source.skipped:
        print(source.skipped.describe())
        print(f"passed over: {storage.join(output, SKIPPED)}")
    return uri


def _config(root: str, uri: str, listed: str) -> ManifestConfig:
    """Return the options with which the manifest of an archive is made. The manifest's metadata store them."""
    return ManifestConfig(source=mixed_files.NAME, root=root, output=uri, listing=listed)


def _files(uri: str) -> list[str]:
    try:
        return [entry.path for entry in storage.list_files(uri)]
    except NotFoundError:
        return []


def _said(record: dict[str, Any]) -> str:
    skipped = sum(record["skipped"].values())
    others = f", other files: {skipped:,}" if skipped else ""
    images = counted(record["images"], "image")
    return f"{record['root']}: {images}{others}"
