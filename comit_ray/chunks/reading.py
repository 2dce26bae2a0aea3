"""Reads the rows of one manifest part in threads, chunk by chunk; a damaged file costs one row.

A manifest part that holds members of a tar.gz holds all of them, in the archive's order, so the archive is read once.
When its last member has been read, the archive as a whole is compared with its checksum. Its first rows may be
committed by then. This module fails the rows of the current chunk with `checksum_mismatch`, and
`comit_ray.chunks.accounts` fails the others after the run.

An error of the storage is believed only when it occurs twice. An image that failed is read once more when the other
images of its chunk are done. A tar.gz that is damaged, or does not match its checksum, is read through once more as a
whole.
"""

import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa

from comit_ray.chunks.plan import chunks_of
from comit_ray.data.images.load import Place, known_exclusion, wanted
from comit_ray.errors import ON_THE_WAY, ComitError, DecodeError, Reason
from comit_ray.storage.file_reader import FileReader
from comit_ray.storage.threads import map_ahead
from comit_ray.tables.vocabulary import counted

Row = dict[str, Any]

MOST = 3
"""Number of processes that may die while they read a chunk; after that its rows fail."""
AHEAD = 2  # rows in flight per thread: hides the storage's latency, and bounds what reading an archive must hold


@dataclass(frozen=True)
class Spent:
    """The cost of reading one chunk.

    Args:
        fetching: seconds that its threads waited for storage, summed over threads.
        decoding: seconds of their other work (decoding and resampling), summed over threads.
        size: bytes read.
    """

    fetching: float
    decoding: float
    size: int


def nothing_else(row: Row) -> Iterable[Any]:
    """Returns no further file: the row needs only the radiograph and its sidecar."""
    return ()


def read_part(
    rows: pa.Table,
    chunks: Collection[str],
    read: Callable[[Row, FileReader], Row],
    fail: Callable[[Row, DecodeError], Row],
    threads: int,
    max_bytes: int,
    also_wanted: Callable[[Row], Iterable[Any]] = nothing_else,
    told: Callable[[Spent], None] = lambda spent: None,
    begun: Callable[[str], int] = lambda name: 0,
) -> Iterator[tuple[str, list[Row]]]:
    """Yields the name and the result rows of each requested chunk as soon as it is read.

    Args:
        rows: rows of the manifest part, with `comit_ray.data.images.load.PLACE_COLUMNS`, `excluded`, `view` and
            `chunk`.
        chunks: names of the chunks to read; other chunks are skipped.
        read: turns a manifest row into a result row. It raises no error for the content of a file, and asks the reader
            for nothing if the manifest itself excludes the row.
        fail: turns a manifest row into the result row of an image whose archive does not match its checksum.
        threads: number of threads that fetch and decode.
        max_bytes: largest size of one file in bytes.
        also_wanted: lists further files of a row that `read` will ask the reader for, such as masks.
        told: called with the cost of each chunk before the chunk is yielded.
        begun: called with each chunk's name before it is read; returns the number of processes that died while they
            read it. After one, a single image is read at a time; after `MOST`, the rows fail.
    """
    todo = [(name, table.to_pylist()) for name, table in chunks_of(rows) if name in chunks]
    reading = [(name, row) for name, chunk in todo for row in chunk if known_exclusion(row) is None]
    last = {place.file.uri: name for name, row in reading if (place := Place.of(row)).streamed}
    files = (ref for _, row in reading for ref in (*wanted([Place.of(row)]), *also_wanted(row)))
    with FileReader(max_bytes, files) as reader, ThreadPoolExecutor(threads) as pool:

        def timed(row: Row) -> tuple[Row, float]:
            began = perf_counter()
            try:
                result = read(row, reader)
            except Exception as error:  # noqa: BLE001 an unforeseen error costs one row, not the part
                result = fail(row, _unforeseen(error))
            return result, perf_counter() - began

        for name, chunk in todo:
            seconds, size = reader.seconds, reader.size
            deaths = begun(name)
            if deaths >= MOST:
                yield name, [_given_up(row, deaths, read, fail, reader) for row in chunk]
                continue
            pairs = list(map_ahead(pool, timed, chunk, 1 if deaths else AHEAD * threads))
            results = [result for result, _ in pairs]
            again = [
                index
                for index, row in enumerate(chunk)
                if results[index].get("reason") in ON_THE_WAY
                and known_exclusion(row) is None
                and not Place.of(row).streamed  # the archive as a whole is checked below
            ]
            second = list(map_ahead(pool, timed, [chunk[index] for index in again], AHEAD * threads))
            for index, (result, _) in zip(again, second, strict=True):
                results[index] = result
            fetching, whole = reader.seconds - seconds, sum(took for _, took in (*pairs, *second))
            told(Spent(fetching, max(0.0, whole - fetching), reader.size - size))
            ended = {uri: _checksum(chunk, uri) for uri, where in last.items() if where == name}
            for uri, checksum in ended.items():
                problem = reader.verify_archive(uri, checksum)
                reader.close_archive(uri)
                if problem is not None:
                    results = [
                        fail(row, problem) if row["uri"] == uri and known_exclusion(row) is None else result
                        for row, result in zip(chunk, results, strict=True)
                    ]
            yield name, results


def _given_up(
    row: Row, deaths: int, read: Callable[[Row, FileReader], Row], fail: Callable[[Row, DecodeError], Row], reader: Any
) -> Row:
    """Returns the failed row of an image whose chunk killed every process that read it.

    A row that the manifest excludes keeps its exclusion, because its image is not read.
    """
    if known_exclusion(row) is not None:
        return read(row, reader)
    detail = f"expected to read the image, but the process that read its chunk died {counted(deaths, 'time')}"
    return fail(row, DecodeError(Reason.PROGRAM_FAILED, detail))


def _unforeseen(error: Exception) -> DecodeError:
    """Describes an exception of this program without its text, which may contain values of a DICOM header."""
    if isinstance(error, ComitError):
        return DecodeError(Reason.PROGRAM_FAILED, str(error))
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
    return DecodeError(Reason.PROGRAM_FAILED, f"expected to read the image, got {where}: please report this error")


def _checksum(chunk: list[Row], uri: str) -> str | None:
    return next((row["checksum"] for row in chunk if row["uri"] == uri), None)
