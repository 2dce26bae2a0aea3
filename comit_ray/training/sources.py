"""Sources in training: which heads a source may teach, and how a network is kept from learning the source itself.

A source in which all images have COVID-19, or none, teaches the COVID-19 head the source instead of the disease. The
switch of that head can be left off for its images (`train.covid_from`). Groups of images (one class of one source) may
have their own weights (group DRO), and a penalty may keep embeddings from telling sources apart (Deep CORAL).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from comit_ray.config.train_config import OptimConfig, TrainConfig
from comit_ray.errors import ConfigError
from comit_ray.prepare.frames import LABELS, FrameStore
from comit_ray.tables.vocabulary import ALL_TASKS, MASK_TASKS, Task
from comit_ray.training import collective
from comit_ray.training.validation import EpochMetrics

Labels = Mapping[str, npt.NDArray[np.int8]]
"""`LABELS` of images: 1, 0, or -1 for unknown."""
GROUP_WEIGHT = "group_weight"
"""Prefix of an epoch's metrics of group DRO; the group's source and labels follow."""
CLASSIFYING = [ALL_TASKS.index(task) for task in (Task.HEALTH, Task.COVID)]


def with_both_classes(datasets: Sequence[str], labels: npt.NDArray[np.int8]) -> frozenset[str]:
    """Returns the sources with at least one image of label 1 and one of label 0."""
    found: dict[str, set[int]] = {}
    for name, label in zip(datasets, labels.tolist(), strict=True):
        found.setdefault(name, set()).add(label)
    return frozenset(name for name, values in found.items() if {0, 1} <= values)


def teaching(datasets: Sequence[str], labels: Labels, options: OptimConfig) -> frozenset[str]:
    """Returns the training sources from which the COVID-19 head learns.

    Args:
        datasets: source of each training image.
        labels: labels of each training image.
        options: `covid_from` and `other_from`.
    """
    sources = frozenset(datasets)
    if options.covid_from == "both_classes":
        sources &= with_both_classes(datasets, labels["covid"])
    if options.other_from == "both_classes":
        sources &= with_both_classes(datasets, labels["other"])
    return sources


def teaching_health(datasets: Sequence[str], labels: Labels, options: OptimConfig) -> frozenset[str]:
    """Returns the sources from which the health head learns, by `health_from`; see `teaching`."""
    if options.health_from == "both_classes":
        return with_both_classes(datasets, labels["unhealthy"])
    return frozenset(datasets)


def mark(training: FrameStore, validation: FrameStore, config: TrainConfig) -> list[str]:
    """Stores in both stores which images teach the classifying heads, and their groups; returns the groups' names.

    The validation loss, which chooses the best epoch, uses the switches of the training. Thresholds do not.
    """
    covid_from = teaching(training.datasets, training.labels, config.train)
    health_from = teaching_health(training.datasets, training.labels, config.train)
    groups = sorted({group for store in (training, validation) for group in _groups(store)})
    places = {group: place for place, group in enumerate(groups)}
    classes = sorted({labels for labels, _ in groups})
    names = sorted({source for _, source in groups})
    for store in (training, validation):
        store.teaches = np.array([name in covid_from for name in store.datasets], dtype=bool)
        if config.model.within_unhealthy:
            store.teaches &= store.labels["unhealthy"] == 1
        store.teaches_health = np.array([name in health_from for name in store.datasets], dtype=bool)
        numbers = [(places[group], names.index(group[1]), classes.index(group[0])) for group in _groups(store)]
        store.groups = np.array(numbers, dtype=np.int64).reshape(-1, 3)
    return [f"{source}_{'_'.join(map(str, labels))}" for labels, source in groups]


def _groups(store: FrameStore) -> list[tuple[tuple[int, ...], str]]:
    classes = zip(*(store.labels[name].tolist() for name in LABELS), strict=True)
    return list(zip(classes, store.datasets, strict=True))


Lessons = dict[str, dict[str, tuple[int, int]]]
"""Head -> source -> number of images from which it learns: (with the finding, without); for masks (annotated, 0)."""


def lessons(training: FrameStore, tasks: Sequence[str]) -> Lessons:
    """Counts which heads learn from which sources, for a store after `mark`."""
    datasets = np.array(training.datasets, dtype=str)
    found: Lessons = {}
    for task in map(Task, tasks):
        if task in MASK_TASKS:
            positive, negative = training.annotated(task), np.zeros(len(datasets), dtype=bool)
        else:
            name = "unhealthy" if task is Task.HEALTH else "covid"
            covid_taught = training.teaches & (training.labels["other"] >= 0)
            taught = covid_taught if task is Task.COVID else training.teaches_health
            positive, negative = ((training.labels[name] == value) & taught for value in (1, 0))
        counts = {
            str(s): (int(positive[datasets == s].sum()), int(negative[datasets == s].sum()))
            for s in np.unique(datasets)
        }
        found[str(task)] = {source: count for source, count in counts.items() if any(count)}
    return found


def lesson_lines(found: Lessons, options: OptimConfig) -> list[str]:
    """Says at the start of a training what each head learns from, and warns if the source reveals the disease."""
    lines = [f"{head} learns from: {in_words(head, counts)}" for head, counts in found.items()]
    health = found.get(str(Task.HEALTH), {})
    one_sided = [source for source, counts in health.items() if not all(counts)]
    if one_sided and options.health_from == "all":
        lines.append(
            f"NOTE: from {', '.join(one_sided)} the health head sees only one class, which teaches it the source: with "
            "--train.health_from both_classes it learns only from the other sources"
        )
    covid = found.get(str(Task.COVID))
    if not covid:
        return lines
    both = [source for source, counts in covid.items() if all(counts)]
    one = {source: counts for source, counts in covid.items() if not all(counts)}
    if not both:
        lines.append(
            "WARNING: no source has images with COVID-19 and images without it, so the COVID-19 head can learn the "
            "source of an image instead of the disease, and would then flag every other hospital: add images without "
            "COVID-19 of the same hospitals (docs/training.md, Which data, which recipe)"
        )
    elif one and options.covid_from == "all":
        lines.append(
            f"NOTE: from {', '.join(one)} the COVID-19 head sees only one class, which teaches it the source: with "
            "--train.covid_from both_classes it learns only from the other sources (docs/training.md, Which data, "
            "which recipe)"
        )
    return lines


def in_words(head: str, counts: Mapping[str, Sequence[int]]) -> str:
    """Describes the images of each source from which a head learns."""
    if not counts:
        return "no image"
    if Task(head) in MASK_TASKS:
        return ", ".join(f"{source} {annotated:,}" for source, (annotated, _) in counts.items())
    words = "unhealthy and {:,} healthy" if head == Task.HEALTH else "with COVID-19 and {:,} without"
    return ", ".join(f"{source} {one:,} {words.format(none)}" for source, (one, none) in counts.items())


def check(found: Lessons, config: TrainConfig) -> None:
    """Refuses a classifying head that would learn from no image.

    Raises:
        ConfigError: no source has images of both classes.
    """
    options = config.train
    if options.health_from == "both_classes" and found.get(str(Task.HEALTH)) == {}:
        raise ConfigError(
            "train.health_from both_classes: no source has healthy and unhealthy images, so the health head would "
            "learn from no image; expected one, or all: add healthy images of the same hospitals, or leave the head "
            "out (model.tasks)"
        )
    if config.model.within_unhealthy and found.get(str(Task.COVID)) == {}:
        raise ConfigError(
            "model.within_unhealthy: no image that is known to be unhealthy teaches the COVID-19 head; expected images "
            "with the labels unhealthy, covid and other, in sources that train.covid_from and other_from allow"
        )
    if (options.covid_from, options.other_from) != ("all", "all") and found.get(str(Task.COVID)) == {}:
        raise ConfigError(
            "train.covid_from or other_from both_classes: expected a source with images of both classes, got none, so "
            "the COVID-19 head would learn from no image: add images without the disease of the same hospitals, set "
            "the option to all, or leave the head out (model.tasks)"
        )


@dataclass
class GroupWeights:
    """Weights of groups that rise where the loss is large: group DRO (Sagawa et al., ICLR 2020, algorithm 1).

    A step uses the weights from earlier steps, whereas the algorithm updates them first. So no step waits for the
    losses of other workers before its gradient.

    Attributes:
        names: names of the groups.
        weight_G: (G,) weights with mean 1; each image's loss of the classification heads is multiplied by its group's
            weight.
        rate: step size of the exponential.
    """

    names: list[str]
    weight_G: Tensor
    rate: float

    @classmethod
    def begin(
        cls, rate: float, names: list[str], history: Sequence[EpochMetrics], device: torch.device
    ) -> "GroupWeights | None":
        """Returns the weights after the last epoch of `history`, or 1 for each group; None if the rate is 0."""
        if not rate:
            return None
        last = history[-1] if history else {}
        values = [float(last.get(f"{GROUP_WEIGHT}_{name}") or 1) for name in names]
        return cls(names, torch.tensor(values, dtype=torch.float64, device=device), rate)

    def figures(self) -> EpochMetrics:
        """Returns name -> weight for an epoch's metrics; a training that continues reads them from there."""
        return {f"{GROUP_WEIGHT}_{name}": value for name, value in zip(self.names, self.weight_G.tolist(), strict=True)}

    def weighted(self, loss_TB: Tensor, group_B: Tensor) -> Tensor:
        """Multiplies the losses of the classification heads by the weights of the images' groups."""
        factor_TB = torch.ones_like(loss_TB)
        factor_TB[CLASSIFYING] = self.weight_G[group_B].to(loss_TB.dtype)
        return loss_TB * factor_TB

    def renew(self, loss_TB: Tensor, group_B: Tensor, real_B: Tensor) -> None:
        """Updates the weights by the losses of a step, summed over all workers.

        Args:
            loss_TB: (4, B) unweighted losses of this worker's images.
            group_B: (B,) their groups.
            real_B: (B,) bool, whether an image counts; one that only keeps its worker in step does not.
        """
        groups = len(self.weight_G)
        loss_B = loss_TB.detach()[CLASSIFYING].sum(dim=0).double() * real_B
        zeros_2G = torch.zeros(2, groups, dtype=torch.float64, device=loss_TB.device)
        zeros_2G[0].index_add_(0, group_B, loss_B)
        zeros_2G[1].index_add_(0, group_B, real_B.double())
        sum_G, count_G = collective.sum_over_workers(zeros_2G)
        mean_G = sum_G / count_G.clamp(min=1)
        raised_G = self.weight_G * torch.exp(self.rate * mean_G)
        self.weight_G = raised_G * groups / raised_G.sum()


