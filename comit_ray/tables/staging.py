"""Queries tables of any size in SQL within bounded memory: reads and checks them once into a local DuckDB file.

A table of ten million rows does not fit into the memory of a small machine. So its files are read one by one, each
compared with its seal, and only the needed columns go into a DuckDB database in a temporary directory (`TMPDIR`), where
DuckDB also puts what exceeds memory in a sort or a join. One pass over the storage, local or S3, serves any number of
queries. DuckDB itself never lists or opens a file of a table, so it cannot take a directory name for a column.
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
"""Number of files that are read in parallel, and of files read ahead."""
BATCH = 65_536
"""Rows per batch of a result."""
MEMORY_GIB = 1.0
"""Default memory of the database in GiB; with Python and reading a process then stays below 2 GB."""
LEAST_GIB = 0.25
"""Least memory in GiB; below it DuckDB cannot sort, so a smaller request gets this."""

Check = Callable[[str, pa.Table], None]
"""Function that takes the URI of a file and some of its rows, with the file's metadata; raises to refuse the file."""


class Staged:
    """Tables by name in a database that only this process sees; created by `staging`.

    Args:
        connection: connection to DuckDB.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def add(self, name: str, files: Iterable[str], fields: Sequence[pa.Field], check: Check | None = None) -> int:
        """Stages columns of Parquet files as the table `name`, and returns its number of rows.

        NaN is staged as null, and a time as UTC without a zone. A column that a file lacks is null.

        Args:
            name: name of the table in queries.
            files: URIs of the files.
            fields: names and types of the columns.
            check: check of each file before its rows count; None accepts every file.

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
        """Stages columns of tables in memory, one table after the other; see `add`."""
        schema = pa.schema([pa.field(field.name, _plain(field.type)) for field in fields])
        raised: list[Exception] = []

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                for table in tables:
                    yield from _cast(table, schema).to_batches()
            except (ComitError, pa.ArrowException) as error:
                raised.append(error)  # DuckDB would report it as an error of its own
                raise

        try:
            self.add_batches(name, pa.RecordBatchReader.from_batches(schema, batches()))
        except duckdb.Error as error:
            raise (raised[0] if raised else error) from error
        return int(self.rows(f"SELECT count(*) FROM {name}")[0][0])  # noqa: S608 a name of ours

    def add_batches(self, name: str, batches: pa.RecordBatchReader | pa.Table) -> None:
        """Stages rows in memory as the table `name`."""
        self._connection.register("incoming", batches)
        try:
            self._run(f"CREATE TABLE {name} AS SELECT * FROM incoming")  # noqa: S608 a name of ours
        finally:
            self._connection.unregister("incoming")

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Runs a statement without a result, such as `CREATE TABLE ... AS SELECT ...`."""
        self._run(sql, parameters)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Returns the result of a query in memory; meant for aggregates."""
        return [*self._run(sql, parameters).fetchall()]

    def column(self, table: str, name: str) -> pd.Series:
        """Returns one column of numbers in memory, null where unknown, in the order of the staged files."""
        found: pd.Series = self._connection.sql(f"SELECT {name} FROM {table}").to_arrow_table()[name].to_pandas()  # noqa: S608
        return found

    def table(self, sql: str) -> pa.Table:
        """Returns the result of a query in memory as an Arrow table."""
        with _told():
            return self._connection.sql(sql).to_arrow_table()

    def replace(self, name: str, rows: pa.Table) -> None:
        """Stages rows in memory as the table `name`, in place of an earlier table of this name."""
        self._run(f"DROP TABLE IF EXISTS {name}")
        self.add_batches(name, rows)

    def limit(self, memory_gib: float) -> None:
        """Sets the memory of the database from now on; it gives back what it holds above that."""
        self._run(f"SET memory_limit = '{round(max(memory_gib, LEAST_GIB) * 1024)}MiB'")

    def batches(self, sql: str, schema: pa.Schema, rows: int = BATCH) -> Iterator[pa.RecordBatch]:
        """Yields the result of a query in batches, as columns of `schema`, which has the names of the result."""
        for batch in self._connection.sql(sql).to_arrow_reader(rows):
            columns = [pa.array(batch.column(field.name)).cast(field.type) for field in schema]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> duckdb.DuckDBPyConnection:
        with _told():
            return self._connection.execute(sql, list(parameters))


@contextmanager
def _told() -> Iterator[None]:
    """Says what to do where the memory or the disk is too small."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise StorageError(
            f"the tables do not fit the memory or the disk that they may take ({error}): give more with "
            "--memory_gib, or set TMPDIR to a larger disk"
        ) from error


@contextmanager
def staging(memory_gib: float = MEMORY_GIB, threads: int = 2) -> Iterator[Staged]:
    """Opens a database for the block; its file is deleted at the end.

    Args:
        memory_gib: memory of the database in GiB; reading and Python need about 0.5 in addition.
        threads: number of threads of the database.
    """
    with (
        tempfile.TemporaryDirectory(prefix="comit-ray-tables-") as directory,
        closing(duckdb.connect(f"{directory}/tables.duckdb")) as connection,
    ):
        Staged(connection).limit(memory_gib)
        connection.execute("SET temp_directory = ?", [f"{directory}/spilled"])
        connection.execute(f"SET threads = {threads}")
        yield Staged(connection)


def _plain(type_: pa.DataType) -> pa.DataType:
    """Returns a time type without its zone: DuckDB needs an extension to take the day of a time with a zone."""
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
