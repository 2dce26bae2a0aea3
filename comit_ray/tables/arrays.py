"""Converts numpy arrays to columns of Arrow tables and back, without Python objects per value.

A column of images or masks is fixed-size binary: N values of equal length, one after the other, so that numpy reads it
in place.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BoolN = npt.NDArray[np.bool_]

SCHEMA_VERSION = "2"
"""Version of all tables, in every file's metadata."""


def column(name: str, type_: pa.DataType, meaning: str, *, nullable: bool = True) -> pa.Field:
    """Returns an Arrow field with the meaning of the column in its metadata."""
    return pa.field(name, type_, nullable=nullable, metadata={"meaning": meaning})


def table_of(name: str, fields: list[pa.Field]) -> pa.Schema:
    """Returns an Arrow schema with the name and version of the table in its metadata."""
    return pa.schema(fields, metadata={"comit_ray.table": name, "comit_ray.version": SCHEMA_VERSION})


def fixed_binary(values_NB: npt.NDArray[np.uint8], there_N: BoolN | None = None) -> pa.Array:
    """Returns a fixed-size binary column of N values of B bytes each, without copying `values_NB`.

    Args:
        values_NB: uint8 array, any shape after N; it must not be written to afterwards.
        there_N: False where the value is null; None if no value is null.
    """
    count, size = len(values_NB), int(np.prod(values_NB.shape[1:]))
    validity, nulls = None, 0
    if there_N is not None and not there_N.all():
        validity, nulls = pa.py_buffer(np.packbits(there_N, bitorder="little")), int(np.count_nonzero(~there_N))
    data = pa.py_buffer(np.ascontiguousarray(values_NB).reshape(-1))
    return pa.Array.from_buffers(pa.binary(size), count, [validity, data], nulls)


def fixed_values(column: pa.ChunkedArray) -> npt.NDArray[np.uint8]:
    """Returns the (N, B) bytes of a fixed-size binary column, without a copy. Bytes of null values are undefined."""
    size = column.type.byte_width
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if not len(array):
        return np.zeros((0, size), np.uint8)
    data = np.frombuffer(array.buffers()[1], np.uint8)
    return data[array.offset * size : (array.offset + len(array)) * size].reshape(len(array), size)


def spread(values: npt.NDArray[np.generic], at_N: BoolN, type_: pa.DataType) -> pa.Array:
    """Returns a column that holds `values`, in order, where `at_N` is true, and nulls elsewhere."""
    whole_N = np.zeros(len(at_N), values.dtype)
    whole_N[at_N] = values
    return pa.array(whole_N, type_, mask=~at_N)


def lists(values_NC: npt.NDArray[np.generic], type_: pa.DataType) -> pa.Array:
    """Returns a column of N lists with C values each."""
    count, size = values_NC.shape
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * size)
    return pa.ListArray.from_arrays(offsets, pa.array(values_NC.reshape(-1), type_.value_type), type=type_)


def table(columns: Mapping[str, pa.Array | pa.ChunkedArray], schema: pa.Schema, rows: int) -> pa.Table:
    """Returns a table of `schema`; columns that are not given are filled with nulls.

    Args:
        columns: name -> `rows` values of the type of the field.
        schema: schema of the table; it must contain every given name.
        rows: number of rows.
    """
    unknown = sorted(set(columns) - set(schema.names))
    assert not unknown, f"columns that the table does not have: {unknown}"
    arrays = [columns[field.name] if field.name in columns else pa.nulls(rows, field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)