def source_distance(embedding_BE: Tensor, source_B: Tensor, class_B: Tensor) -> Tensor:
    """Measures how far sources lie apart among images of one class: squared distances of means and of covariances.

    Deep CORAL (Sun and Saenko, ECCV 2016 workshops, equation 1) compares covariances, as a mean over E x E entries. The
    distance of the means is added on the same scale, as a mean over E. Only images of one class are compared, so that a
    class that occurs in a single source has no effect. Embeddings are first divided by their root mean square, because
    the network could otherwise reduce the penalty by making all of them small.

    Args:
        embedding_BE: (B, E) embeddings of a batch.
        source_B: (B,) number of each image's source.
        class_B: (B,) number of each image's class.

    Returns:
        A scalar, the mean over pairs of sources with at least two images of one class; 0 without such a pair.
    """
    values_BE = embedding_BE.float()
    values_BE = values_BE / values_BE.detach().square().mean().sqrt().clamp(min=1e-6)
    found = [values_BE.sum() * 0]
    for one in torch.unique(class_B).tolist():
        of_class_B = class_B == one
        sources = torch.unique(source_B[of_class_B]).tolist()
        parts = [values_BE[of_class_B & (source_B == source)] for source in sources]
        parts = [part for part in parts if len(part) >= 2]
        for at, first in enumerate(parts):
            for second in parts[at + 1 :]:
                means = (first.mean(dim=0) - second.mean(dim=0)).square().mean()
                covariances = (torch.cov(first.T) - torch.cov(second.T)).square().mean()
                found.append(means + covariances)
    return torch.stack(found).sum() / max(1, len(found) - 1)
