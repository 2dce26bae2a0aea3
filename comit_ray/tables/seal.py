"""The seal of a Parquet file: a SHA-256 of the whole file, in 40 bytes that other readers ignore.

Page checksums cover neither page headers nor the footer. So the digest of every other byte stands just before the
footer. Parquet finds its pages by offsets from the file's beginning, and its footer from the end. Bytes between them
belong to neither, so DuckDB, pandas, Polars and Spark read such a file as any other.

The footer's metadata says that there is a seal, so a missing seal counts as damage too.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from comit_ray.errors import DamagedError

MARK = b"COMITSHA"
SIZE = len(MARK) + 32
KEY, VALUE = b"comit_ray.sealed", b"sha256"
_TAIL = 8
"""Bytes after the footer: its length, and the magic number."""
_AT_ONCE = 8 * 2**20


@dataclass(frozen=True)
class CheckedFile:
    """A Parquet file that was read from its first byte to its last.

    Attributes:
        rows: number of rows, from the footer.
        metadata: metadata of the footer.
        sha256: hex digest of the whole file, equal to that of `sha256sum`.
        size: size in bytes.
    """

    rows: int
    metadata: Mapping[bytes, bytes]
    sha256: str
    size: int

    @property
    def sealed(self) -> bool:
        """Whether its bytes were compared with its seal; older files have none."""
        return KEY in self.metadata


def marked(schema: pa.Schema) -> pa.Schema:
    """Returns the schema of a file that will have a seal."""
    return schema.with_metadata((schema.metadata or {}) | {KEY: VALUE})


def put_on(path: str) -> str:
    """Seals a local Parquet file of a `marked` schema in place, and returns the hex SHA-256 of the sealed file."""
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size - _TAIL)
        footer = size - _TAIL - int.from_bytes(file.read(4), "little")
        content, whole = hashlib.sha256(), hashlib.sha256()
        file.seek(0)
        for at in range(0, footer, _AT_ONCE):
            piece = file.read(min(_AT_ONCE, footer - at))
            content.update(piece)
            whole.update(piece)
        end = file.read()
        content.update(end)
        sealed = MARK + content.digest() + end
        whole.update(sealed)
        file.seek(footer)
        file.write(sealed)
    return whole.hexdigest()


def to_bytes(table: pa.Table, row_group_rows: int | None) -> bytes:
    """Serialises a table as a sealed Parquet file (zstd, page checksums)."""
    table = table.replace_schema_metadata(marked(table.schema).metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=row_group_rows, compression="zstd", write_page_checksum=True)
    data = memoryview(sink.getvalue())
    footer = len(data) - _TAIL - int.from_bytes(data[-8:-4], "little")
    digest = hashlib.sha256(data)
    return b"".join([data[:footer], MARK, digest.digest(), data[footer:]])


def check(file: pa.NativeFile, uri: str) -> CheckedFile:
    """Reads a Parquet file in pieces and compares it with its seal.

    Raises:
        DamagedError: the bytes differ from those that were written, or the file is not Parquet.
    """
    size = file.size()
    tail = file.read_at(_TAIL, size - _TAIL) if size >= _TAIL else b""
    footer = size - _TAIL - int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or footer < 4:
        raise DamagedError(f"cannot read {uri} as Parquet: its end is not that of a whole file")
    seal = file.read_at(SIZE, footer - SIZE) if footer > SIZE else b""
    start = footer - SIZE if seal[: len(MARK)] == MARK else footer
    content, whole = hashlib.sha256(), hashlib.sha256()
    for first, last, counts in ((0, start, True), (start, footer, False), (footer, size, True)):
        for at in range(first, last, _AT_ONCE):
            piece = file.read_at(min(_AT_ONCE, last - at), at)
            whole.update(piece)
            if counts:
                content.update(piece)
    if start < footer and content.digest() != seal[len(MARK) :]:
        raise DamagedError(f"{uri} is damaged: its bytes are not those that were written (SHA-256)")
    try:
        found = pq.ParquetFile(file).metadata
        metadata = dict(found.metadata or {})
    except (OSError, pa.ArrowException) as error:
        raise DamagedError(f"cannot read {uri} as Parquet: {error}") from error
    if KEY in metadata and start == footer:
        raise DamagedError(f"{uri} is damaged: it was written with a seal (SHA-256), and has none")
    return CheckedFile(int(found.num_rows), metadata, whole.hexdigest(), size)
