"""The paper's shallow classifiers on embeddings (section 4.2, table 4), by scikit-learn, without pickle.

A random decision forest (`sklearn.ensemble.RandomForestClassifier`), and support vector machines (`sklearn.svm.SVC`)
with a sigmoid and with a Gaussian kernel. The Gaussian kernel exp(-gamma |x - x'|^2) *is* the radial basis function
kernel; the paper lists it under both names with equal figures, and so both names are kept here. The paper gives no
hyperparameters: scikit-learn's defaults are used. The machines see standardised embeddings, because their kernels mix
all columns; trees split one column at a time, for which its scale does not matter.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
from scipy.special import expit
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from comit_ray.config.embedding_config import MethodConfig

KERNELS = {"svm_sigmoid": "sigmoid", "svm_gaussian": "rbf", "svm_rbf": "rbf"}
"""Method -> scikit-learn's name of its kernel."""


@dataclass(frozen=True)
class EmbeddingClassifier:
    """A fitted classifier on embeddings; `fit` creates it.

    Attributes:
        estimator: the random forest or the support vector machine.
        scaler: standardises embeddings like the training embeddings; None for the forest.
        unit: divisor of a support vector machine's decision value.
    """

    estimator: Any
    scaler: StandardScaler | None = None
    unit: float = 1.0

    def score(self, x_NC: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns scores (N,) in 0..1 that order images by how positive they look; they are not calibrated.

        The forest's score is the share of its trees' votes. The support vector machine's score is the logistic function
        of its decision value: it keeps the order of the images, and so the ROC curve, and means nothing more.

        Args:
            x_NC: (N, C) finite embeddings, with C as in `fit`.
        """
        if not len(x_NC):
            return np.zeros(0, np.float32)
        if self.scaler is None:
            return np.asarray(self.estimator.predict_proba(x_NC)[:, 1], np.float32)
        decision_N = self.estimator.decision_function(self.scaler.transform(x_NC.astype(np.float64)))
        return np.asarray(expit(decision_N / self.unit), np.float32)


def fit(
    method: MethodConfig, x_NC: npt.NDArray[np.float32], labels_N: npt.NDArray[np.int8], threads: int = 1
) -> EmbeddingClassifier:
    """Fits the classifier of `method`. The same images in the same order give the same scores.

    Fitting a support vector machine takes time that grows with the square of N, or faster.

    Args:
        method: name of the method, and its options.
        x_NC: (N, C) finite embeddings.
        labels_N: (N,) labels 0 or 1; both must occur.
        threads: threads that fit the forest.

    Raises:
        ValueError: only one class occurs, or an embedding is not finite.
    """
    if set(np.unique(labels_N)) != {0, 1}:
        raise ValueError(f"labels 0 and 1 are needed, got {sorted(set(labels_N.tolist()))}")
    estimator = _estimator(method)
    if method.name not in KERNELS:
        estimator.set_params(n_jobs=threads).fit(x_NC, labels_N)
        # Threads would add the trees' votes in the order they finish in, and so round them differently each time.
        return EmbeddingClassifier(estimator.set_params(n_jobs=1))
    scaler = StandardScaler()
    z_NC = scaler.fit_transform(x_NC.astype(np.float64))
    estimator.fit(z_NC, labels_N)
    # A float32 logistic is 1 beyond 17: decision values far above their usual size would all tie there.
    return EmbeddingClassifier(estimator, scaler, max(1.0, float(np.std(estimator.decision_function(z_NC)))))


def parameters(method: MethodConfig) -> dict[str, Any]:
    """Returns all that decides a fit except the images, with scikit-learn's defaults and version, as plain values."""
    decisive: dict[str, Any] = {k: v for k, v in _estimator(method).get_params().items() if k != "n_jobs"}
    return decisive | {"method": method.name, "standardised": method.name in KERNELS, "sklearn": sklearn.__version__}


def _estimator(method: MethodConfig) -> Any:
    """Returns the unfitted estimator."""
    weight = None if method.class_weight == "none" else method.class_weight
    if method.name in KERNELS:
        return SVC(C=method.cost, kernel=KERNELS[method.name], gamma=method.gamma, class_weight=weight)
    return RandomForestClassifier(n_estimators=method.trees, class_weight=weight, random_state=method.seed)
