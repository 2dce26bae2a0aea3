"""Reads and validates a manifest part by part, without holding all of it in memory.

Ten million rows take 2 GB of memory, of which planning a screen needs a few columns of one part at a time. Rules over
all rows (every image once, every chunk in one piece, every patient in one split) are checked on 64-bit hashes and on
names. If these raise a suspicion, the whole manifest is read, and its own check decides and says what is wrong.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from comit_ray.data.manifest import manifest
from comit_ray.data.manifest.manifest_chunks import run_starts
from comit_ray.storage.threads import map_ahead
from comit_ray.tables import parquet
from comit_ray.tables.vocabulary import Split

THREADS = 4
SPLITS = {None: -1, Split.TRAIN: 0, Split.VAL: 1, Split.TEST: 2}
Hashes = npt.NDArray[np.int64]


def scan(uri: str, columns: Sequence[str], *, marked: bool = True) -> Iterator[tuple[str, pa.Table]]:
    """Yields the parts of the manifest at `uri` in order: the URI and the rows with `columns`.

    Earlier versions of changed files are `excluded` as `superseded`; if not `marked`, the rows stay as written.

    Each part is validated before it is yielded; rules over all parts are checked only after the last.

    Raises:
        ManifestError: as `manifest.read`.
        StorageError: if it cannot be read.
    """
    uris = manifest.part_uris(uri)
    marks = manifest.read_marks(uri)
    across = _Across()
    schemas: list[pa.Schema] = []
    with ThreadPoolExecutor(THREADS) as threads:
        for part, (schema, rows) in zip(uris, map_ahead(threads, _read, uris, 2 * THREADS), strict=True):
            schemas.append(schema)
            if schema.metadata != schemas[0].metadata and manifest.BASE not in (schema.metadata or {}):
                manifest.check_whole(uri, [schemas[0], schema])
            across.add(rows)
            rows = marks.excluding(rows) if marked else rows
            yield part, rows.select(list(columns))
    manifest.check_whole(uri, schemas)
    if across.suspicious:
        manifest.read(uri)


def _read(uri: str) -> tuple[pa.Schema, pa.Table]:
    rows = parquet.read_part(uri)
    return rows.schema, manifest.conform(rows, uri)


class _Across:
    """Hashes over all parts of what must be unique or lie in one split."""

    def __init__(self) -> None:
        self._ids: list[Hashes] = []
        self._chunks: list[str] = []
        self._members: dict[str, list[Hashes]] = {"patient_id": [], "split_group": []}

    def add(self, rows: pa.Table) -> None:
        """Adds the rows of one part."""
        self._ids.append(_hashes(rows["image_id"]))
        chunks = rows["chunk"].combine_chunks()
        self._chunks += chunks.take(pa.array(run_starts(rows["dataset"], rows["chunk"])[:-1])).to_pylist()
        split_N = np.array([SPLITS[split] for split in rows["split"].to_pylist()], np.int64)
        for name, found in self._members.items():
            known_N = rows[name].is_valid().to_numpy() & (split_N >= 0)
            if known_N.any():
                # The lowest two bits hold the split: a member of two splits gives neighbours after sorting.
                found.append(np.unique((_hashes(rows[name]) << 2 | split_N)[known_N]))

    @property
    def suspicious(self) -> bool:
        """Whether something may occur twice; unequal texts hardly ever have equal hashes."""
        if len(set(self._chunks)) < len(self._chunks) or _twice(np.concatenate([*self._ids, np.zeros(0, np.int64)])):
            return True
        return any(_twice(np.unique(np.concatenate(found)) >> 2) for found in self._members.values() if found)


def _hashes(column: pa.ChunkedArray) -> Hashes:
    return np.fromiter(map(hash, column.to_pylist()), np.int64, len(column))


def _twice(values: Hashes) -> bool:
    found = np.sort(values)
    return bool((found[1:] == found[:-1]).any())
