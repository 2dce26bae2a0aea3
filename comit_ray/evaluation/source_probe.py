"""Can the source of an image be told from what the network keeps of it? A linear probe on the embeddings.

If it can, even of images without COVID-19, and COVID-19 comes from a source of its own, then a score may tell the
sources apart and look as if it told the disease.
"""

import numpy as np
import pandas as pd

from comit_ray.evaluation.probe import FOLDS, out_of_fold
from comit_ray.statistics.intervals import patient_codes
from comit_ray.statistics.metric import Block, Entry, FloatArray, IntArray, undefined

ENOUGH_IMAGES, ENOUGH_PATIENTS = 10, FOLDS
"""Of a source, to be told apart at all."""


def block(metric: str, images: pd.DataFrame, x_NC: FloatArray, seed: int = 0) -> Block:
    """The balanced accuracy of the probe: the mean over sources of the share of their images that it names right.

    Logistic regression on standardised embeddings, classes weighted alike; every image is named by a probe that was
    fitted without its patient (scikit-learn, `StratifiedGroupKFold`, 5 folds). Chance is 1 / number of sources. The
    bootstrap draws patients' named images and fits nothing again.

    Args:
        metric: its name.
        images: N of them, with dataset and patient_id.
        x_NC: their embeddings, finite.
        seed: of the folds.
    """
    codes_N = patient_codes(images["patient_id"])
    sources = enough(images)
    used_N = images["dataset"].isin(sources).to_numpy(bool)
    if len(sources) < 2:
        why = (
            f"at least two sources with {ENOUGH_IMAGES} images of {ENOUGH_PATIENTS} patients are needed, got "
            f"{len(sources)}"
        )
        return undefined(metric, len(images), why)
    truth_N = np.searchsorted(sources, images["dataset"].astype(str).to_numpy())
    named_N = np.zeros(len(images), np.int64)
    named_N[used_N] = out_of_fold(x_NC[used_N], truth_N[used_N], codes_N[used_N], seed, "predict")
    right_N = (named_N == truth_N) & used_N

    def values(weights_N: IntArray) -> FloatArray:
        count_S, right_S = (
            np.bincount(truth_N[used_N], part_N[used_N], len(sources)) for part_N in (weights_N, weights_N * right_N)
        )
        return np.array([np.nan if (count_S == 0).any() else float((right_S / count_S).mean())])

    return Block((Entry(metric, used_N, all_or_none=True),), values)


def enough(images: pd.DataFrame) -> list[str]:
    """The sources that are large enough, sorted."""
    counts = (
        images.assign(code=patient_codes(images["patient_id"])).groupby("dataset")["code"].agg(["count", "nunique"])
    )
    known = counts[(counts["count"] >= ENOUGH_IMAGES) & (counts["nunique"] >= ENOUGH_PATIENTS)]
    return sorted(str(name) for name in known.index)
