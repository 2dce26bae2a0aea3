"""From images to studies and patients: whoever has one flagged image is flagged, one positive image is positive."""

import pandas as pd

from comit_ray.statistics.metric import Level


def to_level(images: pd.DataFrame, level: Level, label: str) -> pd.DataFrame:
    """One row a study or patient, in order of appearance: unit (its id), flag and label.

    A patient is found where any image is flagged, positive or not, for that is whom a reader is shown.

    Args:
        images: with the id of the level, `label`, and its flag; those without an id are left out.
        level: what a row is.
        label: `covid` or `unhealthy`.

    Raises:
        ValueError: a label or a flag is null: whether such an image would have been flagged is not known.
    """
    flag, unit = f"{label}_flag", f"{level}_id"
    unknown = int(images[[label, flag]].isna().any(axis=1).sum())
    if unknown:
        raise ValueError(f"every image needs a label and a flag of {label}, {unknown} of {len(images)} have not both")
    known = images[images[unit].notna()]
    table = pd.DataFrame({"unit": known[unit], "flag": known[flag].astype(bool), "label": known[label].astype("int8")})
    return table.groupby("unit", sort=False, as_index=False).max()
