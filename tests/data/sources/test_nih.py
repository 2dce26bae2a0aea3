import gzip
from pathlib import Path

import pytest

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.nih import rows
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError
from comit_ray.tables.vocabulary import Split, View
from tests.data import archives

OPTIONS = SourceOptions()

HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
BOXES = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


def write(root: Path, table: str, name: str = "Data_Entry_2017.csv") -> str:
    root.mkdir(exist_ok=True)
    (root / name).write_text(table)
    return str(root)


def test_images_in_twelve_folders_are_found_and_the_others_have_a_flat_path(tmp_path: Path) -> None:
    root = write(tmp_path, HEADER + "00000001_000.png,Mass,0,1,58,M,PA\n00000002_000.png,Mass,0,2,58,M,PA\n")
    folder = tmp_path / "images_007" / "images"
    folder.mkdir(parents=True)
    (folder / "00000001_000.png").touch()
    (folder / "99999999_000.png").touch()
    found = list(rows(SourceFiles(root), "nih", OPTIONS))
    assert [row.path for row in found] == [
        "images_007/images/00000001_000.png",
        "images/00000002_000.png",
        "images_007/images/99999999_000.png",
    ]
    unlisted = found[-1]
    assert (unlisted.unhealthy, unlisted.covid, unlisted.other, unlisted.patient_id) == (None, None, None, None)


def test_one_image_in_two_folders_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, HEADER)
    for name in ("images_001", "images_002"):
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "images" / "00000001_000.png").touch()
    with pytest.raises(ManifestError, match=r"images_001/images/00000001_000\.png and .*/images_002"):
        list(rows(SourceFiles(root), "nih", OPTIONS))


def test_one_image_in_two_archives_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, HEADER)
    for name in ("images_01.tar.gz", "images_02.tar.gz"):
        archives.write(tmp_path / name, {"images/00000001_000.png": b""})
    with pytest.raises(ManifestError, match=r"_01\.tar\.gz!images/0.*_02\.tar\.gz!images/0.*: keep one of them"):
        list(rows(SourceFiles(root), "nih", OPTIONS))


@pytest.mark.parametrize("top", ["", "NIH/", "a/b/"])
def test_the_distribution_itself_below_any_folder(tmp_path: Path, top: str) -> None:
    """`images/images_01.tar.gz` holds `images/...png`; the tables lie beside `images/`, the lists in folders."""
    folder = tmp_path / top
    (folder / "images").mkdir(parents=True)
    write(folder, HEADER + "".join(f"0000000{i}_000.png,Mass,0,{i},58,M,PA\n" for i in (1, 2, 3)))
    write(folder, BOXES + "00000001_000.png,Mass,1,2,3,4\n", "BBox_List_2017.csv")
    write(folder / "lists", "00000001_000.png\n", "train_val_list.txt")
    write(folder / "lists", "00000002_000.png\n", "test_list.txt")
    for part in (1, 2):
        files = {f"images/0000000{part}_000.png": b"", "__MACOSX/images/._00000001_000.png": b""}
        archives.write(folder / "images" / f"images_0{part}.tar.gz", files)
    (folder / "lung_masks").mkdir()
    (folder / "lung_masks" / "00000001_000.png").touch()
    (tmp_path / "annotations" / "lung_masks").mkdir(parents=True)
    (tmp_path / "annotations" / "lung_masks" / "00000002_000.png").touch()
    one, two, absent = rows(SourceFiles(str(tmp_path)), "nih", OPTIONS)
    assert [(row.path, row.member) for row in (one, two, absent)] == [
        (f"{top}images/images_01.tar.gz", "images/00000001_000.png"),
        (f"{top}images/images_02.tar.gz", "images/00000002_000.png"),
        (f"{top}images/00000003_000.png", None),
    ]
    assert [row.source_split for row in (one, two, absent)] == [Split.TRAIN, Split.TEST, None]
    assert (one.disease_mask or "").startswith('{"boxes":[[1.0,2.0,3.0,4.0]]')
    assert one.lung_mask == f"{tmp_path}/{top}lung_masks/00000001_000.png"
    assert two.lung_mask == f"{tmp_path}/annotations/lung_masks/00000002_000.png"


