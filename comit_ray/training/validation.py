"""Losses and metrics of a validation pass, merged over workers, and the line printed for an epoch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from comit_ray.checkpoint import temperature
from comit_ray.checkpoint.operating_points import Document, choose, choose_for_every_source
from comit_ray.config.train_config import LossConfig
from comit_ray.statistics import roc
from comit_ray.tables.vocabulary import ALL_TASKS, MASK_TASKS, SPECIFICITY, scores_of

EpochMetrics = dict[str, float | None]
"""Name -> value; None if it is undefined (no positive, no mask, ...)."""

TIMED = ("waiting", "forward", "backward", "optimiser")
"""Measured parts of an epoch's time."""
SCREENED = ("covid", "unhealthy")
"""Scores that have thresholds."""


@dataclass
class LossSums:
    """Sums over images, so that parts of any size can be added.

    Attributes:
        loss_T: (4,) sum of each task's loss, in the order of `ALL_TASKS`.
        active_T: (4,) number of images whose switch was on.
        images: number of images seen; each copy counts, images that only keep a worker in step do not.
        moved: sum of the penalties that `loss.attention` weighs (`comit_ray.training.attention`).
        mixed: number of images in that sum.
    """

    loss_T: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(ALL_TASKS)))
    active_T: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(ALL_TASKS)))
    images: int = 0
    moved: float = 0.0
    mixed: int = 0

    def metrics(self, prefix: str, config: LossConfig) -> EpochMetrics:
        """Returns `<prefix>_images`, `<prefix>_loss` as in the objective (means or sums), `_loss_<task>` (means).

        If images took part in `loss.attention`: their number `<prefix>_attention_images`, and `<prefix>_attention`, the
        mean that is weighed. The loss contains it.
        """
        mean_T = np.divide(self.loss_T, self.active_T, out=np.zeros_like(self.loss_T), where=self.active_T > 0)
        weight_T = np.array([getattr(config, task) for task in ALL_TASKS])
        total = float(weight_T @ (mean_T if config.reduction == "mean" else self.loss_T))
        by_task = {
            f"{prefix}_loss_{task}": float(mean) if active else None
            for task, mean, active in zip(ALL_TASKS, mean_T, self.active_T, strict=True)
        }
        found: EpochMetrics = {f"{prefix}_images": self.images, f"{prefix}_loss": total, **by_task}
        if self.mixed:
            mean = self.moved / self.mixed
            found[f"{prefix}_loss"] = total + config.attention * (mean if config.reduction == "mean" else self.moved)
            found |= {f"{prefix}_attention": mean, f"{prefix}_attention_images": self.mixed}
        return found


