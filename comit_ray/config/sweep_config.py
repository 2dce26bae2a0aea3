"""Options of a study and of the job `sweep`.

`--help` prints the text below each field.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from comit_ray.config.config_base import ADVANCED, Config, PositiveFloat, PositiveInt


class DrawConfig(Config):
    """How a value is drawn. Give exactly one of the three."""

    log_uniform: tuple[PositiveFloat, PositiveFloat] | None = None
    """Smallest and largest value; the logarithm is drawn uniformly."""
    uniform: tuple[float, float] | None = None
    """Smallest and largest value; the value is drawn uniformly."""
    choice: tuple[Any, ...] | None = None
    """Values of which one is drawn."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = {name: value for name, value in self if value is not None}
        if len(given) != 1:
            raise ValueError(f"expected one of log_uniform, uniform, choice, got {', '.join(given) or 'none'}")
        name, value = next(iter(given.items()))
        if name == "choice" and not value:
            raise ValueError("choice: expected at least one value")
        if name != "choice" and not value[0] < value[1]:
            raise ValueError(f"{name}: expected [least, greatest], got {list(value)}")
        return self


SearchMetric = Literal[
    "val_auroc_covid",
    "val_auroc_unhealthy",
    "val_lung_iou",
    "val_disease_iou",
    "val_loss_covid",
    "val_loss_health",
    "val_loss_lung",
    "val_loss_disease",
    "val_loss",
]
"""Figures that every epoch of a training reports, for the heads that the model has."""


class SearchConfig(Config):
    """A random search that stops poor trials early (ASHA, Li et al. 2020), judged by the validation split."""

    draw: dict[str, DrawConfig]
    """Dotted name of a training option -> how its value is drawn."""
    samples: PositiveInt = 16
    """Number of points that are drawn."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draws; the same seed gives the same points."""
    metric: SearchMetric = "val_auroc_covid"
    """Figure of an epoch by which trials are compared. For losses, lower is better. A trial is not judged in epochs
    where the figure is undefined."""
    grace_epochs: PositiveInt = 3
    """Number of epochs before which no trial is stopped."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """One of this many trials continues, to this many times the epochs."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.draw:
            raise ValueError("draw: expected at least one option to draw")
        return self


class EmbeddingClassifiersConfig(Config):
    """Classifiers fitted on the embeddings of a network of the study."""

    of: str
    """Variant whose embeddings are used, separately for each seed."""
    methods: dict[str, str]
    """Variant -> file with options of the job `embedding_classifier`."""


class StudyConfig(Config):
    """A study: a base and axes. File paths are relative to the study's file, or names of shipped files (comit_net)."""

    base: tuple[str, ...] = ()
    """Files with options of the job `train`; a later file overrides an earlier one."""
    options: dict[str, Any] = {}  # noqa: RUF012 pydantic copies it
    """Options of every variant by their dotted names."""
    axes: dict[str, dict[str, dict[str, Any]]] = {}  # noqa: RUF012 pydantic copies it
    """Axis -> name of a point -> options of the point by their dotted names (`model.tasks`), and `config`, files that
    override the base. Every combination of points of all axes is a trial."""
    search: SearchConfig | None = None
    """Random search, repeated for every combination of the axes."""
    embedding_classifiers: EmbeddingClassifiersConfig | None = None
    """Trials that fit a classifier on embeddings, without a training of their own."""
    seeds: PositiveInt = 3
    """Number of trainings of every variant, with the seeds 0, 1, 2, ..."""
    split: Literal["test", "val"] = "test"
    """Split that is scored. A search must be scored on val."""
    embeddings: tuple[str, ...] = ()
    """Variants whose embeddings are kept, for the report's map of embeddings."""
    gradcam: tuple[str, ...] = ()
    """Variants whose Grad-CAM heat maps are made for the report."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.axes and self.search is None:
            raise ValueError("expected axes or search: a study without them is one training (comit-ray train)")
        empty = [name for name, points in self.axes.items() if not points]
        if empty:
            raise ValueError(f"axes.{empty[0]}: expected at least one point")
        if self.search is not None and self.split != "val":
            raise ValueError(
                "split: expected val for a search: a trial that is chosen on the test split looks better than it is"
            )
        return self


class SweepConfig(Config):
    """Options of `comit-ray sweep`."""

    study: str
    """Name of a shipped study (ablation, baselines, segmentation, tuning, leave_one_source_out), or the path of your
    own YAML."""
    data: str
    """Path or URI of a training table (job `prepare`), or of a manifest."""
    storage: str
    """Directory for studies (path or URI); several nodes need a shared one."""
    name: str
    """Name of this study, and of its directory below `storage`."""
    manifest: Annotated[str | None, ADVANCED] = None
    """Manifest whose split is scored; null: `data`, or the manifest that it was prepared from."""
    seeds: PositiveInt | None = None
    """Number of trainings of every variant; null: as the study says."""
    overlay: tuple[str, ...] = ()
    """Files with training options, or names of shipped ones (small_cpu), that override those of every trial. The
    study's dotted options win over them."""
    options: Annotated[dict[str, Any], ADVANCED] = {}  # noqa: RUF012 pydantic copies it
    """Options of every trial by their dotted names, such as '{"train.epochs": 5}'. They override all others."""
    concurrent: Annotated[PositiveInt | None, ADVANCED] = None
    """Number of trials at a time; null: as many as the CPUs (or GPUs) of the cluster allow."""
    retries: Annotated[int, Field(ge=0), ADVANCED] = 1
    """Number of new attempts of a failed trial before it is recorded as failed."""
    resume: bool = False
    """Continue the study of this name: finished trials stay, failed ones are tried again."""
