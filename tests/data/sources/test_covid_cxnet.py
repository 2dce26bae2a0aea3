from pathlib import Path

import pytest

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.covid_cxnet import rows, seen
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError, Reason
from comit_ray.tables.vocabulary import View

HEADER = (
    "filename,patient_id,sex,age,view,label,pcr_test,survival,location,admission_offset,symptom_offset,also_had_ct,"
    "has_fever,has_cough,has_dyspnea,has_diarrhea,spo2,other_symptoms,medical_background,opacification,other,"
    "is_bilateral,url\n"
)


def read(root: Path) -> list[ManifestRow]:
    return list(rows(SourceFiles(str(root)), "cxnet", SourceOptions()))


def images(root: Path, *names: str) -> None:
    for name in names:
        path = root / "chest_xray_images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_rows_as_the_repository_has_them(tmp_path: Path) -> None:
    """Lines of the published table; the byte-order mark before `filename` is in it too."""
    text = (
        HEADER + "280-.jpg,18,male,67,PA,COVID-19,positive,,Spain,1,,,1,1,,,,,,,,,https://twitter.com/ChestImaging/1\n"
        "437.jpg,112,male,48,AP,COVID-19,,1,Austria,4,8,0,1,1,,,,,,1,,1,https://www.eurorad.org/case/16747\n"
        "481p-.jpg,144,male,6,AP,COVID-19,positive,,Italy,,5,0,1,,,,,,,1,,1,https://www.sirm.org/2020/05/20/x/\n"
        "504-.jpg,163,,,L,COVID-19,positive,,Russia,,,0,,,,,,,,0,,,https://doi.org/10.20862/0042\n"
        '396.png,82,,,,"COVID-19, Atelectasis",,,US,1,,,,,,,,,,0,lung nodule,,https://www.ncbi.nlm.nih.gov/pmc\n'
        "756.jpg,213,male,28,AP,,negative,,Austria,,,0,1,1,2,,72,headache,,1,,1,\n"
    )
    (tmp_path / "metadata.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    images(tmp_path, "covid19/437.jpg", "covid19/001.jpeg", "covid19/002-.webp", "normal/001.png", "pneumonia/1.jfif")
    doubtful, plain, child, clear, nodule, unlabelled, *by_folder = read(tmp_path)

    assert (doubtful.path, doubtful.patient_id) == ("chest_xray_images/covid19/280-.jpg", "cxnet/18")
    assert (doubtful.unhealthy, doubtful.covid, doubtful.other, doubtful.illness_day) == (None, 1, 0, 1)
    assert (plain.unhealthy, plain.covid, plain.other, plain.findings) == (1, 1, 0, ("COVID-19",))
    assert (plain.sex, plain.age, plain.view, plain.view_source) == ("M", 48.0, View.AP, "view")
    assert (plain.site, plain.illness_day) == ("eurorad", 8)  # since symptoms, not since admission
    assert (child.age, child.unhealthy) == (6.0, 1)
    assert (clear.unhealthy, clear.covid, clear.excluded) == (None, 1, Reason.LATERAL)
    assert (nodule.unhealthy, nodule.covid, nodule.other) == (1, 1, 0)
    assert nodule.findings == ("COVID-19", "Atelectasis")
    assert (unlabelled.unhealthy, unlabelled.covid, unlabelled.other, unlabelled.site) == (None, None, None, None)

    assert [(row.path, row.unhealthy, row.covid, row.other) for row in by_folder] == [
        ("chest_xray_images/covid19/001.jpeg", 1, 1, 0),
        ("chest_xray_images/covid19/002-.webp", None, 1, 0),
        ("chest_xray_images/normal/001.png", 0, 0, 0),
        ("chest_xray_images/pneumonia/1.jfif", 1, 0, 1),
    ]
    assert all((row.listed, row.patient_id, row.findings) == (False, None, ()) for row in by_folder)


def test_a_wrapped_copy_without_a_table(tmp_path: Path) -> None:
    images(tmp_path / "COVID-CXNet-master", "covid19/001.jpeg")
    (row,) = read(tmp_path)
    assert (row.path, row.covid) == ("COVID-CXNet-master/chest_xray_images/covid19/001.jpeg", 1)


def test_a_wrapped_copy_with_a_table(tmp_path: Path) -> None:
    images(tmp_path / "wrap", "covid19/437.jpg")
    (tmp_path / "wrap" / "metadata.csv").write_text(HEADER + "437.jpg,112,male,48,AP,COVID-19" + "," * 17 + "\n")
    (row,) = read(tmp_path)
    assert (row.path, row.listed) == ("wrap/chest_xray_images/covid19/437.jpg", True)


@pytest.mark.parametrize(
    ("name", "opacification", "other", "expected"),
    [
        ("437.jpg", "1", "", 1),
        ("437.jpg", "", "", 1),
        ("437.jpg", "0", "", None),
        ("437.jpg", "0", "pneumothorax", 1),
        ("437-.jpg", "", "", None),
        ("437-.jpg", "1", "", 1),
        ("437p-.jpg", "", "", None),
        ("437p.jpg", "", "", 1),
    ],
)
def test_seen(name: str, opacification: str, other: str, expected: int | None) -> None:
    assert seen(name, opacification, other) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filename,finding\n", r"columns filename, patient_id, label, view in metadata\.csv, got: filename, finding"),
        (HEADER + ",18,male" + "," * 20 + "\n", r"expected filename in every row of metadata\.csv, row 1"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read(tmp_path)
