"""Plans a run: divides a manifest into chunks, and names and writes the files that each chunk becomes.

A chunk is the unit of work and of commit. It travels through the Ray Data graph as one row whose payload is an Arrow
IPC stream, so that Ray can neither split nor merge it. A finished chunk is one file per table, all with the same name.
The main table's file is written last and is the commit. A second attempt at a chunk, by a retried task or by a process
that outlived its driver, writes the same names again. The lease of `comit_ray.chunks.ownership` stops such processes of
other runs.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.chunks.ownership import FENCE, SHA256, Owner, check_lease, stamped
from comit_ray.data.manifest.manifest import read_marks
from comit_ray.data.manifest.manifest_scan import scan
from comit_ray.errors import ManifestError
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileRef
from comit_ray.tables import parquet


@dataclass(frozen=True)
class Layout:
    """The tables of an output.

    Attributes:
        main: table with one row per image, with its `status` and `reason`; its file is the chunk's commit.
        sides: tables with one row per image whose status is ok, or with the number of rows in `several`.
        facts: columns of `main` that an image keeps when it fails afterwards; its other columns become null.
        flag: Boolean column of `main` that the summary counts; None if there is none.
        row_group_rows: rows of a Parquet row group; None puts all rows into one group.
        owned: columns of `main` that name the run and the model of each row.
        several: side table -> its rows per image, where that is not one.
    """

    main: str
    sides: tuple[str, ...] = ()
    facts: tuple[str, ...] = ("image_id",)
    flag: str | None = None
    row_group_rows: int | None = None
    owned: tuple[str, ...] = ()
    several: Mapping[str, int] = field(default_factory=dict)


def chunk_file(chunk: str, image_ids: Iterable[str]) -> str:
    """Returns the file name of a chunk: its name in the manifest and a hash of its image ids, in order."""
    digest = hashlib.sha256("".join(f"{image_id}\n" for image_id in image_ids).encode())
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', chunk)}-{digest.hexdigest()[:12]}.parquet"


def to_ipc(table: pa.Table) -> pa.Buffer:
    """Serialises a table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def from_ipc(payload: bytes | pa.Buffer) -> pa.Table:
    """Reads a table from an Arrow IPC stream without copying the payload."""
    with pa.ipc.open_stream(payload) as reader:
        return reader.read_all()


def pack(file: str, tables: dict[str, pa.Table]) -> pa.Table:
    """Packs a chunk into one row: its file name, and each table as a binary column with the table's name."""
    columns = {"file": pa.array([file])}
    columns |= {name: _one_value(to_ipc(table)) for name, table in tables.items()}
    return pa.table(columns)


