"""Plans a run: the chunks of a manifest, and the name of the file that each chunk becomes.

A chunk, the unit of work and of commit: its name, its packing into one row, and what a finished one writes.

A chunk travels the Ray Data graph as one row whose payload is an Arrow IPC stream, so that no re-blocking can split
or merge it. A finished chunk is one file a table, all of the same name; the main table's is written last and is the
commit. Whoever writes a chunk twice (a retried task, a leftover of a killed driver) writes the same name again; the
lease of `comit_ray.chunks.ownership` stops the leftover of another run.

Names of what is timed.
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
        main: a row for every image, with its `status` and `reason`; its file is the chunk's commit.
        sides: a row for every image whose status is ok, or as many as `several` says.
        facts: columns of `main` that an image keeps when it fails after all; others become null.
        flag: Boolean column of `main` that is counted for the summary; None: none.
        row_group_rows: rows of a Parquet row group; None: as many as the file has.
        owned: columns of `main` that name the run and the model of each row.
        several: side tables with another number of rows for each of these images than one, and that number.
    """

    main: str
    sides: tuple[str, ...] = ()
    facts: tuple[str, ...] = ("image_id",)
    flag: str | None = None
    row_group_rows: int | None = None
    owned: tuple[str, ...] = ()
    several: Mapping[str, int] = field(default_factory=dict)


def chunk_file(chunk: str, image_ids: Iterable[str]) -> str:
    """File name of a chunk: its name in the manifest and a hash of its image ids, in order."""
    digest = hashlib.sha256("".join(f"{image_id}\n" for image_id in image_ids).encode())
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', chunk)}-{digest.hexdigest()[:12]}.parquet"


def to_ipc(table: pa.Table) -> pa.Buffer:
    """The table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def from_ipc(payload: bytes | pa.Buffer) -> pa.Table:
    """The table of an Arrow IPC stream, in the payload's memory."""
    with pa.ipc.open_stream(payload) as reader:
        return reader.read_all()


def pack(file: str, tables: dict[str, pa.Table]) -> pa.Table:
    """One row: the chunk's file name and each table as a binary column of its name."""
    columns = {"file": pa.array([file])}
    columns |= {name: _one_value(to_ipc(table)) for name, table in tables.items()}
    return pa.table(columns)


def _one_value(payload: pa.Buffer) -> pa.Array:
    """A column of one binary value, in the payload's memory."""
    ends = pa.py_buffer(np.array([0, payload.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, payload])


def unpack(row: pa.Table) -> tuple[str, dict[str, pa.Table]]:
    """The inverse of `pack`."""
    assert row.num_rows == 1, f"a chunk is one row, got {row.num_rows}"
    tables = {name: from_ipc(row[name][0].as_buffer()) for name in row.column_names if name != "file"}
    return row["file"][0].as_py(), tables


def commit(output: str, file: str, tables: dict[str, pa.Table], layout: Layout, owner: Owner | None = None) -> None:
    """Write a finished chunk: side tables first, then the main one, whose appearance is the commit.

    The commit's metadata holds the SHA-256 of each side table's file; its own is its seal.

    Args:
        output: URI.
        file: name of the chunk's files.
        tables: by name.
        layout: of the tables.
        owner: whose the files are, which stands in each; None: nobody's (stages of the benchmark).

    Raises:
        OvertakenError: another process works on the output since.
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
        check_lease(output, owner)  # again, for the sides took time: this one is the commit
    parquet.write_table(storage.join(output, layout.main, file), main, layout.row_group_rows)


_DECIDING = ("excluded", "view", "sidecar", "checksum")
"""Columns of the manifest that decide what becomes of an image."""


@dataclass(frozen=True)
class ChunkPlan:
    """One chunk of a manifest part: its name in the manifest, the file it ends as, its rows, a hash of what it asks."""

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
    """A whole manifest, cut into chunks."""

    parts: tuple[PartPlan, ...]
    fingerprint: str
    """Changes with any image, its order, exclusion, view, sidecar, checksum or chunk; not with where it all lies."""
    prefixes: frozenset[str] = frozenset()
    """The fingerprints of the manifests that it begins with, one for each of its chunks."""

    @property
    def chunks(self) -> list[ChunkPlan]:
        """Every chunk, in the manifest's order."""
        return [chunk for part in self.parts for chunk in part.chunks]

    @property
    def rows(self) -> int:
        """Images of the manifest that are asked for."""
        return sum(chunk.rows for chunk in self.chunks)

    def without(self, done: set[str]) -> "Plan":
        """The plan without the chunks whose file is in `done`, and without parts that are finished."""
        left = (
            PartPlan(part.uri, tuple(chunk for chunk in part.chunks if chunk.file not in done), part.superseded)
            for part in self.parts
        )
        return Plan(tuple(part for part in left if part.chunks), self.fingerprint, self.prefixes)


def select(rows: pa.Table, split: str) -> pa.Table:
    """The rows of one split; all of them for `all`."""
    return rows if split == "all" else rows.filter(pc.equal(rows["split"], split))


def chunks_of(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Consecutive rows of the same chunk, in order."""
    names = rows["chunk"].to_pylist()
    start = 0
    for end in range(1, len(names) + 1):
        if end == len(names) or names[end] != names[start]:
            yield names[start], rows.slice(start, end - start)
            start = end


def _name(sidecar: str | None) -> str | None:
    """A sidecar's name without the place where it lies."""
    if sidecar is None:
        return None
    ref = FileRef.from_text(sidecar)
    return ref.member or ref.uri.rpartition("/")[2]


def make_plan(manifest_uri: str, split: str) -> Plan:
    """Validate the manifest and cut it into chunks.

    What an update of the manifest says of earlier rows changes no chunk: an image that is superseded is not read any
    more, and a row that it has stays.

    Raises:
        ManifestError: if it is no whole, valid manifest (every image once, every chunk once), or nothing is asked for.
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
        raise ManifestError(f"no image to read in {manifest_uri} (split {split}): build a manifest with such rows")
    return Plan(tuple(parts), digest.hexdigest()[:16], frozenset(prefixes))


FETCH, DECODE, PREDICT, MEASURE, WRITE = "fetch", "decode", "predict", "measure", "write"
"""The stages of an image's way."""
GRAPH = "graph"
"""All of them by the driver's clock: from the plan, before any process starts, to the last file."""
PREDICTORS = "predictors"
"""Not a stage: how many actors began."""
BARE = "bare model"
"""The network on frames in memory, and nothing else."""
