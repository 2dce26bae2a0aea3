from pathlib import Path

import pytest

from comit_ray.data.sources.covid_table import beside, labels, read_records, tokens, view_of, whole
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError, Reason
from comit_ray.tables.vocabulary import View


def records(root: Path, text: str, encoding: str = "utf-8") -> list[dict[str, str]]:
    (root / "metadata.csv").write_bytes(text.encode(encoding))
    files = SourceFiles(str(root))
    return list(read_records(files, files.table(r".*", "table"), ("filename", "finding"), encoding))


def test_headers_of_every_version_are_one(tmp_path: Path) -> None:
    old = records(tmp_path, "Patientid,Filename,finding, url,clinical notes,RT_PCR_positive\n 1 , a ,x,y,z,Y\n")
    new = records(tmp_path, "patientid,filename,finding,url,clinical_notes,RT_PCR_positive\n1,a,x,y,z,Y\n")
    assert old == new
    assert set(old[0]) == {"patientid", "filename", "finding", "url", "clinical_notes", "rt_pcr_positive"}


def test_a_table_in_latin_1(tmp_path: Path) -> None:
    (record,) = records(tmp_path, "filename,finding,notes\na,x,Fever 38\xb0\n", "latin-1")
    assert record["notes"] == "Fever 38\xb0"


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"expected columns filename, finding in metadata\.csv, got: a, b"):
        records(tmp_path, "a,b\n")
    with pytest.raises(ManifestError, match=r"expected filename in every row of metadata\.csv, row 2 below"):
        records(tmp_path, "filename,finding\na,x\n,x\n")


@pytest.mark.parametrize("folder", ["", "a/b/"])
def test_beside(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / folder / "metadata.csv").touch()
    files = SourceFiles(str(tmp_path))
    assert beside(files.table(r".*", "table"), "images/c.png") == f"{folder}images/c.png"


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        ("COVID-19, ARDS", ("COVID-19", "ARDS")),
        ("Pneumonia/Viral/COVID-19", ("Pneumonia", "Viral", "COVID-19")),
        ("No Finding", ("No Finding",)),
        (" / ", ()),
    ],
)
def test_tokens(finding: str, expected: tuple[str, ...]) -> None:
    assert tokens(finding) == expected


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        (("COVID-19",), (1, 1, 0)),
        (("Pneumonia", "Viral", "COVID-19"), (1, 1, 0)),
        (("SARS",), (1, 0, 1)),
        (("Pneumonia", "Bacterial", "Klebsiella"), (1, 0, 1)),
        (("No Finding",), (0, 0, 0)),
        (("todo",), (None, None, None)),
        (("Unknown",), (None, None, None)),
        ((), (None, None, None)),
    ],
)
def test_labels(findings: tuple[str, ...], expected: tuple[int | None, ...]) -> None:
    assert labels(findings) == expected


@pytest.mark.parametrize(
    ("view", "modality", "expected"),
    [
        ("PA", "X-ray", (View.PA, None)),
        ("AP Supine", "X-ray", (View.AP, None)),
        ("AP Erect", "", (View.AP, None)),
        ("L", "X-ray", (View.LATERAL, Reason.LATERAL)),
        ("Axial", "CT", (View.UNKNOWN, Reason.WRONG_MODALITY)),
        ("Coronal", "", (View.UNKNOWN, Reason.WRONG_MODALITY)),
        ("CT", "", (View.UNKNOWN, Reason.WRONG_MODALITY)),
        ("PA", "CT", (View.UNKNOWN, Reason.WRONG_MODALITY)),
        ("", "X-ray", (View.UNKNOWN, None)),
        ("?", "", (View.UNKNOWN, None)),
        ("Oblique", "X-ray", (View.UNKNOWN, Reason.NOT_FRONTAL)),
    ],
)
def test_view_of(view: str, modality: str, expected: tuple[View, Reason | None]) -> None:
    assert view_of(view, modality) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("3", 3), ("3.0", 3), ("-2", -2), ("3.5", None), ("", None), ("x", None)]
)
def test_whole(text: str, expected: int | None) -> None:
    assert whole(text) == expected
