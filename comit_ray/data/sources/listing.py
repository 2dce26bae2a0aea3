"""Writes the list of files below a root to Parquet, so that a bucket of millions is listed once.

`OUTPUT/part-00000.parquet` ... hold path and size, in the order of the paths' bytes. `OUTPUT/listing.json`, written
last, states the root and the number of files. Memory holds one part, whatever the number of files.
"""

import json
from collections.abc import Iterator

import pyarrow as pa

from comit_ray.errors import ConfigError, ManifestError, NotFoundError
from comit_ray.storage import storage
from comit_ray.storage.storage import FileEntry
from comit_ray.tables import parquet

RECORD = "listing.json"
PART_ROWS = 250_000
SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False, metadata={"meaning": "relative to the root"}),
        pa.field("size", pa.int64(), nullable=False, metadata={"meaning": "bytes"}),
        pa.field("passed", pa.string(), metadata={"meaning": "why it is no file to be read; null: it is one"}),
        pa.field("tag", pa.string(), metadata={"meaning": "ETag or time of change: another one means other bytes"}),
    ],
    metadata={"comit_ray.table": "listing"},
)


def write(root: str, output: str, part_rows: int = PART_ROWS) -> int:
    """Lists every file below `root` into `output`, and returns the number of files.

    Raises:
        ConfigError: something exists at `output`.
        NotFoundError: there is nothing at `root`.
        StorageError: the root cannot be listed, or the parts cannot be written.
    """
    root, output = storage.normalise(root), storage.normalise(output)
    if storage.exists(output) and next(storage.list_files(output), None) is not None:
        raise ConfigError(f"expected a new or empty directory for the listing, {output} holds files")
    files = parts = 0
    paths: list[str] = []
    sizes: list[int] = []
    passed: list[str | None] = []
    tags: list[str | None] = []

    def put() -> None:
        nonlocal parts, files
        values = (paths, sizes, passed, tags)
        columns = [pa.array(of, field.type) for of, field in zip(values, SCHEMA, strict=True)]
        table = pa.table(columns, schema=SCHEMA)
        parquet.write_table(storage.join(output, f"part-{parts:05d}.parquet"), table)
        parts, files = parts + 1, files + passed.count(None)
        paths.clear()
        sizes.clear()
        passed.clear()
        tags.clear()

    for entry in storage.list_files(root, passed_over=True):
        paths.append(entry.path)
        passed.append(entry.passed)
        tags.append(entry.tag)
        sizes.append(entry.size)
        if len(paths) == part_rows:
            put()
    if paths:
        put()
    record = json.dumps({"root": root, "files": files, "parts": parts})
    storage.write_bytes(storage.join(output, RECORD), record.encode())
    return files


def read(uri: str, root: str) -> Iterator[FileEntry]:
    """Yields the files of a listing of `root`, one part at a time.

    Raises:
        ManifestError: the listing belongs to another root, or is incomplete.
        StorageError: the listing cannot be read.
    """
    try:
        record = json.loads(storage.read_bytes(storage.join(uri, RECORD)))
        listed, parts = record["root"], int(record["parts"])
    except NotFoundError:
        raise ManifestError(f"{uri} is no whole listing ({RECORD} is missing): run comit-ray listing again") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{uri}/{RECORD} is not that of a listing: {error!r}") from error
    if listed != storage.normalise(root):
        raise ManifestError(f"{uri} lists {listed}, expected a listing of {storage.normalise(root)}")
    for number in range(parts):
        part = parquet.read_part(storage.join(uri, f"part-{number:05d}.parquet"))
        for batch in part.to_batches(max_chunksize=65_536):
            columns = [batch.column("path").to_pylist(), batch.column("size").to_pylist()]
            if "passed" in batch.schema.names:  # older listings have only files
                columns.append(batch.column("passed").to_pylist())
            if "tag" in batch.schema.names:
                columns.append(batch.column("tag").to_pylist())
            yield from map(FileEntry, *columns)
