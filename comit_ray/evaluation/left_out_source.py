"""Leave one source out: does what tells COVID-19 in the other sources tell it in this one?

A linear probe on the embeddings, not the network: it is fitted without any image of the source, and the network may
have been trained on it. So a fall says that the sources' COVID-19 lies in different directions; no fall does not say
that a network trained without the source would find it: that is what the study `leave_one_source_out` trains.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.evaluation.probe import FOLDS, out_of_fold, probe
from comit_ray.statistics.intervals import patient_codes
from comit_ray.statistics.metric import Block, BoolArray, Entry, FloatArray, undefined
from comit_ray.statistics.weighted import Area

LEFT_OUT, KEPT = "auroc_left_out", "auroc_kept"
ENOUGH = FOLDS
"""Patients of each class that a probe is fitted on, and judged by, at least."""


def blocks(images: pd.DataFrame, x_NC: FloatArray, seed: int) -> dict[str, tuple[BoolArray, list[Block]]]:
    """Source -> its images (N,), and the AUROC among them of the probe fitted without and with the source.

    Logistic regression on standardised embeddings, classes weighted alike. With the source: every image is scored by a
    probe that was fitted without its patient (scikit-learn, `StratifiedGroupKFold`, 5 folds). The blocks are of all
    images, and count those of the source. The bootstrap draws patients' scores and fits nothing again.

    Args:
        images: N of them, with dataset, patient_id and covid (0 or 1).
        x_NC: their embeddings, finite.
        seed: of the folds.
    """
    codes_N = patient_codes(images["patient_id"])
    covid_N = (images["covid"] == 1).to_numpy(bool)
    sources = images["dataset"].astype(str).to_numpy()
    names = sorted(set(sources))
    if len(names) < 2:
        return {}
    kept_N = _kept(x_NC, covid_N, codes_N, seed)
    found = {}
    for name in names:
        mine_N = sources == name
        rest_N = ~mine_N & ~np.isin(codes_N, codes_N[mine_N])
        alone = _lacks(covid_N[mine_N], codes_N[mine_N])
        others = _lacks(covid_N[rest_N], codes_N[rest_N])
        left_N = None
        if alone is None and others is None:
            left_N = np.zeros(len(images))
            left_N[mine_N] = probe().fit(x_NC[rest_N], covid_N[rest_N]).decision_function(x_NC[mine_N])
        why_left = f"the source has {alone}" if alone else f"without it there are {others}"
        why_kept = f"the source has {alone}" if alone else "all sources together are too few to be cut into folds"
        found[name] = (
            mine_N,
            [
                _auroc(LEFT_OUT, left_N, covid_N, mine_N, why_left),
                _auroc(KEPT, None if alone else kept_N, covid_N, mine_N, why_kept),
            ],
        )
    return found


def _lacks(covid_M: BoolArray, codes_M: npt.NDArray[np.int64]) -> str | None:
    """What is missing to tell two classes apart, or None."""
    for has, what in ((covid_M, "with COVID-19"), (~covid_M, "without COVID-19")):
        patients = len(np.unique(codes_M[has]))
        if patients < ENOUGH:
            return f"images {what} of {patients} patients, at least {ENOUGH} are needed"
    return None


def _kept(x_NC: FloatArray, covid_N: BoolArray, codes_N: npt.NDArray[np.int64], seed: int) -> FloatArray | None:
    if _lacks(covid_N, codes_N) is not None:
        return None
    return out_of_fold(x_NC, covid_N, codes_N, seed, "decision_function")


def _auroc(metric: str, scores_N: FloatArray | None, covid_N: BoolArray, mine_N: BoolArray, why: str) -> Block:
    if scores_N is None:
        return undefined(metric, len(mine_N), why)
    return Block((Entry(metric, mine_N, undefined=why, positive_N=covid_N),), Area(scores_N, covid_N, mine_N))
