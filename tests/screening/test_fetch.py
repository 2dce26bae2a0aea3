import numpy as np
import pyarrow as pa

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.config.source_config import SourceOptions
from comit_ray.data.manifest import manifest_build
from comit_ray.data.sources import covid_chestxray
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.screening.fetch import fetch_row, fetched_schema, frames_of, to_table
from comit_ray.storage.file_reader import FileReader
from tests.support import manifest_row

FRAME = FrameConfig(size=64)


def read(rows) -> pa.Table:
    with FileReader(DecodeLimits().max_bytes) as reader:
        results = [fetch_row(row, reader, FRAME, DecodeLimits()) for row in rows]
    return to_table(results, FRAME)


def fetch(rows) -> list[dict]:
    return read(rows).to_pylist()


def test_real_rows_keep_their_order_and_exclusions(cxr):
    root = str(cxr / "covid_chestxray")
    table = manifest_build.read_source(covid_chestxray.rows, SourceFiles(root), "covid", SourceOptions()).table
    rows = [row | {"chunk": "c", "split": None} for row in table.to_pylist()][:60]
    fetched = fetch(rows)
    assert [row["image_id"] for row in fetched] == [row["image_id"] for row in rows]
    assert [row["reason"] for row in fetched] == [row["excluded"] for row in rows]
    assert {row["status"] for row in fetched} == {"ok", "excluded"}
    for row in fetched:
        assert (row["frame"] is not None) == (row["status"] == "ok")
        assert row["frame"] is None or len(row["frame"]) == 64 * 64


def test_one_bad_file_costs_one_row(cxr, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    good = str(cxr / "dicom" / "RG1_J2KI.dcm")
    fetched = fetch(
        [
            manifest_row("a/bad", uri=str(tmp_path / "bad.png")),
            manifest_row("a/good", uri=good, view="unknown"),
            manifest_row("a/absent", uri=str(tmp_path / "absent.png")),
            manifest_row("a/marked", uri=good, excluded="missing"),
            manifest_row("a/lateral", uri=good, view="lateral"),
        ]
    )
    assert [row["status"] for row in fetched] == ["failed", "ok", "failed", "failed", "excluded"]
    assert [row["reason"] for row in fetched] == ["not_an_image", None, "missing", "missing", "lateral"]
    assert fetched[1]["view"] == "PA"  # the header's, where the manifest knows none
    assert fetched[1]["height"] == 1955


def test_frames_lie_side_by_side_and_are_read_where_they_lie(cxr, tmp_path):
    """Those of rows that are ok, in their order, also of a slice and of a table in two pieces."""
    good = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:3]
    files = [good[0], tmp_path / "absent.png", good[1], good[2]]
    table = read([manifest_row(f"a/{number}", uri=str(file)) for number, file in enumerate(files)])
    assert table.schema.equals(fetched_schema(FRAME))
    assert table["status"].to_pylist() == ["ok", "failed", "ok", "ok"]
    expected = [np.frombuffer(frame, np.uint8).reshape(64, 64) for frame in table["frame"].to_pylist() if frame]
    assert len({frame.tobytes() for frame in expected}) == 3
    np.testing.assert_array_equal(frames_of(table), expected)
    np.testing.assert_array_equal(frames_of(table.slice(1, 2)), expected[1:2])
    np.testing.assert_array_equal(frames_of(pa.concat_tables([table.slice(0, 2), table.slice(2)])), expected)
    assert frames_of(table.slice(1, 1)).shape == frames_of(table.slice(0, 0)).shape == (0, 64, 64)
    whole = table.slice(2)
    assert np.shares_memory(frames_of(whole), np.frombuffer(whole["frame"].chunk(0).buffers()[1], np.uint8))
