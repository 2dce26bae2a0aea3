"""Divides a manifest into chunks (units of work) and parts (units of reading).

The members of one tar.gz can only be read in one pass, so they lie in one part, whatever its size. Other rows are cut
at the numbers given. Small archives share a chunk; a chunk ends where the next archive would not fit as a whole.

The first chunks are small and the next ones larger, so that a screen commits its first results early, and several
processes share a small archive. The last chunks are small again, so that these processes end together: one that takes
the last chunk keeps the others waiting.
"""

from collections.abc import Iterator
from itertools import pairwise, repeat

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.storage.archive import is_streamed

FIRST_ROWS = 16
"""Rows of a dataset's first two chunks; the next two have twice as many, and so on up to the rows of a chunk."""
LAST_SHARE = 4
"""A chunk takes at most one row in this many of those that remain, but `FIRST_ROWS` always."""

Starts = npt.NDArray[np.int64]


def run_starts(*columns: pa.ChunkedArray) -> Starts:
    """Returns the first row of every run of rows that are equal in all columns, and last the number of rows."""
    rows = len(columns[0])
    differs = np.zeros(rows, np.bool_)
    differs[:1] = True
    for column in columns:
        codes = column.combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy()
        differs[1:] |= codes[1:] != codes[:-1]
    return np.append(np.flatnonzero(differs), rows)


def streamed(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Returns whether each row is a member of a tar.gz."""
    if table["member"].null_count == len(table):
        return np.zeros(len(table), np.bool_)
    archives = [uri for uri in table["uri"].unique().to_pylist() if is_streamed(uri)]
    inside = pc.and_(pc.is_valid(table["member"]), pc.is_in(table["uri"], pa.array(archives, pa.string())))
    return np.asarray(inside.combine_chunks().to_numpy(zero_copy_only=False), np.bool_)


def chunk_names(table: pa.Table, chunk_rows: int, prefix: str = "", first: int = 0) -> pa.Array:
    """Returns the chunk name of every row, such as `dataset-00012`, counted in each dataset.

    Args:
        table: rows of a manifest.
        chunk_rows: most rows of a chunk.
        prefix: start of every name; an update uses its day, so that names of one night's chunks begin alike.
        first: number of the first chunk of each dataset.
    """
    archived = streamed(table)
    lengths: list[int] = []
    names: list[str] = []
    counts: dict[str, int] = {}
    for start, stop in pairwise(run_starts(table["dataset"])):
        dataset = table["dataset"][start].as_py()
        for length in _chunk_lengths(table["uri"][start:stop], archived[start:stop], chunk_rows):
            number = counts.get(dataset, first)
            counts[dataset] = number + 1
            names.append(f"{prefix}{dataset}-{number:05d}")
            lengths.append(length)
    return pa.array(names, pa.string()).take(pa.array(np.repeat(np.arange(len(names)), lengths)))


def part_cuts(table: pa.Table, part_rows: int) -> list[tuple[int, int]]:
    """Returns the first and last-plus-one row of every part: whole chunks of one dataset, an archive in one part."""
    archived = streamed(table)
    starts = run_starts(table["dataset"], table["chunk"])
    cuts: list[tuple[int, int]] = []
    for start, stop in pairwise(starts.tolist()):
        first = cuts[-1][0] if cuts else 0
        same_dataset = start > 0 and table["dataset"][start] == table["dataset"][start - 1]
        glued = start > 0 and archived[start] and table["uri"][start] == table["uri"][start - 1]
        if cuts and (glued or (same_dataset and stop - first <= part_rows)):
            cuts[-1] = (first, stop)
        else:
            cuts.append((start, stop))
    return cuts


def _chunk_lengths(uris: pa.ChunkedArray, archived: npt.NDArray[np.bool_], chunk_rows: int) -> list[int]:
    """Returns the number of rows of each chunk of one dataset."""
    if not archived.any():
        return _growing_lengths(len(uris), chunk_rows)
    lengths: list[int] = []
    open_rows = 0
    changes = run_starts(uris)
    blocks = [(stop - start, bool(archived[start])) for start, stop in pairwise(changes.tolist())]
    for rows, archive in blocks:
        if archive and open_rows and open_rows + rows > chunk_rows:
            lengths.append(open_rows)
            open_rows = 0
        whole, open_rows = divmod(open_rows + rows, chunk_rows)
        lengths += [chunk_rows] * whole
    return [*lengths, open_rows] if open_rows else lengths


def _growing_lengths(rows: int, chunk_rows: int) -> list[int]:
    lengths: list[int] = []
    for most in _largest(chunk_rows):
        if rows == 0:
            break
        lengths.append(min(most, rows, max(FIRST_ROWS, rows // LAST_SHARE)))
        rows -= lengths[-1]
    return lengths


def _largest(chunk_rows: int) -> Iterator[int]:
    """Yields the most rows of each chunk, one after the other, without end: 16, 16, 32, 32, ..., 256, 512, ..."""
    most = FIRST_ROWS
    while most < chunk_rows:
        yield from (most, most)
        most *= 2
    yield from repeat(chunk_rows)
