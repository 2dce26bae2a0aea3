"""Predicted masks from bits to 1-bit PNG and figures: work of CPUs, on which a GPU would wait.

A predictor gives the masks of a chunk as bits. `finish` makes the `masks` table of them and fills in the columns of
`predictions` that are measured on them.

What the two masks say in numbers: areas, disease inside the lungs, and the six lung zones of a report.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from comit_ray.data.masks.masks import to_png
from comit_ray.tables.schema import MASKS
from comit_ray.tables.vocabulary import MASK_TASKS, Task

Mask = npt.NDArray[np.bool_]

ZONES = ("right upper", "right middle", "right lower", "left upper", "left middle", "left lower")
"""Right and left are the patient's: on a frontal radiograph the right lung lies on the image's left side."""


@dataclass(frozen=True)
class Regions:
    """Fractions in 0..1; None where a mask, or any lung, is missing."""

    lung_area: float | None
    disease_area: float | None
    disease_in_lung: float | None
    zone_disease: list[float | None] | None


def measure_regions(lung_HW: Mask | None, disease_HW: Mask | None) -> Regions:
    """Areas as fractions of the frame, disease as fraction of the lung, and of each of the six zones."""
    lung_area = None if lung_HW is None else np.count_nonzero(lung_HW) / lung_HW.size
    disease_area = None if disease_HW is None else np.count_nonzero(disease_HW) / disease_HW.size
    if lung_HW is None or disease_HW is None or not lung_HW.any():
        return Regions(lung_area, disease_area, None, None)
    inside = np.count_nonzero(lung_HW & disease_HW) / np.count_nonzero(lung_HW)
    return Regions(lung_area, disease_area, inside, zone_disease(lung_HW, disease_HW))


def zone_disease(lung_HW: Mask, disease_HW: Mask) -> list[float | None]:
    """Diseased fraction of each zone, in the order of `ZONES`; None for a zone without lung.

    The lungs are parted at the centre of the columns they span, and cut into thirds of equal height between the apex
    and the base of both lungs together.
    """
    rows, columns = np.flatnonzero(lung_HW.any(axis=1)), np.flatnonzero(lung_HW.any(axis=0))
    assert rows.size, "zones need a lung"
    middle = _first((columns[0] + columns[-1] + 1) / 2)
    cuts = [_first(cut) for cut in np.linspace(rows[0], rows[-1] + 1, 4)]
    sick_HW = lung_HW & disease_HW
    fractions: list[float | None] = []
    for side in (slice(None, middle), slice(middle, None)):
        for low, high in pairwise(cuts):
            lung = np.count_nonzero(lung_HW[low:high, side])
            fractions.append(np.count_nonzero(sick_HW[low:high, side]) / lung if lung else None)
    return fractions


def _first(position: float) -> int:
    """The first pixel whose centre does not lie before the position."""
    return math.ceil(position - 0.5)


MASK_BITS = pa.schema(
    [
        pa.field(f"{field.name.removesuffix('_png')}_bits", pa.binary()) if field.name.endswith("_png") else field
        for field in MASKS
    ]
)
"""`masks` before it is finished, with the bits of each mask row by row: internal, never stored."""


def to_bits(mask_BHW: Mask) -> npt.NDArray[np.uint8]:
    """(B, ceil(H * W / 8)): eight pixels a byte."""
    return np.packbits(mask_BHW.reshape(len(mask_BHW), -1), axis=1)


def from_bits(bits: bytes, height: int, width: int) -> Mask:
    """One mask, (H, W)."""
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=height * width).reshape(height, width).astype(bool)


def finish(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables of a predicted chunk as they are written.

    Args:
        tables: `predictions`, whose areas and zones are null, and `masks` as `MASK_BITS`; all others are as they
            should be.
    """
    rows: list[dict[str, Any]] = []
    measured: dict[str, Regions] = {}
    for row in tables["masks"].to_pylist():
        bits = {task: row.pop(f"{task}_bits") for task in MASK_TASKS}
        size = row["frame_height"], row["frame_width"]
        drawn = {task: from_bits(packed, *size) for task, packed in bits.items() if packed is not None}
        measured[row["image_id"]] = measure_regions(drawn.get(Task.LUNG), drawn.get(Task.DISEASE))
        rows.append(row | {f"{task}_png": to_png(mask_HW) for task, mask_HW in drawn.items()})
    predictions = tables["predictions"]
    found = [measured.get(image_id) for image_id in predictions["image_id"].to_pylist()]
    for name in Regions.__dataclass_fields__:
        at = predictions.schema.get_field_index(name)
        field = predictions.schema.field(at)
        values = [None if one is None else getattr(one, name) for one in found]
        predictions = predictions.set_column(at, field, pa.array(values, field.type))
    return {**tables, "predictions": predictions, "masks": pa.Table.from_pylist(rows, schema=MASKS)}
