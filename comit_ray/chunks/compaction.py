"""Copies finished chunks into large files, for readers that would otherwise open thousands of small ones.

    OUTPUT/compact/files.json              lists which chunk files, in which versions, each large file holds
    OUTPUT/compact/TABLE/part-N-HASH.parquet   about 256 MB each

The chunk files stay in place and remain the authoritative results. So a reader of OUTPUT/predictions/ never sees an
image twice or misses one, whatever happens here. Readers of this package (`files_of`) list the chunk files once. They
use a large file only if every chunk file in it is unchanged. All other rows are read from the chunk files. Compaction
is safe while others read.

On a local disk the directory compact/ is replaced as a whole. S3 has no rename, so large files are written first and
files.json last. A large file that files.json no longer names is removed one compaction later, when no reader of the
previous list needs it.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from comit_ray.chunks.ownership import FENCE, SHA256
from comit_ray.errors import NotFoundError, StorageError
from comit_ray.storage import local_files, storage
from comit_ray.storage.file_versions import versions
from comit_ray.tables import parquet

DIRECTORY, FILE = "compact", "files.json"
TARGET = 256 * 2**20
"""Smallest size of a large file, in bytes of its chunk files; the last file may be smaller."""
GROUP_ROWS = 65_536
"""Rows in each row group of a large file."""

Versions = Mapping[str, tuple[str, int]]


@dataclass(frozen=True)
class LargeFile:
    """One large file.

    Attributes:
        name: file name, in the directory of its table.
        chunks: name of a chunk file -> the version that was copied, in order.
    """

    name: str
    chunks: Mapping[str, str]


def files_of(output: str, table: str) -> list[str]:
    """Returns the URIs of the files that hold each row of a table exactly once.

    These are the large files that are up to date, and the chunk files for the rest. The call costs one listing of the
    table and the reading of one small file.

    Raises:
        NotFoundError: there is no such table.
        StorageError: the table cannot be listed.
    """
    folder = storage.join(storage.normalise(output), table)
    known = _read(output)[0].get(table, [])  # read before the listing: a chunk replaced meanwhile has a new version
    there = versions(folder, ".parquet")
    large = [one for one in known if all(there.get(name, ("", 0))[0] == found for name, found in one.chunks.items())]
    copied = {name for one in large for name in one.chunks}
    found = [storage.join(storage.normalise(output), DIRECTORY, table, one.name) for one in large]
    found += [storage.join(folder, name) for name in there if name not in copied]
    if not found:
        raise NotFoundError(f"no .parquet file below {folder}: expected a table (a directory of Parquet files)")
    return found


def compact(
    output: str,
    names: Sequence[str],
    tables: Sequence[str],
    check: Callable[[], None] = lambda: None,
    target: int = TARGET,
) -> str:
    """Copies chunk files into large files, keeps those that are up to date, and returns the URI of their directory.

    Args:
        output: URI of the results.
        names: names of the chunk files, in the order of the manifest.
        tables: names of the tables to copy.
        check: called before anything becomes visible; it raises if another driver has taken over the output.
        target: smallest size of a large file, in bytes of its chunk files.

    Raises:
        StorageError: a chunk cannot be read, or a file cannot be written. The earlier large files then stay.
    """
    output = storage.normalise(output)
    before, kept_before = _read(output)
    plans: dict[str, list[LargeFile]] = {}
    for table in tables:
        there = versions(storage.join(output, table), ".parquet")
        plans[table] = [_planned(number, group, there) for number, group in enumerate(_groups(names, there, target))]
    known = {(table, one.name) for table, files in before.items() for one in files}
    fresh = [(table, one) for table, files in plans.items() for one in files if (table, one.name) not in known]
    used = [f"{table}/{one.name}" for table, files in plans.items() for one in files]
    named = [f"{table}/{one.name}" for table, files in before.items() for one in files]
    said = json.dumps(
        {
            "tables": {
                table: [{"name": one.name, "chunks": dict(one.chunks)} for one in files]
                for table, files in plans.items()
            },
            "before": named if fresh else kept_before,
        }
    ).encode()
    root = storage.join(output, DIRECTORY)
    if storage.is_s3(output):
        with tempfile.TemporaryDirectory(prefix="comit-ray-compact-") as directory:
            for table, one in fresh:
                _write(output, table, one, f"{directory}/large.parquet")
                storage.write_file(storage.join(root, table, one.name), f"{directory}/large.parquet")
        check()
        storage.write_bytes(storage.join(root, FILE), said)
        _remove_others(root, {*used, *named, *(() if fresh else kept_before)})
        return root
    with local_files.replacing_directory(root) as directory_:
        for table, one in ((table, one) for table, files in plans.items() for one in files):
            (directory_ / table).mkdir(exist_ok=True)
            path = directory_ / table / one.name
            if (table, one) in fresh:
                _write(output, table, one, str(path))
            else:
                path.hardlink_to(Path(root) / table / one.name)
        (directory_ / FILE).write_bytes(said)
        check()
    return root


def _read(output: str) -> tuple[dict[str, list[LargeFile]], list[str]]:
    """Reads files.json: large files by table, and the names of the compaction before; both empty without the file."""
    uri = storage.join(storage.normalise(output), DIRECTORY, FILE)
    try:
        found = json.loads(storage.read_bytes(uri))
        tables = {
            str(table): [LargeFile(str(one["name"]), dict(one["chunks"])) for one in files]
            for table, files in found["tables"].items()
        }
        return tables, [str(name) for name in found["before"]]
    except NotFoundError:
        return {}, []
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{uri}: expected the JSON that --compact writes, got something else ({error!r}): remove the file and run "
            "with --compact again"
        ) from error


def _groups(names: Sequence[str], there: Versions, target: int) -> Iterator[list[str]]:
    """Yields groups of consecutive chunk files with at least `target` bytes each; missing chunk files are skipped."""
    group: list[str] = []
    held = 0
    for name in names:
        if name in there:
            group.append(name)
            held += there[name][1]
        if held >= target:
            yield group
            group, held = [], 0
    if group:
        yield group


def _planned(number: int, group: Sequence[str], there: Versions) -> LargeFile:
    chunks = {name: there[name][0] for name in group}
    digest = hashlib.sha256(json.dumps(chunks).encode()).hexdigest()[:16]
    return LargeFile(f"part-{number:05d}-{digest}.parquet", chunks)


def _write(output: str, table: str, large: LargeFile, path: str) -> None:
    """Writes one large file to a local path. Each chunk file is compared with its seal while it is read."""
    files = [storage.join(output, table, name) for name in large.chunks]
    schema = pa.unify_schemas([parquet.read_schema(uri) for uri in files])
    of_a_chunk = (FENCE, SHA256)
    kept = {key: value for key, value in (schema.metadata or {}).items() if not key.decode().startswith(of_a_chunk)}
    schema = schema.with_metadata(kept)
    parquet.write_batches(path, _batches(files, schema), schema)


def _batches(files: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yields the rows of all files, in order, in batches of one row group each."""
    held: list[pa.Table] = [schema.empty_table()]
    for uri in files:
        held.append(parquet.read_part(uri).replace_schema_metadata(schema.metadata))
        if sum(one.num_rows for one in held) >= GROUP_ROWS:
            yield from _one(held, schema)
            held = [schema.empty_table()]
    if len(held) > 1:
        yield from _one(held, schema)


def _one(tables: Sequence[pa.Table], schema: pa.Schema) -> list[pa.RecordBatch]:
    whole = pa.concat_tables(tables, promote_options="default").select(schema.names).combine_chunks()
    return [*whole.to_batches()]


def _remove_others(root: str, kept: set[str]) -> None:
    """Deletes large files that neither the new nor the previous files.json names; readers may use the previous one."""
    for entry in list(storage.list_files(root, ".parquet")):
        if entry.path not in kept:
            storage.delete(storage.join(root, entry.path))
