import json
from pathlib import Path
from typing import Any

import pytest

from comit_ray.data.sources.covid_chestxray import DrawnMasks, drawn_masks, lung_boxes
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError

BOXES = "annotations/imageannotation_ai_lung_bounding_boxes.json"
HEADER = (
    "#,Taxonomy,Class,Template Name,File Folder,Filename,Image,Tag,Mask,Resolution,Top,Left,Width,Height,Points,"
    "Text Annotation,Minimal Top,Minimal Left,Minimal Width,Minimal Height,Attributes\n"
)


def coco(**changes: Any) -> dict[str, Any]:
    """As the published file, which has 167 images and a right and a left box for each."""
    return {
        "categories": [{"id": 1, "name": "Right Lung"}, {"id": 2, "name": "Left Lung"}],
        "images": [
            {"id": 163, "file_name": "a.jpeg", "height": 372, "width": 450},
            {"id": 166, "file_name": "b.png", "height": 600, "width": 700},
        ],
        "annotations": [
            {"image_id": 163, "bbox": [16, 19, 186, 322], "category_id": 1, "segmentation": []},
            {"image_id": 163, "bbox": [235, 26.5, 195, 310], "category_id": 2, "segmentation": []},
            {"image_id": 166, "bbox": [415, 123, 271, 381], "category_id": 2, "segmentation": []},
        ],
    } | changes


def boxes(root: Path, text: str) -> dict[str, str]:
    (root / BOXES).parent.mkdir(parents=True, exist_ok=True)
    (root / BOXES).write_text(text)
    return lung_boxes(SourceFiles(str(root)))


def test_boxes_of_both_lungs_and_none_of_one_alone(tmp_path: Path) -> None:
    assert boxes(tmp_path, json.dumps(coco())) == {
        "a.jpeg": '{"boxes":[[16.0,19.0,186.0,322.0],[235.0,26.5,195.0,310.0]],"frame":[372,450]}'
    }


def test_no_annotation_is_no_error(tmp_path: Path) -> None:
    assert lung_boxes(SourceFiles(str(tmp_path))) == {}
    assert drawn_masks(SourceFiles(str(tmp_path))) == DrawnMasks(None, {}, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"images": []}',
        json.dumps(coco(categories=[{"id": 1, "name": "Heart"}])),
        json.dumps(coco(images=[])),
        json.dumps(coco(annotations=[{"image_id": 163, "bbox": [16, 19, 186], "category_id": 1}])),
        json.dumps(coco(annotations=[{"image_id": 163, "bbox": [16, 19, 0, 322], "category_id": 1}])),
    ],
)
def test_json_of_another_form_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ManifestError, match=rf"expected COCO JSON in {BOXES}.*got"):
        boxes(tmp_path, text)


def structure(root: Path, *lines: str, masks: tuple[str, ...] = (), folder: str = "segmentations") -> DrawnMasks:
    base = root / folder
    (base / "masks").mkdir(parents=True, exist_ok=True)
    for mask in masks:
        (base / "masks" / mask).touch()
    (base / "structure.csv").write_text(HEADER + "".join(lines))
    return drawn_masks(SourceFiles(str(root)))


def line(kind: str, file: str, mask: str, resolution: str = "943x751", box: str = "21,37,400,657") -> str:
    before = f'3,,"COVID-19 {kind}","{kind}",,"{file}",images/0fc7.jpg,tags/0fc7.png'
    return f'{before},{mask},{resolution},{box},,"undefined",,,,,\n'


def test_cropped_masks_become_references_to_their_place(tmp_path: Path) -> None:
    drawn = structure(
        tmp_path,
        line("Airways", "a.jpg", "masks/air.png", box="0,336,295,410"),
        line("Ground Glass Opacities", "a.jpg", "masks/ggo.png", box="38,47,851,627"),
        line("Consolidation", "a.jpg", "masks/con.png", box="268,113,16,92"),
        line("Right Lung", "a.jpg", "masks/right.png", box="21,37,400,657"),
        line("Left Lung", "a.jpg", "masks/left.png", box="0,516,389,751"),
        line("Nosogastric Tube", "a.jpg", "masks/tube.png"),
        masks=("ggo.png", "con.png", "right.png", "left.png"),
    )
    folder = f"{tmp_path}/segmentations/masks"
    assert drawn.folder == "segmentations/"
    assert set(drawn.lung) == set(drawn.disease) == {"a.jpg"}
    assert json.loads(drawn.lung["a.jpg"]) == {
        "pasted": [
            {"uri": f"{folder}/right.png", "member": None, "top": 21, "left": 37, "height": 657, "width": 400},
            {"uri": f"{folder}/left.png", "member": None, "top": 0, "left": 516, "height": 751, "width": 389},
        ],
        "frame": [751, 943],
    }
    assert json.loads(drawn.disease["a.jpg"]) == {
        "pasted": [
            {"uri": f"{folder}/ggo.png", "member": None, "top": 38, "left": 47, "height": 627, "width": 851},
            {"uri": f"{folder}/con.png", "member": None, "top": 268, "left": 113, "height": 92, "width": 16},
        ],
        "frame": [751, 943],
    }


def test_half_a_mask_is_no_mask(tmp_path: Path) -> None:
    drawn = structure(
        tmp_path,
        line("Right Lung", "one lung.jpg", "masks/1.png"),
        line("Pneumothorax", "a.jpg", "masks/1.png"),
        line("Pleural Effusion", "a.jpg", ""),
        line("Consolidation", "b.jpg", "masks/1.png"),
        masks=("1.png",),
        folder="",
    )
    assert drawn.folder == ""
    assert drawn.lung == {}
    assert set(drawn.disease) == {"b.jpg"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((line("Left Lung", "a.jpg", "masks/2.png"),), r"names the mask masks/2\.png of a\.jpg, which is not there"),
        (
            (line("Left Lung", "a.jpg", "masks/1.png", "943"),),
            r"Resolution WIDTHxHEIGHT .*got 943, 21, 37, 400, 657 for a",
        ),
        ((line("Left Lung", "a.jpg", "masks/1.png", box="x,37,400,657"),), r"whole pixels.*got 943x751, x, 37"),
        (
            (line("Left Lung", "a.jpg", "masks/1.png"), line("Right Lung", "a.jpg", "masks/1.png", "944x751")),
            r"one Resolution .* an image.*got 944x751",
        ),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, rows: tuple[str, ...], message: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        structure(tmp_path, *rows, masks=("1.png",))
    assert "segmentations/structure.csv" in str(caught.value)


def test_a_table_of_another_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "structure.csv").write_text("a,b\n")
    with pytest.raises(ManifestError, match=r"expected columns filename, class, .* in structure\.csv, got: a, b"):
        drawn_masks(SourceFiles(str(tmp_path)))
