from datetime import date
from pathlib import Path

import pytest

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.actualmed import rows
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError
from comit_ray.tables.vocabulary import View

HEADER = (
    "patientid,offset,sex,age,finding,survival,temperature,pO2 saturation,view,modality,imagename,"
    "artifacts/distortion,notes\n"
)
NEGATIVE = "Negative (covid-19 viral infection is excluded), date taken (YYYYMMDD)"


def read(root: Path) -> list[ManifestRow]:
    return list(rows(SourceFiles(str(root)), "actualmed", SourceOptions()))


def test_findings_patients_and_days(tmp_path: Path) -> None:
    text = (
        f'{HEADER}ANON196,,,,,,,,PA,X-ray,CR.1.2.png,,"Inconclusive, date taken (YYYYMMDD): 20200313"\n'
        'ANON196,,,,COVID-19,,,,AP,X-ray,CR.1.3.png,,", date taken (YYYYMMDD): 20200318"\n'
        f'ANON56,,,,No finding,,,,PA,X-ray,DX.1.4.png,,"{NEGATIVE}: 20209999"\n'
        "ANON57,,,,No finding,,,,,X-ray,DX.1.5.png,,T\xf3rax\n"
    )
    (tmp_path / "metadata.csv").write_bytes(text.encode("latin-1"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "SAMPLE.png").touch()
    doubt, covid, normal, undated, unlisted = read(tmp_path)
    assert (doubt.path, doubt.patient_id) == ("images/CR.1.2.png", "actualmed/ANON196")
    assert (doubt.unhealthy, doubt.covid, doubt.other) == (None, None, None)
    assert (doubt.view, doubt.view_source, doubt.acquired_on) == (View.PA, "view", date(2020, 3, 13))
    assert (covid.patient_id, covid.view, covid.acquired_on) == ("actualmed/ANON196", View.AP, date(2020, 3, 18))
    assert (covid.findings, covid.unhealthy, covid.covid, covid.other) == (("COVID-19",), 1, 1, 0)
    assert (normal.findings, normal.unhealthy, normal.covid, normal.other) == (("No finding",), 0, 0, 0)
    assert (normal.acquired_on, undated.acquired_on, undated.view) == (None, None, View.UNKNOWN)
    assert unlisted == ManifestRow(path="images/SAMPLE.png", listed=False)


def test_a_wrapped_copy(tmp_path: Path) -> None:
    folder = tmp_path / "Actualmed-COVID-chestxray-dataset-master"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "CR.1.2.png").touch()
    (folder / "metadata.csv").write_text(HEADER + "ANON1,,,,COVID-19,,,,PA,X-ray,CR.1.2.png,,\n")
    (row,) = read(tmp_path)
    assert row.path == f"{folder.name}/images/CR.1.2.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patientid,finding,view\n", r"expected columns imagename, .* in metadata\.csv, got: patientid, finding, view"),
        (HEADER + "ANON1,,,,,,,,PA,X-ray,,,\n", r"expected imagename in every row of metadata\.csv, row 1"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read(tmp_path)
