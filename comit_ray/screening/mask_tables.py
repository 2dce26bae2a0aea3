"""Encodes predicted masks as 1-bit PNG and measures them, in CPU tasks apart from the network.

A predictor gives the masks of a chunk as bits. `finish` makes the `masks` table of them and fills in the columns of
`predictions` that are measured on them.

What the two masks say in numbers: areas, disease inside the lungs, and the six lung zones of a report.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from comit_ray.config.image_config import FrameConfig
from comit_ray.data.masks.masks import to_png
from comit_ray.errors import Status
from comit_ray.inference.scores import Scores, unpack_masks
from comit_ray.tables import arrays
from comit_ray.tables.schema import MASKS
from comit_ray.tables.vocabulary import MASK_TASKS, Task

Mask = npt.NDArray[np.bool_]
BoolN = npt.NDArray[np.bool_]

ZONES = ("right upper", "right middle", "right lower", "left upper", "left middle", "left lower")
"""Right and left are the patient's: on a frontal radiograph the right lung lies on the image's left side."""


@dataclass(frozen=True)
class Regions:
    """Fractions in 0..1; None where a mask, or any lung, is missing."""

    lung_area: float | None
    disease_area: float | None
    disease_in_lung: float | None
    zone_disease: list[float | None] | None
    severity: float | None = None


def measure_regions(lung_HW: Mask | None, disease_HW: Mask | None) -> Regions:
    """Areas as fractions of the frame, disease as fraction of the lung, and of each of the six zones."""
    lung_area = None if lung_HW is None else np.count_nonzero(lung_HW) / lung_HW.size
    disease_area = None if disease_HW is None else np.count_nonzero(disease_HW) / disease_HW.size
    if lung_HW is None or disease_HW is None or not lung_HW.any():
        return Regions(lung_area, disease_area, None, None)
    inside = np.count_nonzero(lung_HW & disease_HW) / np.count_nonzero(lung_HW)
    zones = zone_disease(lung_HW, disease_HW)
    return Regions(lung_area, disease_area, inside, zones, severity(zones))


def severity(zones: Sequence[float | None]) -> float:
    """Extent of disease from 0 to 18: three times the sum of six zones' fractions; a zone without lung as the others.

    The scale is that of the Brixia score (Borghesi and Maroldi 2020, La radiologia medica 125:509), where a reader
    gives each of six zones 0 to 3. A fraction of a zone is not a reader's grade: how far they agree is measured by
    `comit-ray evaluate --severity`.
    """
    known = [zone for zone in zones if zone is not None]
    return 3 * len(ZONES) * sum(known) / len(known)


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


PLACE = {
    "original_top": "top",
    "original_left": "left",
    "rows_per_pixel": "rows_per_pixel",
    "columns_per_pixel": "columns_per_pixel",
}
"""Columns of `masks` that say how the original lies in its frame, and what a fetched chunk calls them."""


def mask_bits_schema(size: int, tasks: Collection[Task] = MASK_TASKS) -> pa.Schema:
    """`masks` before it is finished, each mask as `size` bytes of bits row by row: internal, never stored.

    Args:
        size: bytes of a mask.
        tasks: the masks that the model has; the others have no column.
    """
    bits = [pa.field(f"{task}_bits", pa.binary(size)) for task in MASK_TASKS if task in tasks]
    return pa.schema([*bits, *(field for field in MASKS if not field.name.endswith("_png"))])


def bits_table(fetched: pa.Table, scores: Scores, frame: FrameConfig, there_B: BoolN | None = None) -> pa.Table:
    """The masks of scored images, as bits, and how each original lies in its frame.

    Args:
        fetched: rows of the images, as the reader gives them.
        scores: of these images, in their order.
        frame: what they were resampled to.
        there_B: False where no mask was made of an image: its bits are null; None: there is none such.
    """
    rows, size = len(scores), -(-scores.height * scores.width // 8)
    columns = {f"{task}_bits": arrays.fixed_binary(bits, there_B) for task, bits in scores.masks.items()}
    columns |= {"image_id": fetched["image_id"]} | {name: fetched[theirs] for name, theirs in PLACE.items()}
    columns |= {
        "frame_height": pa.repeat(pa.scalar(scores.height, pa.int32()), rows),
        "frame_width": pa.repeat(pa.scalar(scores.width, pa.int32()), rows),
        "fit": pa.repeat(pa.scalar(frame.fit, pa.string()), rows),
    }
    return arrays.table(columns, mask_bits_schema(size, scores.masks), rows)


def finish(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables of a predicted chunk as they are written.

    Args:
        tables: `predictions`, whose areas and zones are null, and `masks` as `bits_table` gives it, a row for each
            prediction that is ok, in the same order; all others are as they should be.
    """
    predictions, bits = tables["predictions"], tables["masks"]
    scored_N = np.array([status == Status.OK for status in predictions["status"].to_pylist()], bool)
    assert predictions["image_id"].filter(pa.array(scored_N)).equals(bits["image_id"]), "a mask of another image"
    drawn = {task: _masks(bits, task) for task in MASK_TASKS}
    pngs: dict[Task, list[bytes | None]] = {task: [] for task in MASK_TASKS}
    found: list[Regions] = []
    for lung_HW, disease_HW in zip(drawn[Task.LUNG], drawn[Task.DISEASE], strict=True):
        found.append(measure_regions(lung_HW, disease_HW))
        for task, mask_HW in ((Task.LUNG, lung_HW), (Task.DISEASE, disease_HW)):
            pngs[task].append(None if mask_HW is None else to_png(mask_HW))
    in_order = iter(found)
    measured = [next(in_order) if scored else None for scored in scored_N]
    for name in Regions.__dataclass_fields__:
        at = predictions.schema.get_field_index(name)
        field = predictions.schema.field(at)
        values = [None if of_row is None else getattr(of_row, name) for of_row in measured]
        predictions = predictions.set_column(at, field, pa.array(values, field.type))
    columns = {name: bits[name] for name in MASKS.names if name in bits.column_names}
    columns |= {f"{task}_png": pa.array(values, pa.binary()) for task, values in pngs.items()}
    return {**tables, "predictions": predictions, "masks": arrays.table(columns, MASKS, len(bits))}


def _masks(bits: pa.Table, task: Task) -> Iterator[Mask | None]:
    """Mask after mask, (H, W), for as bits they are an eighth of the memory; None where there is none."""
    name = f"{task}_bits"
    if name not in bits.column_names:
        yield from repeat(None, len(bits))
        return
    sizes = zip(bits["frame_height"].to_pylist(), bits["frame_width"].to_pylist(), strict=True)
    there = bits[name].is_valid().to_pylist()
    for bits_B, is_there, (height, width) in zip(arrays.fixed_values(bits[name]), there, sizes, strict=True):
        yield unpack_masks(bits_B[None], height, width)[0] if is_there else None
