"""What the job makes of its options, and what a task makes of a server that is away."""

from pathlib import Path

import pyarrow as pa
import pytest

from comit_ray.chunks import run_record
from comit_ray.chunks.plan import to_ipc
from comit_ray.config.export_config import ExportConfig
from comit_ray.dicom.run_export import _Worker, exporting
from comit_ray.errors import ConfigError, NotFoundError
from tests.dicom.support import masks, prediction, radiograph
from tests.support import manifest_row, write_results

AWAY = "http://127.0.0.1:9/dicom-web"


@pytest.fixture
def config(tmp_path: Path) -> ExportConfig:
    """One screened image, in the queue, to a server that does not answer."""
    (tmp_path / "a.dcm").write_bytes(radiograph())
    row = manifest_row("w/a.dcm", uri=str(tmp_path / "a.dcm"))
    results, manifest = write_results(tmp_path, [row], [prediction("w/a.dcm")], [masks() | {"image_id": "w/a.dcm"}])
    return ExportConfig(results=results, manifest=manifest, dicomweb=AWAY, select="all", rate=10, workers=2)


def test_results_without_a_record_and_a_password_in_the_url_are_refused(config: ExportConfig) -> None:
    with pytest.raises(NotFoundError, match=r"run\.json"):
        exporting(config)
    with pytest.raises(ConfigError, match="neither user"):
        exporting(config.model_copy(update={"dicomweb": "https://me:secret@pacs.example"}))


def test_a_server_that_stays_away_is_told_as_a_problem(config: ExportConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a value, for Ray would do again what has waited long enough; no row says that something was stored."""
    monkeypatch.setenv("COMIT_DICOMWEB_PATIENCE", "0.1")
    point = {"operating_point": {"name": "p", "thresholds": {"covid": 0.41}}}
    Path(config.results, "predictions").rename(Path(config.results, "p"))
    run_record.open_run(config.results, point, {}, "predictions")
    Path(config.results, "p").rename(Path(config.results, "predictions"))
    export = exporting(config)
    assert (export.rate, export.to_pacs, export.thresholds) == (5, True, {"covid": 0.41})
    uri = str(Path(config.results).parent / "a.dcm")
    places = pa.Table.from_pylist([{"image_id": "w/a.dcm", "uri": uri, "member": None}])
    empty = pa.table({"image_id": pa.array([], pa.string())})
    chunk = pa.table(
        {
            "file": ["part-00000.parquet"],
            "places": [to_ipc(places).to_pybytes()],
            "reviews": [to_ipc(empty).to_pybytes()],
        }
    )
    (told,) = _Worker(export)(chunk)
    assert told.to_pylist()[0]["problem"] == "the DICOMweb server at 127.0.0.1:9 gave no answer: ConnectionError"
    assert not Path(export.table).exists()
