"""A chunk, the unit of work and of commit: its name, its packing into one row, and what a finished one writes.

A chunk travels the Ray Data graph as one row whose payload is an Arrow IPC stream, so that no re-blocking can split
or merge it. A finished chunk is one file a table, all of the same name; the main table's is written last and is the
commit. Whoever writes a chunk twice (a retried task, a leftover of a killed driver) writes the same name again.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from comit_ray.storage import storage
from comit_ray.tables import parquet


@dataclass(frozen=True)
class Layout:
    """The tables of an output.

    Attributes:
        main: a row for every image, with its `status` and `reason`; its file is the chunk's commit.
        sides: a row for every image whose status is ok, or as many as `several` says.
        facts: columns of `main` that an image keeps when it fails after all; others become null.
        flag: Boolean column of `main` that is counted for the summary; None: none.
        row_group_rows: rows of a Parquet row group; None: as many as the file has.
        several: side tables with another number of rows for each of these images than one, and that number.
    """

    main: str
    sides: tuple[str, ...] = ()
    facts: tuple[str, ...] = ("image_id",)
    flag: str | None = None
    row_group_rows: int | None = None
    several: Mapping[str, int] = field(default_factory=dict)


def chunk_file(chunk: str, image_ids: Iterable[str]) -> str:
    """File name of a chunk: its name in the manifest and a hash of its image ids, in order."""
    digest = hashlib.sha256("".join(f"{image_id}\n" for image_id in image_ids).encode())
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', chunk)}-{digest.hexdigest()[:12]}.parquet"


def to_ipc(table: pa.Table) -> bytes:
    """The table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def from_ipc(payload: bytes | pa.Buffer) -> pa.Table:
    """The table of an Arrow IPC stream."""
    with pa.ipc.open_stream(payload) as reader:
        return reader.read_all()


def pack(file: str, tables: dict[str, pa.Table]) -> pa.Table:
    """One row: the chunk's file name and each table as a binary column of its name."""
    columns = {"file": pa.array([file])}
    columns |= {name: pa.array([to_ipc(table)], pa.large_binary()) for name, table in tables.items()}
    return pa.table(columns)


def unpack(row: pa.Table) -> tuple[str, dict[str, pa.Table]]:
    """The inverse of `pack`."""
    assert row.num_rows == 1, f"a chunk is one row, got {row.num_rows}"
    tables = {name: from_ipc(row[name][0].as_buffer()) for name in row.column_names if name != "file"}
    return row["file"][0].as_py(), tables


def commit(output: str, file: str, tables: dict[str, pa.Table], layout: Layout) -> None:
    """Write a finished chunk: side tables first, then the main one, whose appearance is the commit."""
    for name in (*layout.sides, layout.main):
        parquet.write_table(storage.join(output, name, file), tables[name], layout.row_group_rows)
