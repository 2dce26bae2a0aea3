"""The frozen operating point of a screen, as a threshold that decides its images as its flags do."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from comit_ray.chunks import run_record
from comit_ray.errors import NotFoundError, Status
from comit_ray.evaluation.classification import operating_points

RECORDED = "recorded in run.json"
FROM_FLAGS = "the lowest flagged score: where exactly the threshold lies is not recorded"


@dataclass(frozen=True)
class Point:
    """A named threshold.

    Args:
        name: of the operating point.
        threshold: a score at or above it is flagged; a float32.
        origin: where it comes from, in words.
    """

    name: str
    threshold: float
    origin: str


def frozen_point(images: pd.DataFrame, label: str, results: str | None) -> Point | None:
    """The operating point that decided the flags; None where there are none, of several, or scores say otherwise.

    The recorded threshold is taken where it gives the very flags of the table; else the lowest score that is flagged,
    where no higher one is not.

    Args:
        images: of `comit_ray.evaluation.scores.join_tables`.
        label: `covid` or `unhealthy`.
        results: URI of the screen's output, whose `run.json` is read; None: a bare predictions table.

    Raises:
        StorageError: the `run.json` is not that of a run.
    """
    name = operating_points(images)[label]
    scored = (images["status"] == Status.OK) & images[f"p_{label}"].notna() & images[f"{label}_flag"].notna()
    if name is None or not scored.any():
        return None
    scores = images.loc[scored, f"p_{label}"].to_numpy(np.float32)
    flags = images.loc[scored, f"{label}_flag"].to_numpy(bool)
    recorded = None if results is None else _recorded(results, name, label)
    if recorded is not None and bool(((scores >= np.float32(recorded)) == flags).all()):
        return Point(name, float(np.float32(recorded)), RECORDED)
    lowest = scores[flags].min() if flags.any() else np.nextafter(scores.max(), np.float32(np.inf))
    if not flags.all() and scores[~flags].max() >= lowest:
        return None
    return Point(name, float(lowest), FROM_FLAGS)


def chosen_where(results: str | None) -> str:
    """Where the thresholds of a screen were chosen, in words, as its `run.json` says.

    Raises:
        StorageError: the `run.json` is not that of a run.
    """
    try:
        settings = {} if results is None else run_record.read(results).get("settings")
    except NotFoundError:
        settings = {}
    if not isinstance(settings, dict) or not settings.get("checkpoint"):
        return "where it was chosen is not recorded"
    own = settings.get("operating_points")
    if own:
        return f"of the site's own file {own}; on which images it was chosen is not recorded"
    return "chosen on the validation split in training"


def _recorded(results: str, name: str, label: str) -> float | None:
    try:
        question = run_record.read(results)["question"]
    except NotFoundError:
        return None
    point = question.get("operating_point")
    if not isinstance(point, dict) or point.get("name") != name:
        return None
    threshold = point.get("thresholds", {}).get(label)
    return float(threshold) if isinstance(threshold, int | float) else None