def test_header_variant_with_sex_and_a_trailing_comma(tmp_path: Path) -> None:
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,OriginalImage[Width\n"
    )
    text = header + "00000005_003.png,Mass|Nodule,3,5,058Y,F,AP,2000,\n00000006_000.png,No Finding,0,6,414,M,XX,1\n"
    write(tmp_path, "", "unused.txt")
    (tmp_path / "Data_Entry_2017_v2020.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    first, second = rows(SourceFiles(str(tmp_path)), "mine", OPTIONS)
    assert (first.patient_id, first.study_id) == ("mine/00000005", "mine/00000005_003")
    assert (first.sex, first.age, first.view, first.view_source) == ("F", 58.0, View.AP, "View Position")
    assert first.findings == ("Mass", "Nodule")
    assert (second.age, second.view, second.view_source) == (None, View.UNKNOWN, "none")


def test_official_lists_are_the_source_split(tmp_path: Path) -> None:
    root = write(tmp_path, HEADER + "".join(f"0000000{i}_000.png,Mass,0,{i},58,M,PA\n" for i in (1, 2, 3)))
    write(tmp_path, "00000001_000.png\r\n", "train_val_list.txt")
    write(tmp_path, "00000002_000.png\n\n", "test_list.txt")
    assert [row.source_split for row in rows(SourceFiles(root), "nih", OPTIONS)] == [
        Split.TRAIN,
        Split.TEST,
        None,
    ]


def test_mask_files_are_found_and_come_before_boxes(tmp_path: Path) -> None:
    root = write(tmp_path, HEADER + "".join(f"0000000{i}_000.png,Mass,0,{i},58,M,PA\n" for i in (1, 2)))
    write(tmp_path, BOXES + "00000001_000.png,Mass,1,2,3,4\n00000002_000.png,Mass,1,2,3,4\n", "BBox_List_2017.csv")
    for path in ("lung_masks/00000001_000.png", "annotations/disease_masks/00000002_000.png"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    first, second = rows(SourceFiles(root), "nih", OPTIONS)
    assert first.lung_mask == f"{root}/lung_masks/00000001_000.png"
    assert (first.disease_mask or "").startswith('{"boxes":[[1.0,2.0,3.0,4.0]]')
    assert (second.lung_mask, second.disease_mask) == (None, f"{root}/annotations/disease_masks/00000002_000.png")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, r"expected one Data_Entry_2017\*\.csv.*found none"),
        ({"Data_Entry_2017.csv": ""}, "expected a header line"),
        ({"Data_Entry_2017.csv": "a,b\n"}, "expected a column 'Image Index' in Data_Entry_2017.csv, got: a, b"),
        ({"Data_Entry_2017.csv": HEADER, "Data_Entry_2017_v2020.csv": HEADER}, "found Data_Entry_2017.csv, Data_"),
        ({"Data_Entry_2017.csv": HEADER, "BBox_List_2017.csv": BOXES + "a.png,Mass,1,x,3,4\n"}, "width, height for a"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, tables: dict[str, str], message: str) -> None:
    for name, text in tables.items():
        write(tmp_path, text, name)
    with pytest.raises(ManifestError, match=message):
        list(rows(SourceFiles(str(tmp_path)), "nih", OPTIONS))


def test_a_broken_gzip_is_named(tmp_path: Path) -> None:
    (tmp_path / "Data_Entry_2017.csv.gz").write_bytes(gzip.compress(HEADER.encode() * 50)[:40])
    with pytest.raises(ManifestError, match=r"Data_Entry_2017\.csv\.gz"):
        list(rows(SourceFiles(str(tmp_path)), "nih", OPTIONS))


def test_nan_is_unknown_and_a_number_has_no_point(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
        "a.png,NaN,0,NaN,NaN,NaN,NaN\nb.png,No Finding,0,2.0,58,M,PA\nc.png,No Finding,1,2,58,M,PA\n"
    )
    found = list(rows(SourceFiles(str(tmp_path)), "nih", SourceOptions()))
    assert [row.patient_id for row in found] == [None, "nih/00000002", "nih/00000002"]
    assert (found[0].findings, found[0].unhealthy, found[0].covid, found[0].age) == ((), None, None, None)
