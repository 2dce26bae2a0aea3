"""Reads and writes tables by URI (Parquet and CSV); a write is complete or absent.

It also reads rows of a screen's side table for a few images, part by part, because an archive's heat maps and
embeddings do not fit into memory.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from comit_ray.errors import NotFoundError, StorageError
from comit_ray.storage import storage
from comit_ray.tables import seal
from comit_ray.tables.seal import CheckedFile

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters of formulas, including the wide signs of East Asian spreadsheets."""
_PERHAPS_A_FORMULA = r"^[ \t\r\n\x{00A0}]*[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]|^[\t\r\n]"
"""Pattern (RE2) for cells that `defused` may change; a column without a match stays as it is."""
_NUMBERS = re.compile(r"([-+]?[\d.,]+(e[-+]?\d+)?%?|to|[-\u2013\u00b1;:()\[\]\s])*", re.IGNORECASE)
"""Numbers, alone or as an interval."""


WHOLE = 16 * 2**20
"""Bytes up to which a file is read whole and compared with its seal, even if only some columns are requested."""

PIECE = 65_536
"""Rows per piece of a large file."""


def write_table(uri: str, table: pa.Table, row_group_rows: int | None = None) -> str:
    """Writes one sealed Parquet file (zstd) to `uri` atomically, with row groups of the given number of rows.

    Returns:
        Hex SHA-256 of the file.
    """
    data = seal.to_bytes(table, row_group_rows)
    storage.write_bytes(uri, data)
    return hashlib.sha256(data).hexdigest()


