from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from comit_ray.data.sources.covid_chestxray import labels, parse_day, rows, site_of, view_of
from comit_ray.data.sources.files import SourceFiles
from comit_ray.data.sources.row import ManifestRow
from comit_ray.errors import ManifestError, Reason
from comit_ray.schema import View
from comit_ray.source_options import SourceOptions

OPTIONS = SourceOptions()


@pytest.fixture(scope="module")
def real(cxr: Path) -> list[ManifestRow]:
    return list(rows(SourceFiles(str(cxr / "covid_chestxray")), "covid", OPTIONS))


def test_counts_of_the_real_images(real: list[ManifestRow]) -> None:
    assert len(real) == 205
    assert Counter(row.excluded for row in real) == {Reason.WRONG_MODALITY: 23, Reason.LATERAL: 12, None: 170}
    frontal = [row for row in real if row.excluded is None]
    assert Counter(row.covid for row in frontal) == {1: 128, 0: 42}
    assert Counter(row.view for row in frontal) == {View.PA: 129, View.AP: 41}
    assert Counter((row.unhealthy, row.covid, row.other) for row in frontal) == {
        (1, 1, 0): 128,
        (1, 0, 1): 41,
        (0, 0, 0): 1,
    }
    assert len({row.patient_id for row in real}) == 115
    assert sum(row.lung_mask is not None for row in real) == 196
    assert sum(row.disease_mask is not None for row in real) == 95
    sites = Counter(row.site for row in real)
    assert (sites["sirm"], sites["radiopaedia"], sites["nejm.org"]) == (58, 56, 13)


def test_facts_of_one_real_row(real: list[ManifestRow]) -> None:
    row = real[1]
    assert row.path == "images/auntminnie-b-2020_01_28_23_51_6665_2020_01_28_Vietnam_coronavirus.jpeg"
    assert (row.patient_id, row.sex, row.age, row.illness_day) == ("covid/2", "M", 65.0, 3)
    assert row.acquired_on == date(2020, 1, 25)
    assert row.site == "nejm.org"


def write(root: Path, text: str) -> str:
    (root / "metadata.csv").write_text(text)
    return str(root)


def test_old_headers_and_new_findings(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        "Patientid,offset,sex,age,finding,view,date,folder,filename, url,clinical notes\n"
        '7,5.0,F,,"COVID-19, ARDS",AP Supine,2020,,a.b.jpg,https://www.eurorad.org/case/1,"two\nlines"\n'
        "8,,,,Pneumonia/Viral/COVID-19,CT,,volumes,c.nii.gz,,\n"
        "9,x,,,todo,?,,images,d.png,,\n",
    )
    masks = tmp_path / "annotations" / "lungVAE-masks"
    masks.mkdir(parents=True)
    (masks / "a.b_mask.png").touch()
    first, second, third = rows(SourceFiles(root), "covid", OPTIONS)
    assert (first.path, first.patient_id, first.site, first.illness_day) == ("images/a.b.jpg", "covid/7", "eurorad", 5)
    assert (first.view, first.covid, first.age, first.acquired_on) == (View.AP, 1, None, None)
    assert first.lung_mask == f"{root}/annotations/lungVAE-masks/a.b_mask.png"
    assert (second.path, second.excluded, second.covid) == ("volumes/c.nii.gz", Reason.WRONG_MODALITY, 1)
    assert (third.view, third.view_source, third.excluded) == (View.UNKNOWN, "none", None)
    assert (third.unhealthy, third.covid, third.other, third.illness_day) == (None, None, None, None)
    assert third.findings == ("todo",)


def test_an_image_that_the_table_does_not_list_is_a_row_without_labels(tmp_path: Path) -> None:
    root = write(tmp_path, "patientid,finding,view,filename\n1,COVID-19,PA,a.jpg\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    (tmp_path / "images" / "b.jpg").touch()
    listed, unlisted = rows(SourceFiles(root), "covid", OPTIONS)
    assert listed.covid == 1
    assert unlisted == ManifestRow(path="images/b.jpg", listed=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "expected columns filename, finding, view"),
        ("filename,finding,view\na,x,PA\n,x,PA\n", "file name in every row .*, row 2 below the header has none$"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        list(rows(SourceFiles(write(tmp_path, text)), "covid", OPTIONS))


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
    ("text", "expected"),
    [
        ("January 22, 2020", date(2020, 1, 22)),
        ("Mar 4, 2020", date(2020, 3, 4)),
        ("2020-03-04", date(2020, 3, 4)),
        ("2/29/2020", date(2020, 2, 29)),
        ("03/16/20", date(2020, 3, 16)),
        ("16/03/2020", date(2020, 3, 16)),
        ("3/3/2020", date(2020, 3, 3)),
        ("3/7/2020", None),
        ("13/13/2020", None),
        ("2020", None),
        ("January 12", None),
        ("", None),
    ],
)
def test_parse_day(text: str, expected: date | None) -> None:
    assert parse_day(text) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://www.sirm.org/category/x", "sirm"),
        ("https://radiopaedia.org/cases/1", "radiopaedia"),
        ("www.eurorad.org/case/1", "eurorad"),
        ("https://www.thelancet.com/a", "thelancet.com"),
        ("", None),
    ],
)
def test_site_of(url: str, expected: str | None) -> None:
    assert site_of(url) == expected


def test_no_cell_of_a_patient_is_shown(tmp_path: Path) -> None:
    root = write(tmp_path, "patientid,sex,age,finding,view,filename\nDOE4711,F,83,COVID-19,PA,\n")
    with pytest.raises(ManifestError) as caught:
        list(rows(SourceFiles(root), "covid", OPTIONS))
    for secret in ("DOE4711", "83", "COVID-19"):
        assert secret not in str(caught.value).removeprefix(root)
