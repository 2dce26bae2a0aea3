from collections import Counter
from pathlib import Path

import pytest

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.figure1 import rows
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError, Reason
from comit_ray.tables.vocabulary import View

HEADER = (
    "patientid,offset,sex,age,finding,survival,temperature,pO2 saturation,view,modality,artifacts/distortion,notes\n"
)


def read(root: Path) -> list[ManifestRow]:
    return list(rows(SourceFiles(str(root)), "figure1", SourceOptions()))


@pytest.fixture(scope="module")
def real(cxr: Path) -> list[ManifestRow]:
    return read(cxr / "figure1_covid")


def test_counts_of_the_real_images(real: list[ManifestRow]) -> None:
    assert len(real) == 55
    assert all(row.listed and row.excluded is None for row in real)
    assert Counter((row.findings, row.unhealthy, row.covid, row.other) for row in real) == {
        (("COVID-19",), 1, 1, 0): 35,
        ((), None, None, None): 15,
        (("No finding",), 0, 0, 0): 3,
        (("Pneumonia",), 1, 0, 1): 2,
    }
    assert Counter((row.view, row.view_source) for row in real) == {
        (View.AP, "view"): 15,
        (View.PA, "view"): 3,
        (View.UNKNOWN, "none"): 37,
    }
    assert Counter(row.sex for row in real) == {None: 33, "M": 11, "F": 11}


def test_images_of_one_real_patient_share_the_id(real: list[ManifestRow]) -> None:
    assert len({row.patient_id for row in real}) == 48
    images = Counter(row.patient_id for row in real)
    assert {patient: count for patient, count in images.items() if count > 1} == {
        "figure1/COVID-00003": 2,
        "figure1/COVID-00013": 2,
        "figure1/COVID-00015": 2,
        "figure1/COVID-00039": 3,
        "figure1/COVID-00040": 2,
        "figure1/COVID-00043": 2,
    }


def test_ages_in_words_are_unknown(real: list[ManifestRow]) -> None:
    ages = {row.path: row.age for row in real}
    assert ages["images/COVID-00001.jpg"] == 33.0
    assert ages["images/COVID-00002.jpg"] is None  # 50+
    assert ages["images/COVID-00040a.jpg"] is None  # early 40s
    assert sum(age is not None for age in ages.values()) == 55 - 26 - 3 - 2 - 2 - 1  # blank, 50+, 67+, early and mid


def test_facts_of_one_real_row(real: list[ManifestRow]) -> None:
    row = next(row for row in real if row.path == "images/COVID-00039c.jpg")
    assert (row.patient_id, row.sex, row.age, row.illness_day) == ("figure1/COVID-00039", "F", 77.0, 10)
    assert next(row.path for row in real if row.patient_id == "figure1/COVID-00045") == "images/COVID-00045.png"


def test_a_wrapped_copy_an_absent_image_and_one_not_listed(tmp_path: Path) -> None:
    folder = tmp_path / "Figure1-COVID-chestxray-dataset-master"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "COVID-00001.png").touch()
    (folder / "images" / "COVID-00009.jpg").touch()
    text = HEADER + "COVID-00001,,,,,,,,L,X-ray,,38\xb0\nCOVID-00002,x,,,COVID-19,,,,,CT,,\n"
    (folder / "metadata.csv").write_bytes(text.encode("latin-1"))
    here, absent, unlisted = read(tmp_path)
    assert (here.path, here.excluded) == (f"{folder.name}/images/COVID-00001.png", Reason.LATERAL)
    assert (absent.path, absent.excluded) == (f"{folder.name}/images/COVID-00002.jpg", Reason.WRONG_MODALITY)
    assert absent.illness_day is None
    assert unlisted == ManifestRow(path=f"{folder.name}/images/COVID-00009.jpg", listed=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", r"expected columns patientid, finding, view in metadata\.csv, got: a, b"),
        ("patientid,finding,view\n,COVID-19,\n", r"expected patientid in every row of metadata\.csv, row 1"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read(tmp_path)
