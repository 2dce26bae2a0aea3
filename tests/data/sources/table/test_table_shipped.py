"""The shipped mappings, each on a tree as the dataset is distributed."""

from pathlib import Path

import numpy as np
import pytest

from comit_ray.config.image_config import FrameConfig
from comit_ray.data.masks.masks import read_mask
from comit_ray.errors import ManifestError
from comit_ray.tables.vocabulary import Split, View
from tests.data.sources.table_trees import labels, read

COVIDX = {
    "train_COVIDx9A.txt": (
        "3 SARS-10.1148rg.242035193-g04mr34g0-Fig8a-day0.jpeg pneumonia cohen\n"
        "ANON 12 a COVID-00001.png COVID-19 fig1\n\n"
        "bd8facb9 bd8facb9.png normal rsna\n"
    ),
    "test_COVIDx9A.txt": "419639-003251 MIDRC-RICORD-1C-419639-003251-46647-0.png COVID-19 ricord\n",
    "train/SARS-10.1148rg.242035193-g04mr34g0-Fig8a-day0.jpeg": "",
    "train/COVID-00001.png": "",
    "train/bd8facb9.png": "",
    "train/left-over.png": "",
    "test/MIDRC-RICORD-1C-419639-003251-46647-0.png": "",
}


def test_covidx_with_three_classes(tmp_path: Path) -> None:
    found = read(tmp_path, COVIDX, "covidx")
    assert [row.path for row in found] == [*list(COVIDX)[2:5], list(COVIDX)[6], "train/left-over.png"]
    assert [labels(row) for row in found] == [(1, 0, 1), (1, 1, 0), (0, 0, 0), (1, 1, 0), (None, None, None)]
    assert [row.patient_id for row in found] == [
        "mine/3",
        "mine/ANON 12 a",
        "mine/bd8facb9",
        "mine/419639-003251",
        None,
    ]
    assert [row.site for row in found] == ["cohen", "fig1", "rsna", "ricord", None]
    assert [row.source_split for row in found] == [Split.TRAIN] * 3 + [Split.TEST, None]
    assert [row.findings for row in found[:2]] == [("pneumonia",), ("COVID-19",)]
    assert [row.listed for row in found] == [True] * 4 + [False]
    assert all((row.view, row.view_source, row.disease_mask) == (View.UNKNOWN, "none", None) for row in found)


