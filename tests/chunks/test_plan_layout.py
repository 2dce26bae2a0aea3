import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comit_ray.chunks import plan
from comit_ray.chunks.plan import Layout
from comit_ray.errors import StorageError
from comit_ray.tables import parquet


def test_the_name_changes_with_ids_and_their_order():
    name = plan.chunk_file("nih-00001", ["a", "b"])
    assert name.startswith("nih-00001-")
    assert name.endswith(".parquet")
    assert len({name, plan.chunk_file("nih-00001", ["b", "a"]), plan.chunk_file("nih-00001", ["ab"])}) == 3
    assert name == plan.chunk_file("nih-00001", iter(["a", "b"]))


def test_a_chunk_name_cannot_leave_its_directory():
    assert "/" not in plan.chunk_file("../../etc/passwd", [])


def test_packing_keeps_tables_and_their_types():
    table = pa.table({"x": pa.array([1, None], pa.int8()), "png": pa.array([b"a", None], pa.binary())})
    row = plan.pack("f.parquet", {"fetched": table, "empty": table.slice(0, 0)})
    assert row.num_rows == 1
    file, tables = plan.unpack(row)
    assert file == "f.parquet"
    assert tables["fetched"].equals(table)
    assert tables["empty"].schema.equals(table.schema)


def test_predictions_are_written_last(tmp_path, monkeypatch):
    """A kill between the files must leave the chunk uncommitted, never a commit without its masks."""
    written = []

    def fail_on_second(uri, table, rows):
        written.append(uri.split("/")[-2])
        if len(written) == 2:
            raise StorageError("killed")

    monkeypatch.setattr(parquet, "write_table", fail_on_second)
    table = pa.table({"image_id": ["a"]})
    with pytest.raises(StorageError):
        plan.commit(
            str(tmp_path),
            "f.parquet",
            {"predictions": table, "embeddings": table, "masks": table},
            Layout("predictions", ("masks", "embeddings")),
        )
    assert written == ["masks", "embeddings"]


def test_committing_twice_leaves_one_file(tmp_path):
    table = pa.table({"image_id": ["a"]})
    for _ in range(2):
        plan.commit(
            str(tmp_path), "f.parquet", {"predictions": table, "masks": table}, Layout("predictions", ("masks",))
        )
    assert [p.name for p in (tmp_path / "predictions").iterdir()] == ["f.parquet"]
    assert pq.read_table(tmp_path / "predictions").num_rows == 1