def write_batches(path: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> str:
    """Writes one sealed Parquet file at a local path, one row group per batch, and returns its hex SHA-256."""
    with pq.ParquetWriter(path, seal.marked(schema), compression="zstd", write_page_checksum=True) as writer:
        for batch in batches:
            writer.write_batch(batch.replace_schema_metadata(seal.marked(schema).metadata))
    return seal.put_on(path)


def write_csv(uri: str, table: pa.Table) -> None:
    """Writes one CSV file at `uri`, whole or not at all; cells that a spreadsheet would execute are defused."""
    buffer = pa.BufferOutputStream()
    csv.write_csv(_defused(table), buffer)
    storage.write_bytes(uri, buffer.getvalue().to_pybytes())


@contextmanager
def csv_file(path: str, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Opens a CSV file at a local path that is written piece by piece, in the form of `write_csv`.

    Args:
        path: path of the file.
        schema: schema of the pieces; the file begins with its names.

    Returns:
        The function to call with each piece.
    """
    with open(path, "wb") as file:
        csv.write_csv(schema.empty_table(), file)

        def add(piece: pa.Table) -> None:
            csv.write_csv(_defused(piece), file, csv.WriteOptions(include_header=False))

        yield add


def _defused(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table.column(index)
            if pc.any(pc.match_substring_regex(column, _PERHAPS_A_FORMULA)).as_py():
                column = pa.array([None if cell is None else defused(cell) for cell in column.to_pylist()], pa.string())
                table = table.set_column(index, field, column)
    return table


def defused(cell: str) -> str:
    """Puts `'` before a cell that a spreadsheet would take for a formula; numbers stay unchanged."""
    bare = cell.lstrip(" \t\r\n\u00a0")
    risky = bare.startswith(_FORMULA) or (cell != bare and cell.startswith(("\t", "\r", "\n")))
    return f"'{cell}" if risky and not _NUMBERS.fullmatch(cell) else cell


def parts(uri: str) -> list[str]:
    """Returns the URIs of a table's Parquet files: all parts of a directory, sorted by name, or one `.parquet` file.

    Raises:
        NotFoundError: nothing lies at `uri`, or there is no Parquet file in it.
    """
    uri = storage.normalise(uri)
    if uri.endswith(".parquet"):
        storage.size(uri)  # raises if absent
        return [uri]
    found = [storage.join(uri, entry.path) for entry in storage.list_files(uri, ".parquet")]
    if not found:
        raise NotFoundError(f"no .parquet file below {uri}: expected a table, a directory of Parquet parts")
    return found


def read_part(uri: str, columns: list[str] | None = None, optional: Collection[str] = ()) -> pa.Table:
    """Reads one Parquet file as an Arrow table; `columns` selects columns, and `optional` ones of them may be absent.

    Checksums of pages are verified. The seal of the whole file is verified too; for a file larger than `WHOLE` only if
    all columns are read. Older files have neither.

    Raises:
        DamagedError: the bytes differ from those that were written.
        StorageError: the file cannot be read as Parquet.
    """
    fs, path = storage.filesystem(uri)
    try:
        with fs.open_input_file(path) as stream:
            source = stream
            if columns is None or stream.size() <= WHOLE:
                source = pa.BufferReader(stream.read_buffer())
                seal.check(source, uri)
                source.seek(0)
            if columns is not None and optional:
                there = set(pq.read_schema(source).names)
                columns = [name for name in columns if name in there or name not in optional]
                source.seek(0)
            table = pq.read_table(source, columns=columns, page_checksum_verification=True)
            metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key != seal.KEY}
            return table.replace_schema_metadata(metadata or None)
    except FileNotFoundError as error:
        raise NotFoundError(f"no file at {uri}") from error
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read {uri} as Parquet: {error}") from error


def read_pieces(uri: str, columns: list[str]) -> Iterator[pa.Table]:
    """Yields columns of one Parquet file, after comparing its bytes with its seal; piece by piece if it is large.

    Each piece has the file's metadata. Columns that the file lacks are left out.

    Raises:
        DamagedError: the bytes differ from those that were written.
        StorageError: the file cannot be read as Parquet.
    """
    fs, path = storage.filesystem(uri)
    try:
        with fs.open_input_file(path) as stream:
            source = pa.BufferReader(stream.read_buffer()) if stream.size() <= WHOLE else stream
            seal.check(source, uri)
            source.seek(0)
            with pq.ParquetFile(source, page_checksum_verification=True) as file:
                there = [name for name in columns if name in file.schema_arrow.names]
                metadata = file.schema_arrow.metadata
                for batch in file.iter_batches(batch_size=PIECE, columns=there):
                    yield pa.Table.from_batches([batch]).replace_schema_metadata(metadata)
    except FileNotFoundError as error:
        raise NotFoundError(f"no file at {uri}") from error
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read {uri} as Parquet: {error}") from error


def check_part(uri: str) -> CheckedFile:
    """Reads one Parquet file to its last byte, in pieces, and compares it with its seal.

    Raises:
        NotFoundError: there is no file.
        DamagedError: the bytes differ from those that were written.
        StorageError: the file cannot be read.
    """
    fs, path = storage.filesystem(uri)
    try:
        with fs.open_input_file(path) as stream:
            small = stream.size() <= WHOLE
            return seal.check(pa.BufferReader(stream.read_buffer()) if small else stream, uri)
    except FileNotFoundError as error:
        raise NotFoundError(f"no file at {uri}") from error
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read {uri}: {error}") from error


def read_schema(uri: str) -> pa.Schema:
    """Reads the columns of one Parquet file and its metadata, without the mark of its seal.

    Raises:
        StorageError: the file cannot be read as Parquet.
    """
    fs, path = storage.filesystem(uri)
    try:
        with fs.open_input_file(path) as stream:
            schema = pq.read_schema(stream)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read {uri} as Parquet: {error}") from error
    return schema.with_metadata({key: value for key, value in (schema.metadata or {}).items() if key != seal.KEY})


def count_rows(uri: str) -> int:
    """Returns the number of rows of one Parquet file, from its footer.

    Raises:
        StorageError: the file cannot be read as Parquet.
    """
    fs, path = storage.filesystem(uri)
    try:
        with fs.open_input_file(path) as stream:
            return int(pq.ParquetFile(stream).metadata.num_rows)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read {uri} as Parquet: {error}") from error


def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
    """Reads a whole table: the parts of a directory in order, or one file. A part without a column has nulls there."""
    return read_parts(parts(uri), columns)


def read_parts(uris: Iterable[str], columns: list[str] | None = None) -> pa.Table:
    """Reads Parquet files one after the other; a file without a column that another has gives nulls."""
    return pa.concat_tables([read_part(uri, columns) for uri in uris], promote_options="default")


def read_rows(uri: str, image_ids: Iterable[str]) -> pa.Table:
    """Returns the rows of the table at `uri` for these images, in no particular order.

    Raises:
        NotFoundError: there is no such table.
        StorageError: the table cannot be read.
    """
    wanted = pa.array(list(image_ids), pa.string())
    tables = []
    for part in parts(uri):
        table = read_part(part)
        tables.append(table.filter(pc.is_in(table["image_id"], wanted)))
    return pa.concat_tables(tables)