def test_covidx_with_two_classes_three_words_and_folders_of_its_own(tmp_path: Path) -> None:
    """Lists in labels/ beside data/, as the scripts leave them; in another copy the test folder has another name."""
    files = {
        "COVIDx/labels/train.txt": "p 1 a.png negative\np1 b.png positive\n",
        "COVIDx/labels/val.txt": "p2 c.png negative\n",
        "COVIDx/labels/test.txt": "p3 d.png positive\n",
        "COVIDx/data/train/a.png": "",
        "COVIDx/data/train/d.png": "the training list's d.png would be this one",
        "COVIDx/data/test/d.png": "",
        "COVIDx/validation/c.png": "",
    }
    found = read(tmp_path, files, "covidx")
    assert [row.path for row in found] == [
        "COVIDx/data/train/a.png",
        "COVIDx/labels/train/b.png",
        "COVIDx/validation/c.png",
        "COVIDx/data/test/d.png",
        "COVIDx/data/train/d.png",
    ]
    assert [labels(row) for row in found[:4]] == [(None, 0, None), (1, 1, 0), (None, 0, None), (1, 1, 0)]
    assert [row.patient_id for row in found[:2]] == ["mine/p 1", "mine/p1"]
    assert [row.site for row in found[:2]] == [None, None]
    assert [row.source_split for row in found[:4]] == [Split.TRAIN, Split.TRAIN, Split.VAL, Split.TEST]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.png": ""}, r"expected a table train.* or val.* or test.* in .*, found none"),
        (
            {"labels/train_COVIDx8A.txt": "", "labels/train_COVIDx9A.txt": ""},
            r"found labels/train_COVIDx8A\.txt, labels",
        ),
        ({"train.txt": "p a.png normal\np a.png\n"}, r"train\.txt, row 2: .*filename label .*, got 2 words"),
        ({"train.txt": "p a normal\n"}, "got 3 words, none of them an image's name"),
        ({"train.txt": "p a.png normal rsna extra\n"}, "got 5 words"),
        (
            {"train.txt": "p a.png severe\n"},
            r"train\.txt, row 1: column 'label': expected one of 'covid-19', .* 'severe'",
        ),
        (
            {"train.txt": "p a.png normal\nq a.png normal\n"},
            "row 2, and train.txt, row 1: .*agree, got different patient",
        ),
        ({"train.txt": "p a.png normal\np a.png positive\n"}, "got different unhealthy, covid"),
        (
            {"train.txt": "p a.png normal\n", "x/a.png": "", "y/a.png": ""},
            r"one file of the image's name .* x/a.png and y",
        ),
    ],
)
def test_broken_covidx_lists_are_named(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read(tmp_path, files, "covidx")


def test_a_line_that_stands_twice_counts_once(tmp_path: Path) -> None:
    (row,) = read(tmp_path, {"train.txt": "p a.png normal\np a.png normal\n"}, "covidx")
    assert (row.path, row.findings) == ("train/a.png", ("normal",))


RSNA = {
    "rsna/stage_2_train_labels.csv": (
        "patientId,x,y,width,height,Target\n"
        "0004cfab,,,,,0\n"
        "00436515,264.0,152.0,213.0,379.0,1\n"
        "00704310,323.0,577.0,160.0,104.0,1\n"
        "00436515,562.0,152.0,256.0,453.0,1\n"
    ),
    "rsna/stage_2_train_images/0004cfab.dcm": "",
    "rsna/stage_2_train_images/00436515.dcm": "",
    "rsna/elsewhere/00704310.dcm": "",
    "rsna/stage_2_test_images/0000a175.dcm": "",
}


def test_rsna_boxes_of_an_image_are_one_row_wherever_they_stand(tmp_path: Path) -> None:
    none, two, one, unlabelled = read(tmp_path, RSNA, "rsna-boxes")
    assert [row.path for row in (none, two, one, unlabelled)] == list(RSNA)[1:]
    assert [labels(row) for row in (none, two, one)] == [(None, 0, None), (1, 0, 1), (1, 0, 1)]
    assert none.disease_mask is None
    assert two.disease_mask == ('{"boxes":[[264.0,152.0,213.0,379.0],[562.0,152.0,256.0,453.0]],"frame":[1024,1024]}')
    assert one.disease_mask == '{"boxes":[[323.0,577.0,160.0,104.0]],"frame":[1024,1024]}'
    assert (unlabelled.listed, labels(unlabelled)) == (False, (None, None, None))
    assert {row.patient_id for row in (none, two, one)} == {None}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "0004cfab,1,2,3,4,1",
            "and .*row 1: expected rows of one image that agree, got different unhealthy, other",
        ),
        (
            "x,1,2,,4,1",
            r"expected a box of positive size in x, y, width, height, or four blanks, got \['1', '2', ''",
        ),
        ("x,1,2,a,4,1", "expected a box"),
        ("x,1,2,0,4,1", "expected a box"),
        ("x,1,2,inf,4,1", "expected a box"),
        ("x,,,,,2", "column 'Target': expected one of '1', '0', got '2'"),
        ("x,,,,,", "column 'Target': .*blank cell"),
        (",,,,,0", "expected the name of an image, got a blank cell"),
        ("../x,,,,,0", "cell with `..`"),
        ("x,,,,,0,7", "expected 6 cells as in the header, got 7"),
    ],
)
def test_broken_rsna_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    table = str(RSNA["rsna/stage_2_train_labels.csv"]) + line + "\n"
    with pytest.raises(ManifestError, match=rf"^rsna/stage_2_train_labels\.csv, row 5.*{message}"):
        read(tmp_path, RSNA | {"rsna/stage_2_train_labels.csv": table}, "rsna-boxes")


def test_missing_boxes_as_pandas_writes_them_are_none(tmp_path: Path) -> None:
    table = "patientId,x,y,width,height,Target,\nx,nan,nan,NaN,nan,0,\n"
    (row,) = read(tmp_path, {"stage_2_train_labels.csv": table}, "rsna-boxes")
    assert (row.path, row.disease_mask) == ("stage_2_train_images/x.dcm", None)


