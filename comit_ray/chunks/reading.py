"""Reads the rows of one manifest part in threads, chunk by chunk; a bad file costs one row.

A part that holds members of a tar.gz holds all of them, in the archive's order, so one pass serves it. When the last of
them has been read the archive as a whole is compared with its checksum. By then its first rows may be committed: those
of the chunk at hand fail with `checksum_mismatch`, and `comit_ray.chunks.accounts` fails the others.

What storage said is believed when it says it twice: an image that failed is read once more when the others of its chunk
are done. A tar.gz that is damaged, or does not fit its checksum, is passed over once more as a whole.
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

Row = dict[str, Any]

MOST = 3
"""Processes that may end over a chunk before its rows fail."""
AHEAD = 2  # rows in flight for each thread: hides the storage's latency and bounds what an archive's pass must hold


@dataclass(frozen=True)
class Spent:
    """What reading a chunk took.

    Args:
        fetching: seconds that its threads waited for storage, together.
        decoding: seconds of the rest of their work: decoding and resampling.
        size: bytes read.
    """

    fetching: float
    decoding: float
    size: int


def nothing_else(row: Row) -> Iterable[Any]:
    """The further files of a row that needs no other than the radiograph and its sidecar: none."""
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
    """The name and the rows of each chunk that is asked for, as soon as it is read.

    Args:
        rows: of the manifest part, with `comit_ray.data.images.load.PLACE_COLUMNS`, `excluded`, `view` and `chunk`.
        chunks: names of the chunks to read; the others are passed over.
        read: a manifest row to a result; it raises nothing for what lies in the file, and asks the reader for nothing
            where the manifest itself excludes the row.
        fail: a manifest row to the result it has if its archive turns out not to be what it should be.
        threads: that fetch and decode.
        max_bytes: of one file.
        also_wanted: further files that `read` will ask the reader for, such as masks.
        told: what each chunk took, before it is given.
        begun: is told of each chunk before it is read, and gives the number of processes that ended over it. After the
            first one image is held at a time; after `MOST` of them its rows fail.
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
            except Exception as error:  # noqa: BLE001 what nobody foresaw costs one row, which names it, and no part
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
                and not Place.of(row).streamed  # the archive as a whole is looked at below
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
    """The row of an image whose chunk ended every process that read it; what the manifest excludes is not read."""
    if known_exclusion(row) is not None:
        return read(row, reader)
    detail = f"expected to read the image, the process that read its chunk ended {deaths} times"
    return fail(row, DecodeError(Reason.PROGRAM_FAILED, detail))


def _unforeseen(error: Exception) -> DecodeError:
    """An exception of this program, told without its text, which may hold values of a header."""
    if isinstance(error, ComitError):
        return DecodeError(Reason.PROGRAM_FAILED, str(error))
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
    return DecodeError(Reason.PROGRAM_FAILED, f"expected to read the image, the program met {where}: please report it")


def _checksum(chunk: list[Row], uri: str) -> str | None:
    return next((row["checksum"] for row in chunk if row["uri"] == uri), None)
