"""The reliability diagram of a screen's scores."""

from collections.abc import Sequence

import pandas as pd

from comit_ray.errors import Status
from comit_ray.evaluation.calibration import BINS, ENOUGH, OBSERVED
from comit_ray.evaluation.classification import NAMES, PREFIXES
from comit_ray.evaluation.figure import Figure
from comit_ray.evaluation.picture import Picture, nothing, written
from comit_ray.evaluation.plots import reliability as plot

NAME = "reliability"


def reliability(images: pd.DataFrame, figures: Sequence[Figure], output: str) -> Picture:
    """The diagram, `reliability`.

    Args:
        images: of `scores.join_tables`.
        figures: of all images, `calibration.reliability` measured.
        output: URI of the report.

    Raises:
        StorageError: it cannot be written.
    """
    caption = (
        f"Reliability: of {BINS} bins with equal numbers of images the share that is labelled so, over their mean "
        "score, with 95% intervals; on the dotted line a score is the probability, for images with this share of the "
        "disease. Below, how many images have which score (logarithmic)."
    )
    bins: dict[str, list[plot.Bin]] = {}
    scores: dict[str, list[float]] = {}
    for label, prefix in PREFIXES.items():
        mine = [f for f in figures if f.metric == f"{prefix}{OBSERVED}" and f.group == "all" and f.value is not None]
        if mine:
            name = f"score of {NAMES[label]}"
            bins[name] = [plot.Bin(float(f.at or 0), float(f.value or 0), f.low, f.high) for f in mine]
            known = images[(images["status"] == Status.OK) & images[label].notna() & images[f"p_{label}"].notna()]
            scores[name] = known[f"p_{label}"].astype(float).tolist()
    if not bins:
        return nothing(NAME, caption, f"no score has {ENOUGH} images labelled so and {ENOUGH} labelled otherwise")
    return written(output, NAME, caption, plot.draw(bins, scores))
