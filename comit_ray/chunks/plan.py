"""What is asked: a manifest, cut into chunks with the names of the files they end as."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.data.manifest.manifest_scan import scan
from comit_ray.errors import ManifestError
from comit_ray.storage.file_reader import FileRef
from comit_ray.work.chunk import chunk_file

_DECIDING = ("excluded", "view", "sidecar", "checksum")
"""Columns of the manifest that decide what becomes of an image."""


@dataclass(frozen=True)
class ChunkPlan:
    """One chunk of a manifest part: its name in the manifest, the file it ends as, its rows."""

    chunk: str
    file: str
    rows: int


@dataclass(frozen=True)
class PartPlan:
    """One manifest part and those of its chunks that are asked for."""

    uri: str
    chunks: tuple[ChunkPlan, ...]


@dataclass(frozen=True)
class Plan:
    """A whole manifest, cut into chunks."""

    parts: tuple[PartPlan, ...]
    fingerprint: str
    """Changes with any image, its order, exclusion, view, sidecar, checksum or chunk; not with where it all lies."""

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
            PartPlan(part.uri, tuple(chunk for chunk in part.chunks if chunk.file not in done)) for part in self.parts
        )
        return Plan(tuple(part for part in left if part.chunks), self.fingerprint)


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

    Raises:
        ManifestError: if it is no whole, valid manifest (every image once, every chunk once), or nothing is asked for.
    """
    digest = hashlib.sha256(split.encode())
    parts = []
    for uri, part in scan(manifest_uri, ["image_id", "split", "chunk", *_DECIDING]):
        rows = select(part, split)
        chunks = []
        for name, chunk_rows in chunks_of(rows):
            file = chunk_file(name, chunk_rows["image_id"].to_pylist())
            chunks.append(ChunkPlan(name, file, chunk_rows.num_rows))
            digest.update(file.encode())
            digest.update(repr([_name(text) for text in chunk_rows["sidecar"].to_pylist()]).encode())
            for column in ("excluded", "view", "checksum"):
                digest.update(repr(chunk_rows[column].to_pylist()).encode())
        if chunks:
            parts.append(PartPlan(uri, tuple(chunks)))
    if not parts:
        raise ManifestError(f"no image to read in {manifest_uri} (split {split}): build a manifest with such rows")
    return Plan(tuple(parts), digest.hexdigest()[:16])
