"""Tables on disk, and the same calls against a real S3 server on this machine."""

import csv

import pyarrow as pa
import pytest

from comit_ray.errors import NotFoundError, StorageError
from comit_ray.storage import storage
from comit_ray.tables import parquet

TABLE = pa.table({"image_id": ["a", "b"], "p": [0.5, None]})


@pytest.fixture(params=["local", "s3"])
def root(request, tmp_path) -> str:
    """A fresh directory, or a fresh bucket."""
    return str(tmp_path / "data") if request.param == "local" else request.getfixturevalue("bucket")


def test_tables_come_back(root):
    parquet.write_table(storage.join(root, "t", "part-1.parquet"), TABLE)
    parquet.write_table(storage.join(root, "t", "part-0.parquet"), TABLE.slice(0, 1))
    assert parquet.read_table(storage.join(root, "t"))["image_id"].to_pylist() == ["a", "a", "b"]
    assert parquet.read_table(storage.join(root, "t", "part-1.parquet"), ["p"]).column_names == ["p"]
    assert parquet.count_rows(storage.join(root, "t", "part-1.parquet")) == 2


def test_what_is_no_parquet_says_so(root):
    storage.write_bytes(storage.join(root, "t.parquet"), b"PAR1 is how it begins")
    for call in (parquet.read_part, parquet.count_rows):
        with pytest.raises(StorageError, match=r"t\.parquet as Parquet"):
            call(storage.join(root, "t.parquet"))


def test_what_is_absent_is_not_found(root):
    for call in (parquet.read_part, parquet.parts):
        with pytest.raises(NotFoundError, match="nothing"):
            call(storage.join(root, "nothing"))


@pytest.mark.parametrize(
    "cell", ["=cmd()", "+cmd", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", " =1", "\uff1d1", "-a", "=1+1"]
)
def test_formulas_are_defused(cell, tmp_path):
    assert parquet.defused(cell) == f"'{cell}"
    parquet.write_csv(str(tmp_path / "t.csv"), pa.table({"path": [cell, None], "n": [-1.5, 2]}))
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["path", "n"], [f"'{cell}", "-1.5"], ["", "2"]]


@pytest.mark.parametrize("cell", ["", "-0.5", "+1", "-1.2e-5", "-0.1 (-0.2 to 0.3)", "-", "a=b", "12%", "PA"])
def test_numbers_and_words_stay(cell):
    assert parquet.defused(cell) == cell