@dataclass
class Validation:
    """One worker's part of the validation split, or all of it after `merge`, as lists of per-batch values.

    Attributes:
        losses: sums of the losses.
        index: (N,) place of each image in the store.
        scores: `covid`, `other`, `unhealthy` -> (N,) float32 from 0 to 1, for the heads that the model has.
        logits: the same scores as log-odds.
        labels: the same names -> (N,) 1, 0, or -1 for unknown.
        ious: lung, disease -> IoU of each image with a known mask, for the heads that the model has.
    """

    losses: LossSums
    index: list[npt.NDArray[np.int64]]
    scores: dict[str, list[npt.NDArray[np.float32]]]
    logits: dict[str, list[npt.NDArray[np.float32]]]
    labels: dict[str, list[npt.NDArray[np.int64]]]
    ious: dict[str, list[float]]

    @classmethod
    def empty(cls, tasks: Iterable[str]) -> Self:
        """Returns an empty validation for a model with the heads `tasks`."""
        heads = tuple(tasks)
        names = scores_of(heads)
        masks = [task for task in MASK_TASKS if task in heads]
        return cls(
            LossSums(),
            [],
            {name: [] for name in names},
            {name: [] for name in names},
            {name: [] for name in names},
            {task: [] for task in masks},
        )

    def known(self, name: str, log_odds: bool = False) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Returns scores (or log-odds) and labels of the images with a known label, in the order of the store."""
        order = np.argsort(_joined(self.index, np.int64))
        labels = _joined(self.labels[name], np.int64)[order]
        values = _joined((self.logits if log_odds else self.scores)[name], np.float32)[order]
        return values[labels >= 0], labels[labels >= 0]

    def metrics(self, config: LossConfig) -> EpochMetrics:
        """Returns losses, AUROC and sensitivity at `SPECIFICITY` of each score, and the mean IoU of each mask."""
        figures = self.losses.metrics("val", config)
        for name in SCREENED:
            if name in self.scores:
                scores, labels = self.known(name)
                figures[f"val_auroc_{name}"] = roc.auroc(scores, labels)
                found = roc.sensitivity_at_specificity(scores, labels, SPECIFICITY)
                figures[f"val_sensitivity_at_specificity_{SPECIFICITY:.2f}_{name}"] = found
        for task, values in self.ious.items():
            figures[f"val_{task}_iou"] = float(np.mean(values)) if values else None
        return figures

    def operating_points(self, specificities: tuple[float, ...], datasets: Sequence[str] | None = None) -> Document:
        """Chooses thresholds of the scores for screening, at each of `specificities`.

        Args:
            specificities: each above 0 and at most 1.
            datasets: source of each image of the store; if given, thresholds for the worst source are added.
        """
        names = [name for name in SCREENED if name in self.scores]
        found = choose({name: self.known(name) for name in names}, specificities)
        if datasets is not None:
            order = np.sort(_joined(self.index, np.int64))
            sources = {
                name: [datasets[at] for at, known in zip(order, self._known(name), strict=True) if known]
                for name in names
            }
            found |= choose_for_every_source(
                {name: (*self.known(name), sources[name]) for name in names}, specificities
            )
        return found

    def _known(self, name: str) -> npt.NDArray[np.bool_]:
        """Returns (N,) whether the label of each image is known, in the order of the store."""
        found: npt.NDArray[np.bool_] = (
            _joined(self.labels[name], np.int64)[np.argsort(_joined(self.index, np.int64))] >= 0
        )
        return found

    def temperatures(self) -> temperature.Document:
        """Fits the divisor of each score's log-odds that calibrates it on these images."""
        return temperature.fit({name: self.known(name, log_odds=True) for name in self.scores})


def _joined(parts: list[npt.NDArray[Any]], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])


def merge_losses(parts: Sequence[LossSums]) -> LossSums:
    """Adds the sums of all workers."""
    return LossSums(
        np.sum([part.loss_T for part in parts], axis=0),
        np.sum([part.active_T for part in parts], axis=0),
        sum(part.images for part in parts),
        sum(part.moved for part in parts),
        sum(part.mixed for part in parts),
    )


def merge(parts: Sequence[Validation]) -> Validation:
    """Merges the parts of all workers into the whole split; workers without an image contribute nothing."""
    index = [values for part in parts for values in part.index]
    every = _joined(index, np.int64)
    assert len(np.unique(every)) == len(every), "two workers validated the same image"

    def together(field: str) -> dict[str, list[Any]]:
        names = getattr(parts[0], field)
        return {name: [value for part in parts for value in getattr(part, field)[name]] for name in names}

    losses = merge_losses([part.losses for part in parts])
    return Validation(losses, index, *map(together, ("scores", "logits", "labels", "ious")))


def progress_line(epoch: int, epochs: int, figures: EpochMetrics) -> str:
    """Returns one readable line about an epoch; undefined metrics are dashes."""

    def show(name: str, digits: int = 3) -> str:
        value = figures.get(name)
        return "-" if value is None else f"{value:.{digits}f}"

    parts = [f"epoch {epoch + 1}/{epochs}", f"loss {show('train_loss')}", f"val {show('val_loss')}"]
    tasks = [f"{task} {show(f'val_loss_{task}')}" for task in ALL_TASKS if figures.get(f"val_loss_{task}") is not None]
    parts.append(f"({', '.join(tasks)})")
    parts += [f"attention {show('train_attention')}"] if "train_attention" in figures else []
    for name in SCREENED:
        if f"val_auroc_{name}" in figures:
            found = show(f"val_sensitivity_at_specificity_{SPECIFICITY:.2f}_{name}")
            parts.append(f"{name} AUROC {show(f'val_auroc_{name}')} sens@{100 * SPECIFICITY:g} {found}")
    parts += [f"{task} IoU {show(f'val_{task}_iou')}" for task in ("lung", "disease") if f"val_{task}_iou" in figures]
    parts.append(f"{show('images_per_second', 1)} images/s")
    if "seconds_waiting" in figures:
        parts.append(", ".join(f"{part} {show(f'seconds_{part}', 1)} s" for part in TIMED))
    return "  ".join(parts)
