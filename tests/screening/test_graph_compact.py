import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comit_ray.chunks import plan as chunk
from comit_ray.chunks import plan as planning
from comit_ray.errors import ConfigError, StorageError
from comit_ray.screening import run_screen
from comit_ray.screening.screen_tables import layout
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import MASKS, PREDICTIONS
from tests.support import manifest_row, mask_row, prediction_row, write_rows

TABLES = ("predictions", "masks")


@pytest.fixture
def plan(tmp_path) -> planning.Plan:
    """Five finished chunks of two images."""
    ids = [[f"a/{2 * number}", f"a/{2 * number + 1}"] for number in range(5)]
    rows = [manifest_row(i, chunk=f"c{number}") for number, pair in enumerate(ids) for i in pair]
    plan = planning.make_plan(write_rows(tmp_path / "manifest", rows, MANIFEST), "all")
    for made, pair in zip(plan.chunks, ids, strict=True):
        tables = {
            "predictions": pa.Table.from_pylist([prediction_row(i) for i in pair], schema=PREDICTIONS),
            "masks": pa.Table.from_pylist([mask_row(i) for i in pair], schema=MASKS),
        }
        chunk.commit(str(tmp_path), made.file, tables, layout(embeddings=False))
    return plan


def test_every_row_is_copied_in_order_into_fewer_files(plan, tmp_path):
    for _ in range(2):  # a second time replaces the first
        assert run_screen.write(plan, str(tmp_path), TABLES, rows=4) == str(tmp_path / "compact")
    for table, schema in (("predictions", PREDICTIONS), ("masks", MASKS)):
        files = sorted((tmp_path / "compact" / table).iterdir())
        assert [pq.read_table(f).num_rows for f in files] == [4, 4, 2]
        assert [i for f in files for i in pq.read_table(f)["image_id"].to_pylist()] == [f"a/{n}" for n in range(10)]
        assert pq.read_schema(files[0]).equals(schema)
    assert len(list((tmp_path / "predictions").iterdir())) == 5
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_failure_leaves_the_earlier_copy(plan, tmp_path):
    run_screen.write(plan, str(tmp_path), TABLES)
    (tmp_path / "masks" / plan.chunks[3].file).write_bytes(b"PAR1")
    with pytest.raises(StorageError):
        run_screen.write(plan, str(tmp_path), TABLES)
    assert pq.read_table(tmp_path / "compact" / "masks").num_rows == 10
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_s3_is_refused():
    with pytest.raises(ConfigError, match="--compact needs a local --output"):
        run_screen.check("s3://bucket/results")
