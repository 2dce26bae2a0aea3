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
    """A fitted classifier; made by `fit`.

    Attributes:
        estimator: the forest or the machine.
        scaler: standardises embeddings as the training embeddings were; None for the forest.
        unit: what a machine's decision value is divided by.
    """

    estimator: Any
    scaler: StandardScaler | None = None
    unit: float = 1.0

    def score(self, x_NC: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """How positive each image looks: (N,) in 0..1, a score and no calibrated probability.

        The forest's is the share of its trees' votes. A machine's is the logistic function of its decision value: it
        keeps the order of the images, so that the ROC curve is the machine's own, and says no more than that.

        Args:
            x_NC: (N, C) finite embeddings, C as in `fit`.
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
    """The classifier of `method` for these images; the same images in the same order give the same scores.

    Fitting a machine takes time that grows with the square of N, or faster.

    Args:
        method: which, and its options.
        x_NC: (N, C) finite embeddings.
        labels_N: (N,) 0 or 1, both present.
        threads: that fit the forest.

    Raises:
        ValueError: for one class alone, or embeddings that are not finite.
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
    """Everything besides the images that decides a fit, scikit-learn's own defaults and version included; plain."""
    decisive: dict[str, Any] = {k: v for k, v in _estimator(method).get_params().items() if k != "n_jobs"}
    return decisive | {"method": method.name, "standardised": method.name in KERNELS, "sklearn": sklearn.__version__}


def _estimator(method: MethodConfig) -> Any:
    """The unfitted estimator."""
    weight = None if method.class_weight == "none" else method.class_weight
    if method.name in KERNELS:
        return SVC(C=method.cost, kernel=KERNELS[method.name], gamma=method.gamma, class_weight=weight)
    return RandomForestClassifier(n_estimators=method.trees, class_weight=weight, random_state=method.seed)