def _one_value(payload: pa.Buffer) -> pa.Array:
    """Returns a column with one binary value, without copying the payload."""
    ends = pa.py_buffer(np.array([0, payload.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, payload])


def unpack(row: pa.Table) -> tuple[str, dict[str, pa.Table]]:
    """Returns the file name and the tables of a packed chunk; the inverse of `pack`."""
    assert row.num_rows == 1, f"a chunk is one row, got {row.num_rows}"
    tables = {name: from_ipc(row[name][0].as_buffer()) for name in row.column_names if name != "file"}
    return row["file"][0].as_py(), tables


def commit(output: str, file: str, tables: dict[str, pa.Table], layout: Layout, owner: Owner | None = None) -> None:
    """Writes a finished chunk: side tables first, then the main table, whose appearance is the commit.

    The metadata of the main table's file holds the SHA-256 of each side table's file. Its own seal protects the main
    table's file.

    Args:
        output: URI of the results.
        file: file name of the chunk.
        tables: table name -> rows.
        layout: the tables of the output.
        owner: the run that the files belong to, stored in each file; None: no run (stages of the benchmark).

    Raises:
        OvertakenError: another process has taken over the output.
        StorageError: a file cannot be written.
    """
    if owner is not None and layout.sides:
        check_lease(output, owner)
    said = {} if owner is None or owner.lease is None else {FENCE: str(owner.lease.number)}
    for name in layout.sides:
        side = stamped(tables[name], owner)
        digest = parquet.write_table(storage.join(output, name, file), side, layout.row_group_rows)
        if owner is not None:
            said[f"{SHA256}{name}"] = digest
    main = stamped(tables[layout.main], owner, said)
    if owner is not None:
        check_lease(output, owner)  # checked again: the side tables took time, and the next write is the commit
    parquet.write_table(storage.join(output, layout.main, file), main, layout.row_group_rows)


_DECIDING = ("excluded", "view", "sidecar", "checksum")
"""Columns of the manifest that decide how an image is processed."""


@dataclass(frozen=True)
class ChunkPlan:
    """One chunk of a manifest part: its name, its file name, its number of rows, and a hash of what is asked of it."""

    chunk: str
    file: str
    rows: int
    digest: str = ""


@dataclass(frozen=True)
class PartPlan:
    """One manifest part, those of its chunks that are asked for, and its images whose files have a newer version."""

    uri: str
    chunks: tuple[ChunkPlan, ...]
    superseded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A whole manifest, divided into chunks."""

    parts: tuple[PartPlan, ...]
    fingerprint: str
    """Changes with any image, their order, exclusions, views, sidecars, checksums or chunks; not with where the files
    lie."""
    prefixes: frozenset[str] = frozenset()
    """Fingerprints of the manifests that this one begins with, one after each of its chunks."""

    @property
    def chunks(self) -> list[ChunkPlan]:
        """All chunks, in the order of the manifest."""
        return [chunk for part in self.parts for chunk in part.chunks]

    @property
    def rows(self) -> int:
        """Number of images of the manifest that are asked for."""
        return sum(chunk.rows for chunk in self.chunks)

    def without(self, done: set[str]) -> "Plan":
        """Returns the plan without the chunks whose file names are in `done`; parts without a chunk are dropped."""
        left = (
            PartPlan(part.uri, tuple(chunk for chunk in part.chunks if chunk.file not in done), part.superseded)
            for part in self.parts
        )
        return Plan(tuple(part for part in left if part.chunks), self.fingerprint, self.prefixes)


def select(rows: pa.Table, split: str) -> pa.Table:
    """Returns the rows of one split, or all rows for `all`."""
    return rows if split == "all" else rows.filter(pc.equal(rows["split"], split))


def chunks_of(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yields each chunk's name and its consecutive rows, in order."""
    names = rows["chunk"].to_pylist()
    start = 0
    for end in range(1, len(names) + 1):
        if end == len(names) or names[end] != names[start]:
            yield names[start], rows.slice(start, end - start)
            start = end


def _name(sidecar: str | None) -> str | None:
    """Returns the name of a sidecar without its directory or archive."""
    if sidecar is None:
        return None
    ref = FileRef.from_text(sidecar)
    return ref.member or ref.uri.rpartition("/")[2]


def make_plan(manifest_uri: str, split: str) -> Plan:
    """Validates the manifest and divides it into chunks.

    An update of the manifest may supersede earlier images. This changes no chunk: a superseded image is no longer read,
    and a row that it already has stays.

    Args:
        manifest_uri: URI of the manifest.
        split: split to plan; `all` plans every row.

    Raises:
        ManifestError: the manifest is incomplete or invalid (an image or chunk occurs twice), or no image is asked for.
    """
    digest = hashlib.sha256(split.encode())
    parts, prefixes = [], []
    superseded = read_marks(manifest_uri).superseded
    for uri, part in scan(manifest_uri, ["image_id", "split", "chunk", *_DECIDING], marked=False):
        rows = select(part, split)
        chunks = []
        for name, chunk_rows in chunks_of(rows):
            file = chunk_file(name, chunk_rows["image_id"].to_pylist())
            said = [file, repr([_name(text) for text in chunk_rows["sidecar"].to_pylist()])]
            said += [repr(chunk_rows[column].to_pylist()) for column in ("excluded", "view", "checksum")]
            asked = "".join(said).encode()
            digest.update(asked)
            prefixes.append(digest.hexdigest()[:16])
            chunks.append(ChunkPlan(name, file, chunk_rows.num_rows, hashlib.sha256(asked).hexdigest()[:16]))
        if chunks:
            old = [name for name in rows["image_id"].to_pylist() if name in superseded] if superseded else []
            parts.append(PartPlan(uri, tuple(chunks), tuple(old)))
    if not parts:
        raise ManifestError(
            f"expected images of the split {split} in {manifest_uri}, got none: build a manifest that has some"
        )
    return Plan(tuple(parts), digest.hexdigest()[:16], frozenset(prefixes))


FETCH, DECODE, PREDICT, MEASURE, WRITE = "fetch", "decode", "predict", "measure", "write"
"""The stages of the work on an image."""
GRAPH = "graph"
"""All stages together by the driver's clock: from the plan, before any process starts, to the last file."""
PREDICTORS = "predictors"
"""Not a stage: the number of predictor actors that started."""
BARE = "bare model"
"""The network alone, on frames in memory."""
