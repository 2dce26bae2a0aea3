"""Where objects go, and which."""

import time
from pathlib import Path

import pyarrow as pa
import pytest
from pydicom.dataset import Dataset

from comit_ray.config.export_config import ExportConfig
from comit_ray.dicom.destination import Directory, Made, Pace
from comit_ray.dicom.selection import chosen, units
from comit_ray.errors import ConfigError
from comit_ray.screening.results_folder import QUEUE_FILE
from comit_ray.tables import parquet
from comit_ray.tables.schema import PREDICTIONS
from tests.dicom.support import masks, prediction, radiograph, read
from tests.dicom.ward import Ward
from tests.support import manifest_row, write_results

TO = {"results": "r", "manifest": "m", "output": "o"}


def made(patient: str = "x", uid: str = "2.25.1") -> Made:
    """An object that is no DICOM file, of a patient."""
    header = Dataset()
    header.PatientID = patient
    return Made({"sop_instance_uid": uid, "format": "seg"}, header, "1.2", b"bytes")


def test_objects_in_a_directory_are_named_by_their_uid(tmp_path: Path) -> None:
    directory = Directory(str(tmp_path), Pace(None))
    for _ in range(2):
        assert directory.put([made(), made(uid="2.25.2")]) == [("stored", None)] * 2
    assert sorted(path.name for path in (tmp_path / "seg").iterdir()) == ["2.25.1.dcm", "2.25.2.dcm"]


def test_a_rate_spaces_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    now: list[float] = [100.0]
    slept: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", slept.append)
    pace = Pace(4)
    pace.wait(2)
    pace.wait(1)
    assert slept == [0.5, 0.75], "the clock stands still: the third object goes out after three quarters of a second"
    Pace(4).wait(2)
    assert slept[2:] == [0.5], "the first objects of a chunk wait, too"
    Pace(None).wait(1000)
    assert len(slept) == 3


def test_a_condition_selects_rows_and_sees_nothing_else(tmp_path: Path) -> None:
    rows = [prediction(f"a/{number}", p_covid=number / 10, covid_flag=number > 4) for number in range(10)]
    table = pa.Table.from_pylist(rows, schema=PREDICTIONS)
    assert chosen(table, None).to_pylist() == [f"a/{number}" for number in range(10)]
    assert chosen(table, "covid_flag AND p_covid < 0.75").to_pylist() == ["a/5", "a/6", "a/7"]
    assert chosen(table, "unhealthy_flag").to_pylist() == [], "null is not true"
    older = table.drop_columns(["typicality"])
    assert chosen(older, "typicality IS NULL AND covid_flag -- yes").to_pylist()[0] == "a/5"
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for bad in ("no_such_column", "covid_flag; DROP TABLE predictions", f"1 IN (FROM '{secret}')"):
        with pytest.raises(ConfigError, match="expected a condition on the columns of predictions"):
            chosen(table, bad)


def test_the_queue_selects_and_a_foreign_manifest_is_refused(tmp_path: Path) -> None:
    ids = [f"a/{number}" for number in range(4)]
    results, manifest = write_results(
        tmp_path, [manifest_row(one) for one in ids[:3]], [prediction(i) for i in ids], []
    )
    queue = pa.table({"image_id": ["a/2", "a/0"]})
    parquet.write_table(f"{results}/{QUEUE_FILE}", queue)
    config = ExportConfig(results=results, manifest=manifest, output="o")
    (unit,) = units(config)
    assert unit.places["image_id"].to_pylist() == ["a/0", "a/2"]
    assert unit.file == "part-00000.parquet"
    assert list(units(config.model_copy(update={"where": "NOT covid_flag"}))) == []
    with pytest.raises(ConfigError, match="lacks a/3: give the manifest that was screened"):
        list(units(config.model_copy(update={"select": "all"})))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": "seg,pdf"}, "got pdf"),
        ({"dicomweb": "https://pacs.example"}, "either --output"),
        ({"output": None}, "either --output"),
        ({"format": "reviews"}, "go together"),
        ({"where": "p_covid > (SELECT avg(p_covid) FROM predictions)"}, "cannot look at other rows"),
    ],
)
def test_options_that_contradict_each_other_are_refused(changes: dict[str, str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        ExportConfig.parse(TO | changes, origin="test")


def test_a_png_can_only_have_a_secondary_capture_and_reviews_go_back(tmp_path: Path) -> None:
    """In one chunk: a PNG, a DICOM file that two readers read, and a file that is gone."""
    from PIL import Image

    from comit_ray.chunks import run_record

    (tmp_path / "a.dcm").write_bytes(radiograph())
    Image.effect_noise((160, 200), 50).save(tmp_path / "b.png")
    names = ("a.dcm", "b.png", "c.dcm")
    manifest = [manifest_row(f"w/{name}", uri=str(tmp_path / name)) for name in names]
    rows = [prediction(f"w/{name}") for name in names]
    drawn = [masks() | {"image_id": f"w/{name}"} for name in names]
    results, uri = write_results(tmp_path, manifest, rows, drawn)
    point = {"operating_point": {"name": "p", "thresholds": {"covid": 0.41}}}
    run_record.open_run(str(tmp_path / "other"), point, {}, "predictions")
    (tmp_path / "other" / "run.json").rename(tmp_path / "results" / "run.json")
    read_by = pa.table({"image_id": ["w/a.dcm"] * 2, "reader": ["R1", "R2"], "verdict": ["normal", "abnormal"]})
    parquet.write_table(str(tmp_path / "reviews.parquet"), read_by)

    ward = object.__new__(Ward)
    ward.root, ward.manifests = tmp_path, {"files": uri}
    given = {"results": results, "output": str(tmp_path / "out"), "reviews": str(tmp_path / "reviews.parquet")}
    counts = ward.export("files", format="seg,sr,sc,gsps,reviews", **given)
    assert (counts.stored, counts.refused) == (4 + 2 + 1, 3 + 4)
    exported = parquet.read_table(f"{results}/exports").to_pylist()
    said = {(row["image_id"], row["format"]): row for row in exported}
    assert said["w/b.png", "sc"]["status"] == "stored"
    assert "expected a DICOM source" in said["w/b.png", "seg"]["answer"]
    assert said["w/c.dcm", "sr"]["answer"].startswith("the source cannot be used now: missing")
    nobody = read((tmp_path / "out" / "sc" / f"{said['w/b.png', 'sc']['sop_instance_uid']}.dcm").read_bytes())
    assert (str(nobody.PatientName), nobody.PatientID) == ("", "")
    again = ward.export("files", format="seg,sr,sc,gsps,reviews", **given)
    assert (again.done, again.stored, again.refused) == (7, 0, 7)
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 7
