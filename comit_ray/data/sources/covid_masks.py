"""Annotations of the images of covid-chestxray that are not one mask file an image: boxes, and cropped masks.

- `imageannotation_ai_lung_bounding_boxes.json`: COCO, a box for the right and one for the left lung;
- `structure.csv` of GeneralBlockchain/covid-19-chest-xray-segmentations-dataset: masks drawn by radiologists, one a
  structure, each cropped to its box.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from comit_ray.data.masks.mask_references import Box, Part, boxes_reference, pasted_reference
from comit_ray.data.sources.covid_table import beside, read_records
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import ManifestError

_BOXES = r"(?:.*/)?imageannotation_ai_lung_bounding_boxes\.json"
_STRUCTURE = r"(?:.*/)?structure\.csv"
_COLUMNS = ("filename", "class", "mask", "resolution", "top", "left", "width", "height")
_LUNGS = {"right lung", "left lung"}
_DISEASES = {"ground glass opacities", "ground glass opacity", "consolidation", "pleural effusion", "pneumothorax"}


def lung_boxes(files: SourceFiles) -> dict[str, str]:
    """File name -> reference of the boxes of both lungs; empty without the annotation file.

    An image with a box for one lung alone is left out: its other lung would count as background.

    Raises:
        ManifestError: if the file is no COCO JSON of right and left lungs.
    """
    if next(files.matching(_BOXES), None) is None:
        return {}
    file = files.table(_BOXES, "imageannotation_ai_lung_bounding_boxes.json")
    try:
        return dict(_coco_boxes(json.loads(files.read(file))))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"expected COCO JSON in {file.name}: images with file_name, height and width, categories Right Lung and "
            f"Left Lung, annotations with image_id, category_id and bbox; got {type(error).__name__}: {error}"
        ) from error


@dataclass(frozen=True)
class DrawnMasks:
    """Masks drawn by radiologists, as mask references by the image's file name.

    Attributes:
        folder: of `structure.csv`, ending in `/` unless it is the root; None without that table.
        lung: the union of right and left lung; an image with one lung alone is left out.
        disease: the union of ground glass opacities, consolidation, pleural effusion and pneumothorax.
    """

    folder: str | None = None
    lung: dict[str, str] = field(default_factory=dict)
    disease: dict[str, str] = field(default_factory=dict)


def drawn_masks(files: SourceFiles) -> DrawnMasks:
    """The masks of `structure.csv`; its other classes (airways, tubes ...) are neither lung nor disease.

    A structure without a file of its own (a blank `Mask`) makes its image's union unknown, and so none.

    Raises:
        ManifestError: if the table lacks a column, or a row has a wrong number or names a mask that is not there.
    """
    if next(files.matching(_STRUCTURE), None) is None:
        return DrawnMasks()
    table = files.table(_STRUCTURE, "structure.csv")
    lungs: dict[str, _Union] = {}
    diseases: dict[str, _Union] = {}
    for record in read_records(files, table, _COLUMNS):
        structure = record["class"].lower().removeprefix("covid-19 ")
        into = lungs if structure in _LUNGS else diseases if structure in _DISEASES else None
        if into is not None:
            into.setdefault(record["filename"], _Union()).add(structure, record, files, table)
    return DrawnMasks(
        beside(table, ""),
        {name: union.reference() for name, union in lungs.items() if union.whole and union.structures == _LUNGS},
        {name: union.reference() for name, union in diseases.items() if union.whole},
    )


@dataclass
class _Union:
    """The cropped masks of one image that make one mask."""

    whole: bool = True
    structures: set[str] = field(default_factory=set)
    parts: list[Part] = field(default_factory=list)
    frame: tuple[int, int] | None = None  # height, width

    def add(self, structure: str, record: dict[str, str], files: SourceFiles, table: SourceFile) -> None:
        """Takes one row of `table` in."""
        self.structures.add(structure)
        if not record["mask"]:
            self.whole = False
            return
        try:
            width, height = (int(side) for side in record["resolution"].lower().split("x"))  # 943x751: width first
            box = tuple(int(record[side]) for side in ("top", "left", "height", "width"))
            if self.frame not in (None, (height, width)):
                raise ValueError("another resolution")
        except ValueError as error:
            raise ManifestError(
                f"expected one Resolution WIDTHxHEIGHT an image, and Top, Left, Width, Height in whole pixels, in "
                f"{table.name}, got {record['resolution']}, {record['top']}, {record['left']}, {record['width']}, "
                f"{record['height']} for {record['filename']}"
            ) from error
        file = files.find(beside(table, record["mask"]))
        if file is None:
            raise ManifestError(
                f"{table.name} names the mask {record['mask']} of {record['filename']}, which is not there: put the "
                "folder of masks beside the table, or take the table away"
            )
        self.frame = (height, width)
        top, left, box_height, box_width = box
        self.parts.append((files.reference(file), top, left, box_height, box_width))

    def reference(self) -> str:
        """The mask reference of a whole union."""
        assert self.frame is not None
        return pasted_reference(self.parts, *self.frame)


def _coco_boxes(document: dict[str, list[dict[str, object]]]) -> Iterator[tuple[str, str]]:
    """File name and boxes reference of every image with a box for each lung."""
    lungs = {str(each["name"]).lower(): each["id"] for each in document["categories"]}
    wanted = {lungs[name] for name in _LUNGS}
    boxes: dict[object, list[Box]] = {image["id"]: [] for image in document["images"]}
    seen: dict[object, set[object]] = {image["id"]: set() for image in document["images"]}
    for annotation in document["annotations"]:
        if annotation["category_id"] in wanted:
            boxes[annotation["image_id"]].append(_box(annotation["bbox"]))
            seen[annotation["image_id"]].add(annotation["category_id"])
    for image in document["images"]:
        if seen[image["id"]] == wanted:
            height, width = (int(str(image[side])) for side in ("height", "width"))
            yield str(image["file_name"]), boxes_reference(boxes[image["id"]], height, width)


def _box(numbers: object) -> Box:
    if not isinstance(numbers, list) or len(numbers) != 4:
        raise ValueError(f"bbox {numbers}")
    x, y, width, height = (float(number) for number in numbers)
    if width <= 0 or height <= 0:
        raise ValueError(f"bbox {numbers} without area")
    return x, y, width, height
