"""Source `covid-chestxray`: `metadata.csv`, with images from papers and teaching sites.

Cohen et al., "COVID-19 Image Data Collection: Prospective Predictions Are the Future", 2020. Others also made masks of
its images. Besides mask files of one image each, the source reads boxes and cropped masks:

- `imageannotation_ai_lung_bounding_boxes.json`: COCO, one box for the right and one for the left lung;
- `structure.csv` of GeneralBlockchain/covid-19-chest-xray-segmentations-dataset: masks drawn by radiologists, one per
  structure, each cropped to its box.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.masks.mask_references import Box, Part, boxes_reference, pasted_reference
from comit_ray.data.sources.covid_table import beside, labels, read_records, tokens, view_of, whole
from comit_ray.data.sources.manifest_row import ManifestRow, located, parse_age, parse_sex, place, scoped
from comit_ray.data.sources.readers import site_of
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import ManifestError, Reason
from comit_ray.tables.vocabulary import View

_BOXES = r"(?:.*/)?imageannotation_ai_lung_bounding_boxes\.json"
_STRUCTURE = r"(?:.*/)?structure\.csv"
_COLUMNS = ("filename", "class", "mask", "resolution", "top", "left", "width", "height")
_LUNGS = {"right lung", "left lung"}
_DISEASES = {"ground glass opacities", "ground glass opacity", "consolidation", "pleural effusion", "pneumothorax"}


def lung_boxes(files: SourceFiles) -> dict[str, str]:
    """Returns file name -> reference of the boxes of both lungs; empty without the annotation file.

    An image with a box for only one lung is left out, because its other lung would count as background.

    Raises:
        ManifestError: if the file is not a COCO JSON of right and left lungs.
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
        folder: folder of `structure.csv`, ending in `/` unless it is the root; None without that table.
        lung: the union of right and left lung; an image with only one lung is left out.
        disease: the union of ground glass opacities, consolidation, pleural effusion and pneumothorax.
    """

    folder: str | None = None
    lung: dict[str, str] = field(default_factory=dict)
    disease: dict[str, str] = field(default_factory=dict)


def drawn_masks(files: SourceFiles) -> DrawnMasks:
    """Returns the masks of `structure.csv`; its other classes (airways, tubes ...) are neither lung nor disease.

    A structure without a mask file (a blank `Mask`) makes the union of its image unknown, so the image gets no mask.

    Raises:
        ManifestError: if the table lacks a column, or a row has a wrong number or names a mask that is missing.
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
    """The cropped masks of one image that together make one mask."""

    whole: bool = True
    structures: set[str] = field(default_factory=set)
    parts: list[Part] = field(default_factory=list)
    frame: tuple[int, int] | None = None  # height, width

    def add(self, structure: str, record: dict[str, str], files: SourceFiles, table: SourceFile) -> None:
        """Adds one row of `table` to the union."""
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
        """Returns the mask reference of a whole union."""
        assert self.frame is not None
        return pasted_reference(self.parts, *self.frame)


def _coco_boxes(document: dict[str, list[dict[str, object]]]) -> Iterator[tuple[str, str]]:
    """Yields file name and boxes reference of every image with a box for each lung."""
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


_DAY_FORMATS = ("%B %d, %Y", "%b %d, %Y", "%Y-%m-%d", "%d %B %Y", "%d %b %Y")


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every row of `metadata.csv`, then the images of `images/` that it does not list (without labels).

    A second copy of an image beside `structure.csv` is excluded as a duplicate.

    Raises:
        ManifestError: if `metadata.csv` is absent or lacks a column, or an annotation file has another form.
    """
    table = files.table(r"(?:.*/)?metadata\.csv(\.gz)?", "metadata.csv[.gz]")
    drawn, boxes = drawn_masks(files), lung_boxes(files)
    copies = set()
    for record in read_records(files, table, ("filename", "finding", "view")):
        if drawn.folder is not None:
            copies.add(f"{drawn.folder}images/{record['filename']}")
        yield _row(record, files, table, dataset, drawn, boxes)
    for file in files.untaken(r"(?:.*/)?images/[^/]+\.(png|jpe?g)"):
        excluded = Reason.DUPLICATE if file.name in copies else None
        yield ManifestRow(**place(file), listed=False, excluded=excluded)


def _row(
    record: dict[str, str],
    files: SourceFiles,
    table: SourceFile,
    dataset: str,
    drawn: DrawnMasks,
    boxes: dict[str, str],
) -> ManifestRow:
    name = record["filename"]
    stem = name.rpartition(".")[0] or name
    annotations = beside(table, "annotations")
    findings = tokens(record["finding"])
    unhealthy, covid, other = labels(findings)
    view, excluded = view_of(record["view"], record.get("modality", ""))
    return ManifestRow(
        **located(files, beside(table, f"{record.get('folder') or 'images'}/{name}")),
        site=site_of(record.get("url", "")),
        patient_id=scoped(dataset, record.get("patientid", "")),
        view=view,
        view_source="none" if view is View.UNKNOWN else "view",
        sex=parse_sex(record.get("sex", "")),
        age=parse_age(record.get("age", "")),
        acquired_on=parse_day(record.get("date", "")),
        illness_day=whole(record.get("offset", "")),
        findings=findings,
        unhealthy=unhealthy,
        covid=covid,
        other=other,
        # masks drawn by hand come before masks from a network, pixels before boxes
        lung_mask=files.first_uri(f"{annotations}/lung_masks/{stem}.png")
        or drawn.lung.get(name)
        or files.first_uri(f"{annotations}/lungVAE-masks/{stem}_mask.png")
        or boxes.get(name),
        disease_mask=files.first_uri(f"{annotations}/disease_masks/{stem}.png") or drawn.disease.get(name),
        excluded=excluded,
    )


def parse_day(text: str) -> date | None:
    """Returns the day from `January 22, 2020`, `Mar 4, 2020`, `2020-03-04` or `2/29/2020`; None for a year alone.

    A numeric day that can be read in two ways (`3/7/2020`) is None rather than a guess.
    """
    for form in _DAY_FORMATS:
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    numeric = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{2}|\d{4})", text)
    if not numeric:
        return None
    first, second, year = (int(group) for group in numeric.groups())
    if first != second and first <= 12 and second <= 12:
        return None
    month, day = (first, second) if first <= 12 else (second, first)
    try:
        return date(year + 2000 if year < 100 else year, month, day)
    except ValueError:
        return None
