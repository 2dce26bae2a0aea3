"""Options of the job `embedding_classifier`.

The paper names the methods (section 4.2, Table 4) but gives no hyperparameters, so the defaults are those of
scikit-learn.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from comit_ray.config.config_base import ADVANCED, AboveZero, Config, PositiveFloat, PositiveInt, operating_point_name
from comit_ray.tables.vocabulary import SPECIFICITIES, SPECIFICITY

LabelName = Literal["covid", "unhealthy"]
"""Labels of the manifest to which a classifier is fitted. Its score is `p_covid` or `p_unhealthy`."""


class MethodConfig(Config):
    """The method and its hyperparameters. Those of other methods are ignored."""

    name: Literal["random_forest", "svm_sigmoid", "svm_gaussian", "svm_rbf"] = "svm_rbf"
    """random_forest, or a support vector machine, named by its kernel. svm_gaussian and svm_rbf are two names of the
    same kernel: the paper lists both, with equal figures."""
    trees: Annotated[PositiveInt, ADVANCED] = 100
    """Number of trees of random_forest. Fully grown trees give at most trees + 1 different scores."""
    cost: Annotated[PositiveFloat, ADVANCED] = 1.0
    """Cost C of the support vector machines: the penalty for a training image on the wrong side."""
    gamma: Annotated[PositiveFloat | Literal["scale"], ADVANCED] = "scale"
    """Coefficient of the kernel. scale: 1 / (length of the embedding * variance of its standardised values)."""
    class_weight: Annotated[Literal["none", "balanced"], ADVANCED] = "none"
    """none: every training image has the same weight; balanced: every class has the same weight."""
    seed: Annotated[int, Field(ge=0, lt=2**32), ADVANCED] = 0
    """Seed of the random samples of random_forest. The support vector machines use no random numbers."""


class EmbeddingClassifierConfig(Config):
    """Options of `comit-ray embedding_classifier`."""

    results: str
    """Path or URI of the output of `comit-ray screen --embeddings true --split all` with a trained COMiT-Net."""
    manifest: str
    """Path or URI of the manifest that was screened, with labels and splits."""
    output: str
    """Path or URI for the results: predictions/, masks/ (empty masks), operating_points.json, run.json."""
    method: MethodConfig = MethodConfig()
    """The classifier."""
    tasks: tuple[LabelName, ...] = ("covid", "unhealthy")
    """Labels that each get a classifier, fitted on the training images with a known label."""
    specificities: Annotated[tuple[AboveZero, ...], ADVANCED] = SPECIFICITIES
    """Specificities for which operating points are chosen on the validation split; the default is the paper's two."""
    operating_point: Annotated[str, ADVANCED] = operating_point_name(SPECIFICITY)
    """Name of the operating point that decides the flags."""
    threads: Annotated[PositiveInt, ADVANCED] = 1
    """Number of threads that fit random_forest. The result does not depend on it."""

    @model_validator(mode="after")
    def _whole(self) -> Self:

        for key, values in (("tasks", self.tasks), ("specificities", self.specificities)):
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{key}: expected one or more values, none twice, got {list(values)}")
        known = [operating_point_name(specificity) for specificity in self.specificities]
        if self.operating_point not in known:
            raise ValueError(
                f"operating_point: expected one of the specificities ({', '.join(known)}), got {self.operating_point}"
            )
        return self
