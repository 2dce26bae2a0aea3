"""Tables of any size, asked in SQL within a bounded memory: read and checked once, kept in a DuckDB file on local disk.

A table of ten million rows does not fit the memory of a small machine. So its files are read one by one, each compared
with its seal, and only the columns that are needed go into a DuckDB database in a temporary directory (`TMPDIR`). What
DuckDB cannot hold of a sort or a join it writes there too. One pass over the storage, local or S3, serves any number of
questions; DuckDB never lists or opens a file of ours itself. So no directory can be taken for a column.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import chain
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.errors import ComitError, StorageError
from comit_ray.storage.threads import map_ahead
from comit_ray.tables import parquet

THREADS, AHEAD = 4, 8
"""Files that are read side by side, and read but not yet taken."""
BATCH = 65_536
"""Rows of a batch of an answer."""
MEMORY_GIB = 1.0
"""GiB for the database, unless told otherwise; with Python and reading a process then stays below 2 GB."""
LEAST_GIB = 0.25
"""Memory below which DuckDB cannot sort: asked for less, it takes this."""

Check = Callable[[str, pa.Table], None]
"""Is given the URI of a file and rows of it, with the file's metadata; raises if it must not be read."""


class Staged:
    """Tables under their names, in a database that only this process sees; `staging` makes it.

    Args:
        connection: of DuckDB.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def add(self, name: str, files: Iterable[str], fields: Sequence[pa.Field], check: Check | None = None) -> int:
        """Stage columns of Parquet files as the table `name`; how many rows it has.

        NaN is staged as null, and a time as UTC without a zone. A column that a file lacks is null.

        Args:
            name: of the table in questions.
            files: URIs.
            fields: names and types of the columns.
            check: of each file, before its rows count; None: every file counts.

        Raises:
            StorageError: a file cannot be read, or is damaged, or `check` refuses it.
        """
        wanted = [field.name for field in fields]

        def read(uri: str) -> list[pa.Table]:
            found = []
            for table in parquet.read_pieces(uri, wanted):
                if check is not None:
                    check(uri, table)
                found.append(table)
            return found

        with ThreadPoolExecutor(THREADS) as pool:
            return self.add_tables(name, chain.from_iterable(map_ahead(pool, read, files, AHEAD)), fields)

    def add_tables(self, name: str, tables: Iterable[pa.Table], fields: Sequence[pa.Field]) -> int:
        """Stage columns of tables that are in memory, one after the other; the rest as for `add`."""
        schema = pa.schema([pa.field(field.name, _plain(field.type)) for field in fields])
        raised: list[Exception] = []

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                for table in tables:
                    yield from _cast(table, schema).to_batches()
            except (ComitError, pa.ArrowException) as error:
                raised.append(error)  # DuckDB would tell it as an error of its own
                raise

        try:
            self.add_batches(name, pa.RecordBatchReader.from_batches(schema, batches()))
        except duckdb.Error as error:
            raise (raised[0] if raised else error) from error
        return int(self.rows(f"SELECT count(*) FROM {name}")[0][0])  # noqa: S608 a name of ours

    def add_batches(self, name: str, batches: pa.RecordBatchReader | pa.Table) -> None:
        """Stage rows that are there already as the table `name`."""
        self._connection.register("incoming", batches)
        try:
            self._run(f"CREATE TABLE {name} AS SELECT * FROM incoming")  # noqa: S608 a name of ours
        finally:
            self._connection.unregister("incoming")

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """A statement without an answer, such as `CREATE TABLE ... AS SELECT ...`."""
        self._run(sql, parameters)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The answer to a question, in memory: for aggregates."""
        return [*self._run(sql, parameters).fetchall()]

    def column(self, table: str, name: str) -> pd.Series:
        """One column of numbers, in memory, null where it is not known; in the order of the files that were staged."""
        found: pd.Series = self._connection.sql(f"SELECT {name} FROM {table}").to_arrow_table()[name].to_pandas()  # noqa: S608
        return found

    def batches(self, sql: str, schema: pa.Schema, rows: int = BATCH) -> Iterator[pa.RecordBatch]:
        """The answer to a question, batch by batch, as columns of `schema`, which has the names of the answer."""
        for batch in self._connection.sql(sql).to_arrow_reader(rows):
            columns = [pa.array(batch.column(field.name)).cast(field.type) for field in schema]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> duckdb.DuckDBPyConnection:
        try:
            return self._connection.execute(sql, list(parameters))
        except duckdb.OutOfMemoryException as error:
            raise StorageError(
                f"the tables do not fit the memory or the disk that they may take ({error}): give more with "
                "--memory_gib, or set TMPDIR to a larger disk"
            ) from error


@contextmanager
def staging(memory_gib: float = MEMORY_GIB, threads: int = 2) -> Iterator[Staged]:
    """A database for the time of a question; its file is deleted in the end.

    Args:
        memory_gib: GiB that the database may hold in memory; reading and Python need about 0.5 beside.
        threads: of the database.
    """
    with (
        tempfile.TemporaryDirectory(prefix="comit-ray-tables-") as directory,
        closing(duckdb.connect(f"{directory}/tables.duckdb")) as connection,
    ):
        connection.execute(f"SET memory_limit = '{round(max(memory_gib, LEAST_GIB) * 1024)}MiB'")
        connection.execute("SET temp_directory = ?", [f"{directory}/spilled"])
        connection.execute(f"SET threads = {threads}")
        yield Staged(connection)


def _plain(type_: pa.DataType) -> pa.DataType:
    """A time without its zone: DuckDB needs an extension to take the day of one that has a zone."""
    return pa.timestamp(type_.unit) if pa.types.is_timestamp(type_) else type_


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.chunked_array([pa.nulls(table.num_rows, field.type)]))
            continue
        column = table[field.name].cast(field.type)
        if pa.types.is_floating(field.type):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, field.type), column)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)
