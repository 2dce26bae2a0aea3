"""Brings columns of staged tables to memory, in the order of the images.

DuckDB joins only keys with numbers of rows, one pair of tables at a time. A join of all columns at once, in order, did
not fit 1 GiB for ten million images. Columns come as they lie, and are put in the order of the images here.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from comit_ray.tables.staging import Staged

TABLES = {"k": "known", "p": "predictions"}
IntArray = npt.NDArray[np.int32]


class StagedColumns:
    """Columns of the staged tables `known` (k) and `predictions` (p) for all N images of `known`.

    Args:
        tables: database with both; `known` has the column `row`, from 0 in the order of its rows.
    """

    def __init__(self, tables: Staged) -> None:
        self._tables = tables
        self._images, rows, last = tables.rows(
            "SELECT (SELECT count(*) FROM known), count(*), coalesce(max(rowid) + 1, 0) FROM predictions"
        )[0]
        assert rows == last, "rows that are counted without a gap"
        places_N = self.places("p.rowid", "predictions p USING (image_id)")
        self._of_predictions = pa.array(places_N, mask=places_N < 0)

    def places(self, value: str, join: str) -> IntArray:
        """Returns (N,) a whole number of the joined table for each image, -1 where it has no row."""
        number = f"({value})::INTEGER AS value"
        found = self._tables.table(f"SELECT k.row::INTEGER AS row, {number} FROM known k JOIN {join}")  # noqa: S608
        values_N = np.full(self._images, -1, np.int32)
        values_N[found["row"].to_numpy()] = found["value"].to_numpy()
        return values_N

    def values(self, table: str, value: str) -> pa.Array:
        """Returns (N,) values in the order of `known`; null where an image has no prediction."""
        found = self._tables.table(f"SELECT {value} AS value FROM {TABLES[table]}")["value"]  # noqa: S608 our words
        whole = found.unify_dictionaries().combine_chunks()
        return whole if table == "k" else whole.take(self._of_predictions)

    def numbers(self, table: str, name: str) -> pd.Series:
        """Returns (N,) float32; NaN where the value is not known."""
        found: pd.Series = self.values(table, f"{name}::FLOAT").to_pandas()
        return found

    def words(self, tables: str, name: str) -> pd.Series:
        """Returns (N,) words as categories; of several tables with such a column (`pk`), the first has precedence."""
        union = " UNION ".join(f"SELECT {name} AS word FROM {TABLES[table]}" for table in tables)  # noqa: S608
        words = f"SELECT word FROM ({union}) WHERE word IS NOT NULL ORDER BY word"  # noqa: S608 words of ours
        self._tables.run(f"CREATE TYPE type_{name} AS ENUM ({words})")
        found = [pd.Categorical(self.values(table, f"{name}::type_{name}").to_pandas()) for table in tables]
        codes_N, first = found[-1].codes, found[0].codes
        codes_N = np.where(first < 0, codes_N, first)
        return pd.Series(pd.Categorical.from_codes(codes_N, found[0].categories).remove_unused_categories())

    def codes(self, name: str) -> pd.Series:
        """Returns (N,) a whole number for each different id of `known`; null where it is not known."""
        self._tables.run(
            f"CREATE TABLE coded AS SELECT id, row_number() OVER () - 1 AS code "  # noqa: S608 words of ours
            f"FROM (SELECT DISTINCT {name} AS id FROM known WHERE {name} IS NOT NULL)"
        )
        found_N = self.places("coded.code", f"coded ON coded.id = k.{name}")
        self._tables.run("DROP TABLE coded")
        missing_N = found_N < 0
        return pd.Series(pd.arrays.IntegerArray(np.where(missing_N, 0, found_N).astype(np.int32), missing_N))
