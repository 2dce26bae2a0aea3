"""What the two masks say in numbers: areas, disease inside the lungs, and the six lung zones of a report."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

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


def measure(lung_HW: Mask | None, disease_HW: Mask | None) -> Regions:
    """Areas as fractions of the frame, disease as fraction of the lung, and of each of the six zones."""
    lung_area = None if lung_HW is None else float(lung_HW.mean())
    disease_area = None if disease_HW is None else float(disease_HW.mean())
    if lung_HW is None or disease_HW is None or not lung_HW.any():
        return Regions(lung_area, disease_area, None, None)
    inside = float((lung_HW & disease_HW).sum() / lung_HW.sum())
    return Regions(lung_area, disease_area, inside, zone_disease(lung_HW, disease_HW))


def zone_disease(lung_HW: Mask, disease_HW: Mask) -> list[float | None]:
    """Diseased fraction of each zone, in the order of `ZONES`; None for a zone without lung.

    The lungs are parted at the centre of the columns they span, and cut into thirds of equal height between the apex
    and the base of both lungs together.
    """
    rows, columns = np.nonzero(lung_HW)
    assert rows.size, "zones need a lung"
    middle = (columns.min() + columns.max() + 1) / 2
    cuts = np.linspace(rows.min(), rows.max() + 1, 4)
    sick = disease_HW[rows, columns]
    fractions: list[float | None] = []
    for on_side in (columns + 0.5 < middle, columns + 0.5 >= middle):
        for low, high in pairwise(cuts):
            zone = on_side & (rows + 0.5 >= low) & (rows + 0.5 < high)
            fractions.append(float(sick[zone].mean()) if zone.any() else None)
    return fractions