def test_siim_regions_of_an_image_are_one_mask(tmp_path: Path) -> None:
    """The first region is rows 100 to 149 of columns 200 and 201, the second one pixel of column 300."""
    regions = [f"{200 * 1024 + 100} 50 {1024 - 50} 50", f"{300 * 1024 + 700} 1"]
    files = {
        "train-rle.csv": f"ImageId, EncodedPixels\n1.2.3, {regions[0]}\n1.2.4, -1\n1.2.3,{regions[1]}\n1.2.5,-1\n",
        "dicom-images-train/1.2/1.3/1.2.3.dcm": "",
        "dicom-images-train/1.2/1.4/1.2.4.dcm": "",
        "dicom-images-test/1.2/1.9/1.2.9.dcm": "",
    }
    ill, none, absent, unlabelled = read(tmp_path, files, "siim-rle")
    assert [row.path for row in (ill, none, absent, unlabelled)] == [*list(files)[1:3], "1.2.5.dcm", list(files)[3]]
    assert [labels(row) for row in (ill, none, absent)] == [(1, 0, 1), (None, 0, None), (None, 0, None)]
    assert (none.disease_mask, unlabelled.disease_mask) == (None, None)
    mask = read_mask(ill.disease_mask or "", FrameConfig(size=1024), 1024, 1024)
    expected = np.zeros((1024, 1024), np.uint8)
    expected[100:150, 200:202] = 1
    expected[700, 300] = 1
    assert (mask == expected).all()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1.2.3,-1\n1.2.3,1 2\n", "got different unhealthy, other"),
        ("1.2.3,\n", "blank cell"),
        ("a/b,-1\n", "name of a file alone"),
        ("..,-1\n", "leading dot"),
    ],
)
def test_broken_siim_rows_are_named(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(ManifestError, match=rf"^train-rle\.csv, row \d.*{message}"):
        read(tmp_path, {"train-rle.csv": f"ImageId, EncodedPixels\n{lines}"}, "siim-rle")


VINDR_HEADER = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"


def test_vindr_readers_are_united_and_none_means_all_of_them(tmp_path: Path) -> None:
    files = {
        "train.csv": VINDR_HEADER
        + "aa,No finding,14,R11,,,,\n"
        + "bb,Cardiomegaly,3,R8,691,1375,1653,1831\n"
        + "aa,No finding,14,R7,,,,\n"
        + "bb,No finding,14,R9,,,,\n"
        + "bb,Aortic enlargement,0,R10,1264,743,1611,1019\n"
        + "aa,No finding,14,R10,,,,\n",
        "train/aa.dicom": "",
        "train/bb.dicom": "",
        "test/cc.dicom": "",
    }
    healthy, ill, unlabelled = read(tmp_path, files, "vindr-boxes")
    assert [row.path for row in (healthy, ill, unlabelled)] == list(files)[1:]
    assert (healthy.findings, labels(healthy), healthy.disease_mask) == (("No finding",), (0, 0, 0), None)
    assert (ill.findings, labels(ill)) == (("Cardiomegaly", "Aortic enlargement"), (1, None, 1))
    assert ill.disease_mask == '{"boxes":[[691.0,1375.0,962.0,456.0],[1264.0,743.0,347.0,276.0]],"frame":null}'
    mask = read_mask(ill.disease_mask, FrameConfig(size=32), 2336, 2080)
    assert mask[21, 15] == mask[12, 22] == 1
    assert mask.sum() == pytest.approx((962 * 456 + 347 * 276) / (2336 * 2080) * 32 * 32, rel=0.15)


def test_vindr_as_physionet_has_it(tmp_path: Path) -> None:
    header = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n"
    files = {
        "vindr-cxr/annotations/annotations_train.csv": header + "aa,R1,Nodule/Mass,1,2,30,40\n",
        "vindr-cxr/annotations/annotations_test.csv": header.replace("rad_id,", "") + "bb,No finding,,,,\n",
        "vindr-cxr/annotations/image_labels_train.csv": "image_id,rad_id\n",
        "vindr-cxr/train/aa.dicom": "",
        "vindr-cxr/test/bb.dicom": "",
    }
    train, test = read(tmp_path, files, "vindr-boxes")
    assert [(row.path, row.source_split) for row in (train, test)] == [
        ("vindr-cxr/train/aa.dicom", Split.TRAIN),
        ("vindr-cxr/test/bb.dicom", Split.TEST),
    ]
    assert [labels(row) for row in (train, test)] == [(1, None, 1), (0, 0, 0)]


@pytest.mark.parametrize("mapping", ["covidx", "rsna-boxes", "siim-rle", "vindr-boxes"])
def test_a_shipped_mapping_names_the_table_it_misses(tmp_path: Path, mapping: str) -> None:
    with pytest.raises(ManifestError, match=r"expected .*(train|stage_2).* in .*, found none"):
        read(tmp_path, {"a.dcm": ""}, mapping)
