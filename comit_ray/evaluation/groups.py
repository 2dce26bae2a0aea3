"""Images by what is known of the patient, the device and the place; and whether a group is large enough to speak of."""

import numpy as np
import pandas as pd

from comit_ray.statistics.intervals import patient_codes
from comit_ray.statistics.metric import BoolArray

ATTRIBUTES = ("sex", "age", "view", "dataset", "site", "device")
AGES = {"0-17": 18.0, "18-39": 40.0, "40-59": 60.0, "60-79": 80.0, "80+": np.inf}
"""Band -> the age in years below which it ends."""
UNKNOWN = "unknown"


def grouped(images: pd.DataFrame, attribute: str) -> dict[str, pd.DataFrame]:
    """Name of a group, `sex=F`, -> its images, most first; those of whom it is not known come last, `sex=unknown`.

    Args:
        images: of `comit_ray.evaluation.scores.join_tables`.
        attribute: one of `ATTRIBUTES`; ages are in the bands of `AGES`, from low to high.
    """
    values = _bands(images["age"]) if attribute == "age" else images[attribute]
    values = values.where(values.notna(), UNKNOWN).astype(str)
    sizes = values.value_counts()
    names = [*AGES] if attribute == "age" else sorted(sizes.index, key=lambda name: (-sizes[name], name))
    order = [*(name for name in names if name in sizes and name != UNKNOWN), *([UNKNOWN] if UNKNOWN in sizes else [])]
    return {f"{attribute}={name}": images[values == name] for name in order}


def is_known(group: str) -> bool:
    """Whether the group is not that of whom the attribute is not known."""
    return group.partition("=")[2] != UNKNOWN


def too_few(counted_N: BoolArray, patients: pd.Series, what: str, minimum: int) -> str | None:
    """Why nothing is said of so few; None where there are enough.

    Patients are counted, not images: ten images of two patients are two observations.

    Args:
        counted_N: (N,) the images that a figure is taken over.
        patients: (N,) of the images; a null is a patient of its own.
        what: what the counted images are: `with a positive image`.
        minimum: the fewest patients.
    """
    people = len(np.unique(patient_codes(patients)[counted_N]))
    if people >= minimum:
        return None
    return f"suppressed: {people} patient{'' if people == 1 else 's'} {what}, at least {minimum} are needed"


def _bands(ages: pd.Series) -> pd.Series:
    """The band of each age; null where the age is, or is below 0."""
    edges = [0.0, *AGES.values()]
    return pd.Series(pd.cut(ages.astype(float), edges, right=False, labels=list(AGES)), index=ages.index).astype(object)
