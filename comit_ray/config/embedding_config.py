"""Options of the job `embedding_classifier`.

The paper names the methods (section 4.2, Table 4) and gives none of their hyperparameters: the defaults are
scikit-learn's.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from comit_ray.config.config_base import (
    ADVANCED,
    SPECIFICITIES,
    SPECIFICITY,
    AboveZero,
    Config,
    PositiveFloat,
    PositiveInt,
    operating_point_name,
)

LabelName = Literal["covid", "unhealthy"]
"""Labels of the manifest that a classifier is fitted to; its score is `p_covid` or `p_unhealthy`."""


class MethodConfig(Config):
    """The method, and what it is fitted with; options of another method are left aside."""

    name: Literal["random_forest", "svm_sigmoid", "svm_gaussian", "svm_rbf"] = "svm_rbf"
    """random_forest, or a support vector machine by its kernel. svm_gaussian and svm_rbf are the same kernel under two
    names: the paper lists both, with equal figures."""
    trees: Annotated[PositiveInt, ADVANCED] = 100
    """Trees of random_forest. Fully grown, they give trees + 1 different scores at most."""
    cost: Annotated[PositiveFloat, ADVANCED] = 1.0
    """C of the support vector machines: what a training image on the wrong side costs."""
    gamma: Annotated[PositiveFloat | Literal["scale"], ADVANCED] = "scale"
    """Kernel coefficient; scale: 1 / (width of the embedding * variance of its standardised values)."""
    class_weight: Annotated[Literal["none", "balanced"], ADVANCED] = "none"
    """none: every training image counts alike; balanced: each class as much as the other."""
    seed: Annotated[int, Field(ge=0, lt=2**32), ADVANCED] = 0
    """Seed of random_forest's samples; the support vector machines draw nothing."""


class EmbeddingClassifierConfig(Config):
    """`jobs/embedding_classifier.py`."""

    results: str
    """URI of what `jobs/screen.py --embeddings true --split all` wrote with a trained COMiT-Net."""
    manifest: str
    """URI of the manifest that was screened: labels and splits."""
    output: str
    """URI of the results to write: predictions/, masks/ (without masks), operating_points.json, run.json."""
    method: MethodConfig = MethodConfig()
    """The classifier."""
    tasks: tuple[LabelName, ...] = ("covid", "unhealthy")
    """Labels that get a classifier each, fitted on the training images whose label is known."""
    specificities: Annotated[tuple[AboveZero, ...], ADVANCED] = SPECIFICITIES
    """Specificities at which operating points are chosen on the validation split; the paper's two."""
    operating_point: Annotated[str, ADVANCED] = operating_point_name(SPECIFICITY)
    """Name of the one that decides the flags."""
    threads: Annotated[PositiveInt, ADVANCED] = 1
    """Threads that fit random_forest; the numbers do not depend on it."""

    @model_validator(mode="after")
    def _whole(self) -> Self:

        for key, values in (("tasks", self.tasks), ("specificities", self.specificities)):
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{key} must be at least one, none twice, got {list(values)}")
        known = [operating_point_name(specificity) for specificity in self.specificities]
        if self.operating_point not in known:
            raise ValueError(
                f"operating_point {self.operating_point!r} is not of these specificities: {', '.join(known)}"
            )
        return self
