"""Source `nih` (ChestX-ray14): tables of labels and boxes, official splits, images in one folder or twelve.

All of them may lie in folders. Copies have `images/x.png` or `images_001/images/x.png`; the distribution has
`images/images_01.tar.gz` with `images/x.png` inside, which becomes `images/images/x.png` here.

Wang et al., "ChestX-ray8", CVPR 2017; tables and lists come from the NIH Clinical Center's distribution.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.masks.mask_references import Box, boxes_reference
from comit_ray.data.sources.manifest_row import ManifestRow, parse_age, parse_sex, place, plain_number, scoped, unlisted
from comit_ray.data.sources.readers import read_csv, read_lines
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import ManifestError
from comit_ray.tables.vocabulary import Split, View

BOX_FRAME = 1024  # pixels: boxes refer to this square, whatever the size of the file
IMAGE = r"(?:.*/)?images/[^/]+\.png"
NO_FINDING = "No Finding"
_VIEWS = {"PA": View.PA, "AP": View.AP}
_SPLITS = {"train_val_list": Split.TRAIN, "test_list": Split.TEST}


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every row of the label table, then the images that it does not list (without labels).

    An absent image gets the path that it would have in a flat `images/` beside the label table. Masks are searched in
    `lung_masks/`, `disease_masks/` and `annotations/` beside the label table, then at the root.

    Raises:
        ManifestError: if the label table is absent or lacks a column, or two folders hold an image of the same name.
    """
    found = _images(files)
    boxes = _boxes(files)
    source_splits = _source_splits(files)
    table = files.table(r"(?:.*/)?Data_Entry_2017[^/]*\.csv(\.gz)?", "Data_Entry_2017*.csv[.gz]")
    header, lines = read_csv(files, table)
    name_at = _column(header, "Image Index", table)
    findings_at = _column(header, "Finding Labels", table)
    patient_at = _column(header, "Patient ID", table)
    age_at = _column(header, "Patient Age", table)
    sex_at = _column(header, "Patient Gender", table, "Patient Sex")
    view_at = _column(header, "View Position", table)
    folder, slash, _ = table.name.rpartition("/")
    top = folder + slash
    for line in lines:
        name = unicodedata.normalize("NFC", line[name_at].strip())
        stem = name.rpartition(".")[0]
        findings = tuple(label.strip() for label in line[findings_at].split("|") if label.strip())
        view = _VIEWS.get(line[view_at].strip().upper(), View.UNKNOWN)
        healthy = findings == (NO_FINDING,)
        yield ManifestRow(
            **_where(files, found, name, top),
            patient_id=scoped(dataset, plain_number(line[patient_at]).zfill(8)) if line[patient_at].strip() else None,
            study_id=scoped(dataset, stem),  # the stem is patient_follow-up: one image per visit
            view=view,
            view_source="none" if view is View.UNKNOWN else "View Position",
            sex=parse_sex(line[sex_at]),
            age=parse_age(line[age_at]),
            findings=findings,
            unhealthy=(0 if healthy else 1) if findings else None,
            covid=0 if findings else None,  # taken from 1992 to 2015
            other=(0 if healthy else 1) if findings else None,
            lung_mask=_mask(files, top, "lung_masks", stem),
            disease_mask=_mask(files, top, "disease_masks", stem) or boxes.get(name),
            source_split=source_splits.get(name),
        )
    for row in unlisted(files, IMAGE):
        yield replace(row, source_split=source_splits.get((row.member or row.path).rpartition("/")[2]))


def _column(header: list[str], name: str, table: SourceFile, alternative: str | None = None) -> int:
    """Returns the index of the first column that begins with `name` or `alternative`; copies differ in the rest."""
    for index, column in enumerate(header):
        if column.lower().startswith((name.lower(), (alternative or name).lower())):
            return index
    raise ManifestError(f"expected a column {name!r} in {table.name}, got: {', '.join(header)}")


def _images(files: SourceFiles) -> dict[str, SourceFile]:
    """Returns file name -> image, for all images that are present."""
    found: dict[str, SourceFile] = {}
    for file in files.matching(IMAGE):
        name = unicodedata.normalize("NFC", file.name.rpartition("/")[2])
        if name in found:
            one, other = files.reference(found[name]), files.reference(file)
            raise ManifestError(f"expected each image once in {files.root}, got {one} and {other}: keep one of them")
        found[name] = file
    return found


def _where(files: SourceFiles, found: dict[str, SourceFile], name: str, top: str) -> dict[str, Any]:
    return place(files.take(found[name])) if name in found else {"path": f"{top}images/{name}"}


def _boxes(files: SourceFiles) -> dict[str, str]:
    """Returns file name -> mask reference of the union of its boxes; empty without a box table."""
    pattern = r"(?:.*/)?BBox_List_2017\.csv(\.gz)?"
    if next(files.matching(pattern), None) is None:
        return {}
    table = files.table(pattern, "BBox_List_2017.csv[.gz]")
    header, lines = read_csv(files, table)
    name_at = _column(header, "Image Index", table)
    left_at = _column(header, "Bbox", table)  # `Bbox [x,y,w,h]` is four columns, because its commas split the header
    boxes: dict[str, list[Box]] = {}
    for line in lines:
        numbers = line[left_at : left_at + 4]
        try:
            x, y, width, height = map(float, numbers)
        except ValueError:
            raise ManifestError(
                f"expected x, y, width, height for {line[name_at]} in {table.name}, got {numbers}"
            ) from None
        boxes.setdefault(line[name_at].strip(), []).append((x, y, width, height))
    return {name: boxes_reference(union, BOX_FRAME, BOX_FRAME) for name, union in boxes.items()}


def _source_splits(files: SourceFiles) -> dict[str, Split]:
    """Returns file name -> its split in the official lists; empty without them."""
    splits: dict[str, Split] = {}
    for stem, split in _SPLITS.items():
        for file in files.matching(rf"(?:.*/)?{stem}[^/]*\.txt"):
            splits |= {line.strip(): split for line in read_lines(files, file) if line.strip()}
    return splits


def _mask(files: SourceFiles, top: str, folder: str, stem: str) -> str | None:
    names = (f"{folder}/{stem}.png", f"annotations/{folder}/{stem}.png")
    return files.first_uri(*(f"{top}{name}" for name in names), *(names if top else ()))
