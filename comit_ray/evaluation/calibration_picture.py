"""The reliability diagram of a screen's scores."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from comit_ray.evaluation.calibration import Bin
from comit_ray.evaluation.classification import NAMES, labelled
from comit_ray.evaluation.picture import Picture, nothing, written
from comit_ray.evaluation.pictures import reliability_picture
from comit_ray.evaluation.pictures.reliability_picture import Reliability

NAME = "reliability"


def reliability_diagram(images: pd.DataFrame, bins: Mapping[str, Sequence[Bin]], output: str) -> Picture:
    """A panel a score that has bins.

    Args:
        images: of `comit_ray.evaluation.scores.join_tables`.
        bins: label -> bins of `calibration.reliability`.
        output: URI of the report.

    Raises:
        StorageError: it cannot be written.
    """
    caption = (
        "Reliability: above, the share of positives over the mean score of bins of equal numbers of images, with 95% "
        "intervals; on the dotted line scores are probabilities, below it they are too high, above it too low. Below, "
        "how many images have such a score. It holds for the share of positives in these images alone."
    )
    panels = {}
    for label, mine in bins.items():
        if mine:
            panels[NAMES[label]] = _panel(images[labelled(images, label)], label, mine)
            counts = f"{NAMES[label]}: {sum(one.observed.n for one in mine):,} images in {len(mine)} bins"
            caption += f" {counts}."
    if not panels:
        return nothing(NAME, caption, "no score has enough labelled images of both classes")
    return written(output, NAME, caption, reliability_picture.draw(panels))


def _panel(known: pd.DataFrame, label: str, bins: Sequence[Bin]) -> Reliability:
    return Reliability(
        [one.mean for one in bins],
        [float(one.observed.value) for one in bins if one.observed.value is not None],
        [one.observed.low for one in bins],
        [one.observed.high for one in bins],
        known[f"p_{label}"].to_numpy(np.float64),
        (known[label] == 1).to_numpy(bool),
    )
