"""An epoch's losses and validation scores, gathered from all workers, and the figures made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from comit_ray import metrics
from comit_ray.operating_points import Document, choose
from comit_ray.schema import ALL_TASKS
from comit_ray.train_config import LossConfig

Figures = dict[str, float | None]
"""Name -> value; None where it is undefined (no positive, no mask, ...)."""

SPECIFICITY = 0.90


@dataclass
class LossSums:
    """Sums over images, so that parts of any size add up.

    Attributes:
        loss_T: (4,) sum of each task's loss, in the order of `ALL_TASKS`.
        active_T: (4,) images whose switch was on.
        images: seen, each copy counted, stand-ins not.
    """

    loss_T: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(ALL_TASKS)))
    active_T: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(ALL_TASKS)))
    images: int = 0

    def figures(self, prefix: str, config: LossConfig) -> Figures:
        """`<prefix>_images`, `<prefix>_loss` as the objective has it (means or sums), `_loss_<task>` (means)."""
        mean_T = np.divide(self.loss_T, self.active_T, out=np.zeros_like(self.loss_T), where=self.active_T > 0)
        weight_T = np.array([getattr(config, task) for task in ALL_TASKS])
        total = float(weight_T @ (mean_T if config.reduction == "mean" else self.loss_T))
        by_task = {
            f"{prefix}_loss_{task}": float(mean) if active else None
            for task, mean, active in zip(ALL_TASKS, mean_T, self.active_T, strict=True)
        }
        return {f"{prefix}_images": self.images, f"{prefix}_loss": total, **by_task}


@dataclass
class Validation:
    """One worker's part of the validation split, or all of it after `merge`.

    Attributes:
        losses: sums.
        index: (N,) place of each image in the store.
        scores: `covid`, `unhealthy` -> (N,) float32, for the heads the model has.
        labels: `covid`, `unhealthy` -> (N,) 1, 0, or -1 where unknown.
        lung_iou: IoU of each image with a lung mask.
    """

    losses: LossSums
    index: npt.NDArray[np.int64]
    scores: dict[str, npt.NDArray[np.float32]]
    labels: dict[str, npt.NDArray[np.int64]]
    lung_iou: list[float]

    def known(self, name: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Scores and labels of the images whose label is known."""
        known = self.labels[name] >= 0
        return self.scores[name][known], self.labels[name][known]

    def figures(self, config: LossConfig) -> Figures:
        """Losses, AUROC and sensitivity at 90% specificity of each score, mean lung IoU of an image."""
        figures = self.losses.figures("val", config)
        for name in self.scores:
            scores, labels = self.known(name)
            figures[f"val_auroc_{name}"] = metrics.auroc(scores, labels)
            figures[f"val_sensitivity_at_specificity_{SPECIFICITY:.2f}_{name}"] = metrics.sensitivity_at_specificity(
                scores, labels, SPECIFICITY
            )
        figures["val_lung_iou"] = float(np.mean(self.lung_iou)) if self.lung_iou else None
        return figures

    def operating_points(self) -> Document:
        """Thresholds at the paper's specificities."""
        return choose({name: self.known(name) for name in self.scores})


def merge_losses(parts: Sequence[LossSums]) -> LossSums:
    """The sums of all workers."""
    return LossSums(
        np.sum([part.loss_T for part in parts], axis=0),
        np.sum([part.active_T for part in parts], axis=0),
        sum(part.images for part in parts),
    )


def merge(parts: Sequence[Validation]) -> Validation:
    """The whole split in the store's order; workers without an image contribute nothing."""
    index = np.concatenate([part.index for part in parts])
    order = np.argsort(index)
    assert len(np.unique(index)) == len(index), "two workers validated the same image"
    return Validation(
        merge_losses([part.losses for part in parts]),
        index[order],
        {name: np.concatenate([part.scores[name] for part in parts])[order] for name in parts[0].scores},
        {name: np.concatenate([part.labels[name] for part in parts])[order] for name in parts[0].labels},
        [value for part in parts for value in part.lung_iou],
    )


def progress_line(epoch: int, epochs: int, figures: Figures) -> str:
    """One readable line of an epoch; undefined figures are dashes."""

    def show(name: str, digits: int = 3) -> str:
        value = figures.get(name)
        return "-" if value is None else f"{value:.{digits}f}"

    parts = [f"epoch {epoch + 1}/{epochs}", f"loss {show('train_loss')}", f"val {show('val_loss')}"]
    tasks = [f"{task} {show(f'val_loss_{task}')}" for task in ALL_TASKS if figures.get(f"val_loss_{task}") is not None]
    parts.append(f"({', '.join(tasks)})")
    for name in ("covid", "unhealthy"):
        if f"val_auroc_{name}" in figures:
            at_90 = show(f"val_sensitivity_at_specificity_{SPECIFICITY:.2f}_{name}")
            parts.append(f"{name} AUROC {show(f'val_auroc_{name}')} sens@90 {at_90}")
    parts.append(f"lung IoU {show('val_lung_iou')}")
    parts.append(f"{show('images_per_second', 1)} images/s")
    return "  ".join(parts)
