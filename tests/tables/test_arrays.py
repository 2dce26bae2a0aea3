"""Arrays to columns and back, beside what Arrow makes of Python values."""

import numpy as np
import pyarrow as pa
import pytest

from comit_ray.tables import arrays

VALUES = np.random.default_rng(0).integers(0, 256, (11, 3, 5), np.uint8)
SOME = np.arange(11) % 3 != 1


@pytest.mark.parametrize("there", [None, np.ones(11, bool), np.zeros(11, bool), SOME])
def test_fixed_size_binary_is_that_of_arrow(there) -> None:
    column = arrays.fixed_binary(VALUES, there)
    column.validate(full=True)
    seen = np.ones(11, bool) if there is None else there
    expected = [value.tobytes() if is_there else None for value, is_there in zip(VALUES, seen, strict=True)]
    assert column.equals(pa.array(expected, pa.binary(15)))
    assert column.null_count == np.count_nonzero(~seen)


def test_fixed_size_binary_takes_no_copy() -> None:
    column = arrays.fixed_binary(VALUES)
    assert np.shares_memory(np.frombuffer(column.buffers()[1], np.uint8), VALUES)
    assert np.shares_memory(arrays.fixed_values(pa.chunked_array([column])), VALUES)


def test_the_bytes_of_slices_and_of_several_pieces() -> None:
    column = arrays.fixed_binary(VALUES)
    flat = VALUES.reshape(11, 15)
    for start, count in ((0, 11), (4, 3), (10, 1), (2, 0), (11, 0)):
        sliced = pa.chunked_array([column.slice(start, count)])
        np.testing.assert_array_equal(arrays.fixed_values(sliced), flat[start : start + count])
    pieces = pa.chunked_array([column.slice(0, 2), column.slice(5, 3)])
    np.testing.assert_array_equal(arrays.fixed_values(pieces), flat[[0, 1, 5, 6, 7]])
    assert arrays.fixed_values(pa.chunked_array([], pa.binary(15))).shape == (0, 15)


def test_values_stand_where_they_belong_and_null_elsewhere() -> None:
    values = np.array([0.5, np.pi, 1 / 3, 0.0, 1e-40, 1.0, 0.1])
    found = arrays.spread(values, SOME, pa.float32())
    in_order = iter(values.tolist())
    assert found.equals(pa.array([next(in_order) if there else None for there in SOME], pa.float32()))
    flags = arrays.spread(np.array([True, False] * 3 + [True]), SOME, pa.bool_())
    assert flags.null_count == 4
    assert sum(flag for flag in flags.to_pylist() if flag is not None) == 4


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_lists_are_those_of_arrow(rows) -> None:
    values = np.random.default_rng(1).normal(size=(rows, 6)).astype(np.float16)
    kind = pa.list_(pa.float16())
    assert arrays.lists(values, kind).equals(pa.array(list(values), kind))


def test_columns_that_are_not_given_are_null_and_others_refused() -> None:
    schema = pa.schema([pa.field("a", pa.int32(), nullable=False), pa.field("b", pa.binary(2))], metadata={"k": "v"})
    found = arrays.table({"a": pa.array([1, 2], pa.int32())}, schema, 2)
    assert found.schema.equals(schema, check_metadata=True)
    assert found.to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": None}]
    with pytest.raises(AssertionError, match="does not have: \\['c'\\]"):
        arrays.table({"a": pa.array([1], pa.int32()), "c": pa.array([1])}, schema, 1)
