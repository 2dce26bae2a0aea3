import json
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.covid_chestxray import parse_day, rows
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError, Reason
from comit_ray.tables.vocabulary import View

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


@pytest.mark.parametrize(
    "header",
    [
        "Patientid,offset,sex,age,finding,survival,view,date,location,filename,doi, url, license,clinical notes",
        "patientid,offset,sex,age,finding,survival,view,date,location,filename,doi,url,license,clinical notes",
        "patientid,offset,sex,age,finding,RT_PCR_positive,view,date,location,filename,doi,url,license,clinical_notes",
    ],
)
def test_headers_of_all_versions_give_the_same_row(tmp_path: Path, header: str) -> None:
    line = '2,3,M,65,"COVID-19, ARDS",Y,PA,"January 22, 2020",Vietnam,a.jpeg,10.1,https://www.nejm.org/x,,notes'
    (row,) = rows(SourceFiles(write(tmp_path, f"{header}\n{line}\n")), "covid", OPTIONS)
    assert row == ManifestRow(
        path="images/a.jpeg",
        site="nejm.org",
        patient_id="covid/2",
        view=View.PA,
        view_source="view",
        sex="M",
        age=65.0,
        acquired_on=date(2020, 1, 22),
        illness_day=3,
        findings=("COVID-19", "ARDS"),
        unhealthy=1,
        covid=1,
        other=0,
    )


def test_a_wrapped_copy_with_its_masks(tmp_path: Path) -> None:
    folder = tmp_path / "covid-chestxray-dataset-master"
    for path in ("images/a.jpg", "images/b.jpg", "annotations/lungVAE-masks/a_mask.png"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    write(folder, "patientid,finding,view,filename\n1,COVID-19,PA,a.jpg\n")
    listed, unlisted = rows(SourceFiles(str(tmp_path)), "covid", OPTIONS)
    assert (listed.path, listed.listed) == (f"{folder.name}/images/a.jpg", True)
    assert listed.lung_mask == f"{folder}/annotations/lungVAE-masks/a_mask.png"
    assert unlisted == ManifestRow(path=f"{folder.name}/images/b.jpg", listed=False)


def test_boxes_stand_in_where_no_pixels_are_drawn(tmp_path: Path) -> None:
    root = write(tmp_path, "patientid,finding,view,filename\n1,COVID-19,PA,a.jpg\n2,COVID-19,PA,b.jpg\n")
    masks = tmp_path / "annotations" / "lungVAE-masks"
    masks.mkdir(parents=True)
    (masks / "a_mask.png").touch()
    document = {
        "categories": [{"id": 1, "name": "Right Lung"}, {"id": 2, "name": "Left Lung"}],
        "images": [{"id": n, "file_name": name, "height": 90, "width": 80} for n, name in ((1, "a.jpg"), (2, "b.jpg"))],
        "annotations": [
            {"image_id": image, "category_id": lung, "bbox": [40 * (lung - 1), 5, 30, 70]}
            for image in (1, 2)
            for lung in (1, 2)
        ],
    }
    (tmp_path / "annotations" / "imageannotation_ai_lung_bounding_boxes.json").write_text(json.dumps(document))
    first, second = rows(SourceFiles(root), "covid", OPTIONS)
    assert first.lung_mask == f"{root}/annotations/lungVAE-masks/a_mask.png"
    assert second.lung_mask == '{"boxes":[[0.0,5.0,30.0,70.0],[40.0,5.0,30.0,70.0]],"frame":[90,80]}'


def test_drawn_masks_and_the_second_copies_of_their_images(tmp_path: Path) -> None:
    root = write(tmp_path, "patientid,finding,view,filename\n1,COVID-19,PA,a.jpg\n2,COVID-19,PA,b.jpg\n")
    other = tmp_path / "segmentations"
    for path in ("images/a.jpg", "images/c.jpg", "masks/1.png"):
        (other / path).parent.mkdir(parents=True, exist_ok=True)
        (other / path).touch()
    (tmp_path / "annotations" / "lungVAE-masks").mkdir(parents=True)
    (tmp_path / "annotations" / "lungVAE-masks" / "a_mask.png").touch()
    (other / "structure.csv").write_text(
        "Class,Filename,Mask,Resolution,Top,Left,Width,Height\n"
        + "".join(
            f"COVID-19 {kind},a.jpg,masks/1.png,80x90,1,2,3,4\n" for kind in ("Left Lung", "Right Lung", "Pneumothorax")
        )
    )
    drawn, plain, copy, new = rows(SourceFiles(root), "covid", OPTIONS)
    part = {"uri": f"{other}/masks/1.png", "member": None, "top": 1, "left": 2, "height": 4, "width": 3}
    assert json.loads(drawn.lung_mask or "") == {"pasted": [part, part], "frame": [90, 80]}
    assert json.loads(drawn.disease_mask or "") == {"pasted": [part], "frame": [90, 80]}
    assert (plain.lung_mask, plain.disease_mask) == (None, None)
    assert copy == ManifestRow(path="segmentations/images/a.jpg", listed=False, excluded=Reason.DUPLICATE)
    assert new == ManifestRow(path="segmentations/images/c.jpg", listed=False)


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
        ("filename,finding,view\na,x,PA\n,x,PA\n", "filename in every row of metadata.csv, row 2 below .* none$"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        list(rows(SourceFiles(write(tmp_path, text)), "covid", OPTIONS))


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


def test_no_cell_of_a_patient_is_shown(tmp_path: Path) -> None:
    root = write(tmp_path, "patientid,sex,age,finding,view,filename\nDOE4711,F,83,COVID-19,PA,\n")
    with pytest.raises(ManifestError) as caught:
        list(rows(SourceFiles(root), "covid", OPTIONS))
    for secret in ("DOE4711", "83", "COVID-19"):
        assert secret not in str(caught.value).removeprefix(root)
