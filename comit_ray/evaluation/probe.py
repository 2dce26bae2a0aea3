"""The linear probe of the audit: logistic regression on standardised embeddings, classes weighted alike."""

from typing import Any, Literal

import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from comit_ray.statistics.metric import FloatArray, IntArray

FOLDS = 5


def probe() -> Pipeline:
    """One that is not fitted yet."""
    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5_000))


def out_of_fold(
    x_NC: FloatArray,
    truth_N: npt.NDArray[Any],
    patients_N: IntArray,
    seed: int,
    method: Literal["predict", "decision_function"],
) -> npt.NDArray[Any]:
    """(N,) what the probe says of every image, fitted without its patient (scikit-learn, `StratifiedGroupKFold`).

    Args:
        x_NC: embeddings, finite.
        truth_N: class of each.
        patients_N: a whole number a patient.
        seed: of the 5 folds.
        method: the class, or the decision function of two classes.
    """
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    found: npt.NDArray[Any] = cross_val_predict(probe(), x_NC, truth_N, groups=patients_N, cv=folds, method=method)
    return found
