"""Predicted masks from bits to 1-bit PNG and figures: work of CPUs, on which a GPU would wait.

A predictor gives the masks of a chunk as bits. `finish` makes the `masks` table of them and fills in the columns of
`predictions` that are measured on them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from comit_ray.data.masks.masks import to_png
from comit_ray.screening import regions
from comit_ray.screening.regions import Mask, Regions
from comit_ray.tables.schema import MASKS
from comit_ray.tables.vocabulary import MASK_TASKS, Task

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
        measured[row["image_id"]] = regions.measure(drawn.get(Task.LUNG), drawn.get(Task.DISEASE))
        rows.append(row | {f"{task}_png": to_png(mask_HW) for task, mask_HW in drawn.items()})
    predictions = tables["predictions"]
    found = [measured.get(image_id) for image_id in predictions["image_id"].to_pylist()]
    for name in Regions.__dataclass_fields__:
        at = predictions.schema.get_field_index(name)
        field = predictions.schema.field(at)
        values = [None if one is None else getattr(one, name) for one in found]
        predictions = predictions.set_column(at, field, pa.array(values, field.type))
    return {**tables, "predictions": predictions, "masks": pa.Table.from_pylist(rows, schema=MASKS)}
