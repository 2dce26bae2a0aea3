"""Large files beside chunk files: every row once for every reader, whatever is added, replaced or killed meanwhile."""

import json
import os
import random
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from comit_ray.chunks import compaction
from comit_ray.chunks import plan as chunk
from comit_ray.chunks.ownership import Owner, take_lease
from comit_ray.chunks.verifying import verify
from comit_ray.errors import OvertakenError, StorageError
from comit_ray.screening.screen_tables import layout, read_predictions, stage_predictions
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.schema import MASKS, PREDICTIONS
from comit_ray.tables.staging import staging
from tests.conftest import REPOSITORY
from tests.support import mask_row, prediction_row

TABLES = ("predictions", "masks")
OWNER = Owner("r", "m", "s")
KILLS = int(os.environ.get("COMIT_TEST_KILLS", "2"))


def name(number: int) -> str:
    return chunk.chunk_file(f"c{number}", ids(number))


def ids(number: int) -> list[str]:
    return [f"a/{2 * number}", f"a/{2 * number + 1}"]


def commit(output: str, number: int, score: float = 0.1) -> str:
    """A finished chunk of two images."""
    rows = [prediction_row(one, score) for one in ids(number)]
    tables = {
        "predictions": pa.Table.from_pylist(rows, schema=PREDICTIONS),
        "masks": pa.Table.from_pylist([mask_row(one) for one in ids(number)], schema=MASKS),
    }
    chunk.commit(output, name(number), tables, layout(embeddings=False), OWNER)
    return name(number)


def size(output: str) -> int:
    return storage.size(f"{output}/predictions/{name(0)}")


def pair(output: str) -> int:
    """A target that two chunk files reach; their sizes differ by some bytes."""
    return size(output) * 3 // 2


def images(output: str, table: str = "predictions") -> list[str]:
    """Of a reader of ours, in order."""
    found = [parquet.read_part(uri)["image_id"].to_pylist() for uri in compaction.files_of(output, table)]
    return sorted(one for some in found for one in some)


def globbed(output: str) -> int:
    """Rows of a reader that knows nothing of us: OUTPUT/predictions/**/*.parquet."""
    files, path = storage.filesystem(f"{output}/predictions")
    return pyarrow.dataset.dataset(path, filesystem=files, format="parquet", partitioning=None).count_rows()


@pytest.fixture(params=["disk", "s3"])
def output(request, tmp_path) -> str:
    """Five finished chunks."""
    uri = str(tmp_path / "out") if request.param == "disk" else f"{request.getfixturevalue('bucket')}/out"
    for number in range(5):
        commit(uri, number)
    return uri


def names(count: int = 5) -> list[str]:
    return [name(number) for number in range(count)]


def large(output: str, table: str = "predictions") -> list[str]:
    return sorted(entry.path for entry in storage.list_files(f"{output}/compact/{table}", ".parquet"))


def test_every_row_is_copied_in_order_into_fewer_files(output):
    compaction.compact(output, names(), TABLES, target=pair(output))
    for table, schema in (("predictions", PREDICTIONS), ("masks", MASKS)):
        read = [parquet.read_part(f"{output}/compact/{table}/{file}") for file in large(output, table)]
        assert [i for one in read for i in one["image_id"].to_pylist()] == [f"a/{n}" for n in range(10)]
        assert read[0].schema.equals(schema)
        assert len(read) < 5
    assert len(compaction.files_of(output, "predictions")) == 3
    assert images(output) == images(output, "masks") == sorted(f"a/{n}" for n in range(10))
    assert globbed(output) == 10
    assert not verify(output).damaged


def test_a_chunk_that_is_new_or_replaced_is_read_where_it_lies(output):
    compaction.compact(output, names(), TABLES, target=pair(output))
    commit(output, 5)
    commit(output, 2, score=0.9)
    assert images(output) == sorted(f"a/{n}" for n in range(12))
    with staging(0.25) as tables:
        fields = [PREDICTIONS.field(one) for one in ("image_id", "p_covid")]
        assert stage_predictions(tables, "found", output, fields) == 12
        high = tables.rows("SELECT image_id FROM found WHERE p_covid > 0.5 ORDER BY image_id")
    assert high == [("a/4",), ("a/5",)]


