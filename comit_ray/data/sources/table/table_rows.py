"""Reads rows of a table by its mapping, and merges several rows of one image."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from comit_ray.data.masks.mask_references import Box, boxes_reference, siim_reference
from comit_ray.data.sources.manifest_row import ManifestRow, parse_age, scoped
from comit_ray.data.sources.readers import is_unknown
from comit_ray.data.sources.table.table_cells import Record, fill
from comit_ray.data.sources.table.table_mapping import MappedTable, Mapping
from comit_ray.data.sources.table.table_parts import Boxes, FrameColumns, Mask, SiimRuns
from comit_ray.errors import ManifestError, Reason
from comit_ray.tables.vocabulary import View

LABELS = ("unhealthy", "covid", "other")
MASKS = ("lung_mask", "disease_mask")


@dataclass(frozen=True, slots=True)
class Shapes:
    """The parts of one mask that rows give.

    Attributes:
        frame: height and width in pixels of the frame they are drawn in; None for the image's own.
        boxes: boxes as x, y, width, height.
        runs: relative run lengths.
        file: reference of a mask image.
    """

    frame: tuple[int, int] | None = None
    boxes: tuple[Box, ...] = ()
    runs: tuple[str, ...] = ()
    file: str | None = None

    def reference(self) -> str | None:
        """Returns the mask reference; None if nothing is drawn."""
        height, width = self.frame or (None, None)
        if self.boxes:
            return boxes_reference(self.boxes, height, width)
        return siim_reference(self.runs, height, width) if self.runs else self.file


@dataclass(frozen=True, slots=True)
class Description:
    """What rows say of one image.

    Attributes:
        facts: fields of a `ManifestRow` in which the rows of an image must agree.
        findings: the source's own labels.
        labels: unhealthy, covid, other.
        shapes: shapes of lungs and disease.
    """

    facts: dict[str, Any]
    findings: tuple[str, ...]
    labels: tuple[int | None, ...]
    shapes: tuple[Shapes, ...]


def describe(
    record: Record, mapping: Mapping, table: MappedTable, dataset: str, mask_file: Callable[[Mask], str | None]
) -> Description:
    """Returns what one row says of its image.

    Args:
        record: the row.
        mapping: how to read the row.
        table: the list that holds the row.
        dataset: name of the source.
        mask_file: function that returns the reference of a mask's image file for this row.

    Raises:
        ManifestError: if a cell is not what the mapping expects.
    """
    view = mapping.view.of(record) or View.UNKNOWN
    reasons = (excluded.of(record) for excluded in mapping.excluded)
    facts = {
        "site": fill(mapping.site, record, identifier=True) if mapping.site else None,
        "patient_id": _scoped(mapping.patient, record, dataset),
        "study_id": _scoped(mapping.study, record, dataset),
        "view": view,
        "view_source": "none" if view is View.UNKNOWN else mapping.view.column or "mapping",
        "sex": mapping.sex.of(record) if mapping.sex else None,
        "age": parse_age(record[mapping.age.column]) if mapping.age else None,
        "acquired_on": mapping.acquired_on.of(record) if mapping.acquired_on else None,
        "illness_day": _whole(record[mapping.illness_day.column]) if mapping.illness_day else None,
        "excluded": next(filter(None, reasons), Reason.LATERAL if view is View.LATERAL else None),
        "source_split": table.split,
    }
    findings = mapping.findings.of(record) if mapping.findings else ()
    labels = tuple(getattr(mapping.labels, name).of(record) for name in LABELS)
    masks: list[Mask | None] = [mapping.lung_mask, mapping.disease_mask]
    shapes = tuple(Shapes() if mask is None else _shapes(mask, record, mask_file) for mask in masks)
    return Description(facts, findings, labels, shapes)


def join(one: Description, other: Description, mapping: Mapping) -> Description:
    """Joins two descriptions of one image, by the rules at the top of `table_mapping`.

    Raises:
        ManifestError: if they disagree; the message names the fields, never their values.
    """
    differing = [name for name, value in one.facts.items() if other.facts[name] != value]
    labels = one.labels
    if mapping.disagreement == "any_positive":
        labels = tuple(_any_positive(*pair) for pair in zip(one.labels, other.labels, strict=True))
    else:
        pairs = zip(LABELS, one.labels, other.labels, strict=True)
        differing += [name for name, first, second in pairs if first != second]
    shapes = []
    for name, first, second in zip(MASKS, one.shapes, other.shapes, strict=True):
        if first.frame != second.frame or first.file != second.file:
            differing.append(name)
        shapes.append(replace(first, boxes=first.boxes + second.boxes, runs=first.runs + second.runs))
    if differing:
        raise ManifestError(f"expected rows of one image that agree, got different {', '.join(differing)}")
    findings = tuple(dict.fromkeys(one.findings + other.findings))
    return Description(one.facts, findings, labels, tuple(shapes))


def to_row(description: Description, where: dict[str, Any], mapping: Mapping) -> ManifestRow:
    """Returns the row of the manifest.

    Args:
        description: what all rows of the image say.
        where: place of the image, as fields of a `ManifestRow`.
        mapping: how the rows were read.

    Raises:
        ManifestError: if its labels contradict each other.
    """
    unhealthy, covid, other = description.labels
    if unhealthy == 0 and (covid == 1 or other == 1):
        raise ManifestError("the labels say unhealthy 0, and covid or other 1")
    findings = description.findings
    if mapping.findings and mapping.findings.none is not None:
        none = mapping.findings.none.casefold()
        findings = tuple(finding for finding in findings if finding.casefold() != none) or findings
    lung, disease = (shapes.reference() for shapes in description.shapes)
    return ManifestRow(
        **where,
        **description.facts,
        findings=findings,
        unhealthy=unhealthy,
        covid=covid,
        other=other,
        lung_mask=lung,
        disease_mask=disease,
    )


def _any_positive(one: int | None, other: int | None) -> int | None:
    if one == 1 or other == 1:
        return 1
    return 0 if one == other == 0 else None


def _scoped(template: str | None, record: Record, dataset: str) -> str | None:
    text = fill(template, record, identifier=True) if template else None
    return None if text is None else scoped(dataset, text)


def _whole(cell: str) -> int | None:
    """Returns a whole number from `3` or `3.0`; None for anything else."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _shapes(mask: Mask, record: Record, mask_file: Callable[[Mask], str | None]) -> Shapes:
    if mask.boxes is not None:
        box = _box(mask.boxes, record)
        return Shapes(_frame(mask.boxes, record), boxes=() if box is None else (box,))
    if mask.siim is not None:
        runs = record[mask.siim.column]
        if is_unknown(runs):
            raise ManifestError(f"column {mask.siim.column!r}: expected run lengths or -1, got a blank cell")
        return Shapes(_frame(mask.siim, record), runs=() if runs == "-1" else (runs,))
    return Shapes(file=mask_file(mask))


def _box(boxes: Boxes, record: Record) -> Box | None:
    columns = boxes.columns()
    cells = [record[column] for column in columns]
    if all(is_unknown(cell) for cell in cells):
        return None
    try:
        left, top, third, fourth = map(float, cells)
    except ValueError:
        left, top, third, fourth = (math.nan,) * 4
    width, height = (third, fourth) if boxes.width else (third - left, fourth - top)
    if not (math.isfinite(left) and math.isfinite(top) and 0 < width < math.inf and 0 < height < math.inf):
        raise ManifestError(f"expected a box of positive size in {', '.join(columns)}, or four blanks, got {cells}")
    return left, top, width, height


def _frame(shapes: Boxes | SiimRuns, record: Record) -> tuple[int, int] | None:
    if isinstance(shapes.frame, tuple):
        return shapes.frame
    if not isinstance(shapes.frame, FrameColumns):
        return None
    cells = [record[shapes.frame.height], record[shapes.frame.width]]
    height, width = map(_whole, cells)
    if height is None or width is None or height < 1 or width < 1:
        raise ManifestError(f"expected pixels in {shapes.frame.height} and {shapes.frame.width}, got {cells}")
    return height, width
