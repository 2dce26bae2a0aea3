"""The probe learns what is there, never from the patient it is asked about."""

import numpy as np

from comit_ray.evaluation.shortcuts import FOLDS, out_of_fold, probe

RANDOM = np.random.default_rng(0)
TRUTH = np.arange(60) % 2 == 0
X = RANDOM.normal(size=(60, 4)) + 3 * TRUTH[:, None]


def test_it_tells_what_is_told_apart_in_the_embeddings() -> None:
    assert (out_of_fold(X, TRUTH, np.arange(60), 0, "predict") == TRUTH).mean() > 0.95
    scores = out_of_fold(X, TRUTH, np.arange(60), 0, "decision_function")
    assert scores[TRUTH].min() > scores[~TRUTH].max() - 1
    assert (probe().fit(X, TRUTH).predict(X) == TRUTH).mean() > 0.95


def test_a_patient_is_never_on_both_sides() -> None:
    """Embeddings that name the patient and nothing else, each patient of one class: nothing can be learned."""
    patients = np.repeat(np.arange(2 * FOLDS), 6)
    truth = patients % 2 == 0
    x = np.eye(2 * FOLDS)[patients]
    assert (out_of_fold(x, truth, patients, 0, "predict") == truth).mean() < 0.7
