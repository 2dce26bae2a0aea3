"""Nothing that a job prints or logs tells whose radiographs it saw: names, numbers, files, also of broken ones."""

from pathlib import Path

import pydicom
import pytest

from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.prepare_config import PrepareConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.tables import parquet
from jobs import manifest as manifest_job
from jobs import prepare as prepare_job
from jobs import screen as screen_job
from tests.support import write_checkpoint

pytestmark = pytest.mark.slow

IDENTITIES = ("Jane", "MRN-4711", "ACC-0815", "19700102", "doe_jane")


@pytest.fixture
def archive(cxr: Path, tmp_path: Path) -> Path:
    """Real DICOM of a patient with a name: whole, cut short, no chest, with values that pydicom warns of; a PNG."""
    root = tmp_path / "archive"
    root.mkdir()
    for file in sorted((cxr / "dicom").glob("*.dcm")):
        dataset = pydicom.dcmread(file)
        dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = "Doe^Jane", "MRN-4711", "ACC-0815"
        dataset.PatientBirthDate = "19700102"
        dataset.save_as(root / f"doe_jane_{file.name}")
    whole = (root / "doe_jane_RG1_J2KI.dcm").read_bytes()
    (root / "doe_jane_short.dcm").write_bytes(whole[: len(whole) // 2])
    (root / "doe_jane_zeros.dcm").write_bytes(whole[:20_000] + bytes(len(whole) - 20_000))
    (root / "doe_jane_wrong.dcm").write_bytes(whole.replace(b"ACC-0815", b"ACC-0815"[::-1]).replace(b"MONO", b"Jane"))
    png = next((cxr / "nih_chestxray14" / "images").glob("*.png")).read_bytes()
    (root / "doe_jane.png").write_bytes(png[: len(png) // 2])
    return root


def test_prints_and_logs_tell_no_identity(archive: Path, tmp_path: Path, ray_session: Path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("COMIT_ID_KEY", "a key for this test alone")
    uri, model = str(tmp_path / "manifest"), write_checkpoint(tmp_path / "checkpoint")
    assert manifest_job.job(ManifestConfig(source="dicom", root=str(archive), output=uri)) == 0
    asked = ScreenConfig(manifest=uri, checkpoint=model, output=str(tmp_path / "results"), max_failed_share=1)
    assert screen_job.job(asked) == 0
    assert prepare_job.job(PrepareConfig(manifest=uri, output=str(tmp_path / "data"), max_failed_share=1)) == 0

    statuses = parquet.read_table(f"{tmp_path}/results/predictions")["status"].to_pylist()
    assert {"ok", "failed", "excluded"} <= set(statuses), "every way through the code was taken"
    texts = {path.name: path.read_text(errors="replace") for path in ray_session.rglob("*") if path.is_file()}
    assert any(name.startswith("worker-") for name in texts)
    texts["printed"] = "".join(capfd.readouterr())
    assert "manifest: " in texts["printed"]
    for name, text in texts.items():
        for identity in IDENTITIES:
            found = text.find(identity)
            assert found < 0, f"{name}: ...{text[max(0, found - 200) : found + 100]}..."
