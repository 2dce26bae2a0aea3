"""Encodes predicted masks as 1-bit PNG and measures them, in CPU tasks apart from the network.

A predictor returns the masks of a chunk as bits. `finish` builds the `masks` table from them and fills in the columns
of `predictions` that are measured on masks: areas, disease inside the lungs, and the six lung zones of a report.
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
"""Right and left are the patient's: on a frontal radiograph, the right lung lies on the left side of the image."""


@dataclass(frozen=True)
class Regions:
    """Measurements of the masks; None if a mask, or any lung, is missing.

    All are fractions from 0 to 1, except `severity` (0 to 18).
    """

    lung_area: float | None
    disease_area: float | None
    disease_in_lung: float | None
    zone_disease: list[float | None] | None
    severity: float | None = None


def measure_regions(lung_HW: Mask | None, disease_HW: Mask | None) -> Regions:
    """Measures areas as fractions of the frame, and disease as a fraction of the lungs and of each zone."""
    lung_area = None if lung_HW is None else np.count_nonzero(lung_HW) / lung_HW.size
    disease_area = None if disease_HW is None else np.count_nonzero(disease_HW) / disease_HW.size
    if lung_HW is None or disease_HW is None or not lung_HW.any():
        return Regions(lung_area, disease_area, None, None)
    inside = np.count_nonzero(lung_HW & disease_HW) / np.count_nonzero(lung_HW)
    zones = zone_disease(lung_HW, disease_HW)
    return Regions(lung_area, disease_area, inside, zones, severity(zones))


def severity(zones: Sequence[float | None]) -> float:
    """Returns the extent of disease from 0 to 18: three times the sum of the zones' diseased fractions.

    A zone without lung counts as the mean of the others. The scale is that of the Brixia score (Borghesi and Maroldi
    2020, La radiologia medica 125:509), in which a reader gives each of six zones 0 to 3. A fraction of a zone is not a
    reader's grade: `comit-ray evaluate --severity` measures how far they agree.
    """
    known = [zone for zone in zones if zone is not None]
    return 3 * len(ZONES) * sum(known) / len(known)


def zone_disease(lung_HW: Mask, disease_HW: Mask) -> list[float | None]:
    """Returns the diseased fraction of each zone, in the order of `ZONES`; None for a zone without lung.

    The lungs are divided at the centre of the columns that they span, and into thirds of equal height between the apex
    and the base of both lungs together.

    Args:
        lung_HW: (H, W) lung mask with at least one pixel.
        disease_HW: (H, W) disease mask.
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
    """Returns the first pixel whose centre does not lie before the position."""
    return math.ceil(position - 0.5)


PLACE = {
    "original_top": "top",
    "original_left": "left",
    "rows_per_pixel": "rows_per_pixel",
    "columns_per_pixel": "columns_per_pixel",
}
"""Columns of `masks` that say how the original lies in its frame -> their names in a fetched chunk."""


def mask_bits_schema(size: int, tasks: Collection[Task] = MASK_TASKS) -> pa.Schema:
    """Returns the schema of `masks` before `finish`, with each mask as packed bits row by row; it is never stored.

    Args:
        size: bytes of a mask.
        tasks: masks that the model has; others have no column.
    """
    bits = [pa.field(f"{task}_bits", pa.binary(size)) for task in MASK_TASKS if task in tasks]
    return pa.schema([*bits, *(field for field in MASKS if not field.name.endswith("_png"))])


def bits_table(fetched: pa.Table, scores: Scores, frame: FrameConfig, there_B: BoolN | None = None) -> pa.Table:
    """Returns the masks of scored images as bits, and how each original lies in its frame.

    Args:
        fetched: fetched rows of the images.
        scores: scores and masks of these images, in the same order.
        frame: the frame to which the images were resampled.
        there_B: (B,) False if an image has no mask, so that its bits are null; None: every image has one.
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
    """Returns the tables of a predicted chunk in the form in which they are written.

    Args:
        tables: `predictions`, whose areas and zones are null, and `masks` from `bits_table`, with one row for each
            prediction that is ok, in the same order. All other tables stay unchanged.
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
    """Yields one (H, W) mask after the other, because bits need an eighth of the memory; None if an image has none."""
    name = f"{task}_bits"
    if name not in bits.column_names:
        yield from repeat(None, len(bits))
        return
    sizes = zip(bits["frame_height"].to_pylist(), bits["frame_width"].to_pylist(), strict=True)
    there = bits[name].is_valid().to_pylist()
    for bits_B, is_there, (height, width) in zip(arrays.fixed_values(bits[name]), there, sizes, strict=True):
        yield unpack_masks(bits_B[None], height, width)[0] if is_there else None
