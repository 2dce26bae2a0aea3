import pyarrow as pa

from comit_ray.config.data_config import DecodeLimits, FrameConfig, SourceOptions
from comit_ray.data.manifest import manifest_build
from comit_ray.data.sources import covid_chestxray
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.screening.fetch import FETCHED, fetch_row
from comit_ray.storage.file_reader import FileReader
from tests.support import manifest_row

FRAME = FrameConfig(size=64)


def fetch(rows) -> list[dict]:
    with FileReader(DecodeLimits().max_bytes) as reader:
        results = [fetch_row(row, reader, FRAME, DecodeLimits()) for row in rows]
    return pa.Table.from_pylist(results, schema=FETCHED).to_pylist()


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