def test_a_second_compaction_writes_only_what_changed(output):
    target = pair(output)
    compaction.compact(output, names(), TABLES, target=target)
    first = large(output)
    commit(output, 4, score=0.9)
    commit(output, 5)
    compaction.compact(output, names(6), TABLES, target=target)
    second = [uri.rpartition("/")[2] for uri in compaction.files_of(output, "predictions")]
    assert second[:2] == first[:2]
    assert second[2] != first[2]
    assert len(second) == 3
    assert images(output) == sorted(f"a/{n}" for n in range(12))
    compaction.compact(output, names(6), TABLES, target=target)
    compaction.compact(output, names(6), TABLES, target=target)
    assert len(set(large(output)) - set(second)) <= 1


def test_a_failure_leaves_what_was_there(output):
    compaction.compact(output, names(), TABLES, target=pair(output))
    commit(output, 5)
    storage.write_bytes(f"{output}/masks/{name(5)}", b"PAR1")
    with pytest.raises(StorageError):
        compaction.compact(output, names(6), TABLES, target=pair(output))
    assert images(output) == sorted(f"a/{n}" for n in range(12))
    assert globbed(output) == 12


def test_a_driver_that_was_overtaken_compacts_nothing(output):
    mine = take_lease(output, OWNER)
    take_lease(output, OWNER)
    from comit_ray.chunks.ownership import check_lease

    with pytest.raises(OvertakenError):
        compaction.compact(output, names(), TABLES, lambda: check_lease(output, mine))
    assert not storage.exists(f"{output}/compact/{compaction.FILE}")


def test_a_file_that_is_no_list_of_files_is_refused_with_its_name(output):
    storage.write_bytes(f"{output}/compact/{compaction.FILE}", json.dumps({"tables": 3}).encode())
    with pytest.raises(StorageError, match=r"compact/files\.json: expected the JSON that --compact writes"):
        compaction.files_of(output, "predictions")


def test_a_large_file_of_damaged_bytes_is_not_read(output):
    compaction.compact(output, names(), TABLES)
    file = f"{output}/compact/predictions/{large(output)[0]}"
    data = bytearray(storage.read_bytes(file))
    data[100] ^= 1
    storage.write_bytes(file, bytes(data))
    with staging(0.25) as tables, pytest.raises(StorageError, match="damaged"):
        stage_predictions(tables, "found", output, [PREDICTIONS.field("image_id")])


def test_a_directory_named_like_a_column_replaces_no_column(tmp_path):
    output = str(tmp_path / "run_id=other" / "model_id=x")
    commit(output, 0)
    with staging(0.25) as tables:
        stage_predictions(tables, "found", output, [PREDICTIONS.field("image_id")])
        assert tables.rows("SELECT DISTINCT run_id, model_id FROM found") == [("r", "m")]
    assert read_predictions(output)["model_id"].to_pylist() == ["m", "m"]


CHILD = """
import sys
from comit_ray.chunks import compaction
print("ready", flush=True)
output, target, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
while True:
    compaction.compact(output, names, ("predictions", "masks"), target=target)
    target += 1000
"""


@pytest.mark.slow
def test_a_compaction_that_is_killed_at_any_moment_shows_every_reader_every_row_once(output):
    """`COMIT_TEST_KILLS=10` for more moments."""
    draw = random.Random(1)
    for number in range(5, 12):
        commit(output, number)
    wanted, asked = sorted(f"a/{n}" for n in range(24)), 0
    for _ in range(KILLS):
        argv = [sys.executable, "-c", CHILD, output, str(size(output)), *names(12)]
        with subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, env=os.environ) as child:
            child.stdout.readline()
            until = time.monotonic() + draw.uniform(0.05, 1.5)
            while time.monotonic() < until:
                with staging(0.25) as tables:
                    assert stage_predictions(tables, "found", output, [PREDICTIONS.field("image_id")]) == 24
                assert globbed(output) == 24
                asked += 1
            child.kill()
        assert images(output) == wanted
        assert globbed(output) == 24
    assert asked >= KILLS
    compaction.compact(output, names(12), TABLES)
    assert images(output) == wanted


def test_large_files_are_sealed(output):
    compaction.compact(output, names(), TABLES)
    for file in large(output):
        assert parquet.check_part(f"{output}/compact/predictions/{file}").sealed
        data = storage.read_bytes(f"{output}/compact/predictions/{file}")
        assert pq.read_table(pa.BufferReader(data)).num_rows == 10
