"""Brings the columns that metrics need from staged tables to memory, in the order of the images.

DuckDB joins only keys with numbers of rows, one pair of tables at a time. A join of all columns at once, in order, did
not fit 1 GiB for ten million images. Columns come as they lie, and are put in the order of the images here.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from comit_ray.checkpoint import frontal_check
from comit_ray.tables.staging import LEAST_GIB, Staged

_TABLES = {"k": "known", "p": "predictions"}
_WORDS = {
    **dict.fromkeys(("status", "reason", "operating_point", "calibration", "model_id"), "p"),
    **dict.fromkeys(("dataset", "site", "sex", "device"), "k"),
    "view": "pk",
}
"""Column of words -> its tables, the first of which has precedence; each becomes a category."""
_NUMBERS = {
    **dict.fromkeys(("covid", "unhealthy", "age"), "k"),
    **dict.fromkeys(("p_covid", "p_unhealthy", "covid_flag", "unhealthy_flag"), "p"),
    **dict.fromkeys(("lung_area", "disease_area", frontal_check.COLUMN), "p"),
}
_IDS = {"image_id": "k", "patient_id": "k", "detail": "p", "illness_day": "k"}
COMPARED = ("status", "model_id", "p_covid", "p_unhealthy", "covid_flag", "unhealthy_flag")
"""The columns of another screen that are compared."""
_CODES = {"patient_id": "people", "study_id": "studies"}
"""Column of codes -> the table that has them."""
KEPT = "kept in the tables"
"""Stands in place of a mask that is not in memory."""
TASKS = ("lung", "disease")
Places = npt.NDArray[np.int32]


def compared(tables: Staged) -> pd.DataFrame:
    """Makes the table of another screen, with the columns `COMPARED`, in the order of `known`.

    Args:
        tables: database with the tables `known` and `predictions`.
    """
    columns = _Columns(tables)
    tables.limit(LEAST_GIB)
    return pd.DataFrame(
        {name: columns.words(name) if name in _WORDS else columns.numbers(name) for name in COMPARED}, copy=False
    )


def frame(tables: Staged, whole_ids: bool) -> pd.DataFrame:
    """Makes the narrow table of images, in the order of `known`.

    Args:
        tables: database with the tables `known`, `predictions` and `masks`.
        whole_ids: whether the table also has ids, `detail` and `illness_day`.
    """
    columns = _Columns(tables)
    codes = {name: columns.codes(name) for name in _CODES if not (whole_ids and name in _IDS)}
    drawn = {f"{task}_png": _kept(columns.places("0", f"masks m USING (image_id) WHERE m.{task}")) for task in TASKS}
    tables.limit(LEAST_GIB)  # what it holds above that goes to its file, before the columns come into memory
    made = {name: columns.words(name) for name in _WORDS} | {name: columns.numbers(name) for name in _NUMBERS}
    made |= codes | drawn
    for task in TASKS:
        there_N = columns.values("k", f"{task}_mask IS NOT NULL").to_numpy(zero_copy_only=False)
        made[f"{task}_mask"] = _kept(np.where(there_N, 0, -1))
    if whole_ids:
        made |= {name: columns.values(table, name).to_pandas() for name, table in _IDS.items()}
    return pd.DataFrame(made, copy=False)


class _Columns:
    """Columns of `known` and `predictions` for all N images of `known`.

    Args:
        tables: database with both.
    """

    def __init__(self, tables: Staged) -> None:
        self._tables = tables
        self._images, rows, last = tables.rows(
            "SELECT (SELECT count(*) FROM known), count(*), coalesce(max(rowid) + 1, 0) FROM predictions"
        )[0]
        assert rows == last, "rows that are counted without a gap"
        places_N = self.places("p.rowid", "predictions p USING (image_id)")
        self._of_predictions = pa.array(places_N, mask=places_N < 0)

    def places(self, value: str, join: str) -> Places:
        """Returns (N,) a whole number of the joined table for each image, -1 where it has no row."""
        number = f"({value})::INTEGER AS value"
        found = self._tables.table(f"SELECT k.row::INTEGER AS row, {number} FROM known k JOIN {join}")  # noqa: S608
        values_N = np.full(self._images, -1, np.int32)
        values_N[found["row"].to_numpy()] = found["value"].to_numpy()
        return values_N

    def values(self, table: str, value: str) -> pa.Array:
        """Returns (N,) values in the order of `known`; null where an image has no prediction."""
        found = self._tables.table(f"SELECT {value} AS value FROM {_TABLES[table]}")["value"]  # noqa: S608 our words
        whole = found.unify_dictionaries().combine_chunks()
        return whole if table == "k" else whole.take(self._of_predictions)

    def numbers(self, name: str) -> pd.Series:
        """Returns (N,) float32; NaN where the value is not known."""
        found: pd.Series = self.values(_NUMBERS[name], f"{name}::FLOAT").to_pandas()
        return found

    def words(self, name: str) -> pd.Series:
        """Returns (N,) words as categories."""
        union = " UNION ".join(f"SELECT {name} AS word FROM {_TABLES[table]}" for table in _WORDS[name])  # noqa: S608
        words = f"SELECT word FROM ({union}) WHERE word IS NOT NULL ORDER BY word"  # noqa: S608 words of ours
        self._tables.run(f"CREATE TYPE type_{name} AS ENUM ({words})")
        found = [pd.Categorical(self.values(table, f"{name}::type_{name}").to_pandas()) for table in _WORDS[name]]
        codes_N, first = found[-1].codes, found[0].codes
        codes_N = np.where(first < 0, codes_N, first)
        return pd.Series(pd.Categorical.from_codes(codes_N, found[0].categories).remove_unused_categories())

    def codes(self, name: str) -> pd.Series:
        """Returns (N,) a number for each patient or study; null where it is not known."""
        table = _CODES[name]
        self._tables.run(
            f"CREATE TABLE {table} AS SELECT id, row_number() OVER () - 1 AS code "  # noqa: S608 words of ours
            f"FROM (SELECT DISTINCT {name} AS id FROM known WHERE {name} IS NOT NULL)"
        )
        found_N = self.places(f"{table}.code", f"{table} ON {table}.id = k.{name}")
        self._tables.run(f"DROP TABLE {table}")
        missing_N = found_N < 0
        return pd.Series(pd.arrays.IntegerArray(np.where(missing_N, 0, found_N).astype(np.int32), missing_N))


def _kept(codes_N: npt.NDArray[np.integer]) -> pd.Series:
    return pd.Series(pd.Categorical.from_codes(codes_N.astype(np.int8), pd.Index([KEPT])))
