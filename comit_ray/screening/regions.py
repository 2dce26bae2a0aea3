"""What the two masks say in numbers: areas, disease inside the lungs, and the six lung zones of a report."""

import math
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
