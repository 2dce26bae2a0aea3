"""Batches of tensors from the training frames.

Which image goes into which step: one global plan an epoch, the same for any number of workers.

Rank r takes its slice of each global batch, so every item is seen exactly once an epoch, and one worker or eight see
the same batches.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from comit_ray.config.train_config import OptimConfig, TrainConfig
from comit_ray.data.masks.mask_images import IGNORE
from comit_ray.prepare.frames import LABELS, FrameStore
from comit_ray.storage.threads import map_ahead
from comit_ray.tables.vocabulary import MASK_TASKS, Task
from comit_ray.training.appearance import vary_appearance
from comit_ray.training.augmentation import COPIES, augment, draw, vary

Items = npt.NDArray[np.int64]
"""(N, 2): index of the image, and of its copy (`comit_ray.training.augmentation.COPIES`)."""


def items(copies: npt.NDArray[np.int64]) -> Items:
    """Every image with every copy it has; `copies` is the number of copies of each image."""
    images = np.repeat(np.arange(len(copies)), copies)
    return np.stack([images, np.concatenate([np.arange(n) for n in copies])], axis=1).astype(np.int64)


def shuffled(everything: Items, seed: int, epoch: int) -> Items:
    """`everything` in the order of this seed and epoch."""
    return everything[np.random.default_rng([seed, epoch]).permutation(len(everything))]


def balanced(everything: Items, groups: Sequence[Hashable], seed: int, epoch: int) -> Items:
    """As many items as `everything` has, drawn with replacement so that every group of images comes equally often.

    Args:
        everything: of `items`.
        groups: the group of each image; a group's items share its chance equally.
        seed: of the training.
        epoch: from 0.
    """
    _, group_of_image = np.unique([repr(group) for group in groups], return_inverse=True)
    group_of_item = group_of_image[everything[:, 0]]
    sizes = np.bincount(group_of_item)
    chances = 1 / (sizes[group_of_item] * np.count_nonzero(sizes))
    drawn = np.random.default_rng([seed, epoch]).choice(len(everything), size=len(everything), p=chances)
    return everything[drawn]


def copies_of(store: FrameStore, config: TrainConfig) -> npt.NDArray[np.int64]:
    """Copies an epoch of each training image: six of one with COVID-19 (section 3.1), else one."""
    with_covid = len(COPIES) if config.train.augment_covid else 1
    return np.where(store.labels["covid"] == 1, with_covid, 1).astype(np.int64)


def groups_of(store: FrameStore, config: TrainConfig) -> list[tuple[Any, ...]] | None:
    """The group of each image that is to come as often as the others; None: images come as they are."""
    if config.train.balance == "none":
        return None
    labels = zip(*(store.labels[name].tolist() for name in LABELS), strict=True)
    by_class = [tuple(values) if "class" in config.train.balance else () for values in labels]
    by_source = [(name,) if "source" in config.train.balance else () for name in store.datasets]
    return [(*label, *source) for label, source in zip(by_class, by_source, strict=True)]


def global_batches(order: Items, batch_size: int) -> list[Items]:
    """`order` cut into the fewest batches of at most `batch_size`, whose sizes differ by one at most.

    Even batches rather than a short last one: batch normalisation learns little from a single image.
    """
    return np.array_split(order, -(-len(order) // batch_size)) if len(order) else []


def share(batch: Items, rank: int, world_size: int) -> Items:
    """This worker's slice of a global batch. Lower ranks get the odd ones: rank 0 is never empty, others may be."""
    return np.array_split(batch, world_size)[rank]


ON_HOST = ("copy_B", "index_B")


@dataclass(frozen=True)
class Batch:
    """Images and what is known of them.

    Attributes:
        frames_BHW: uint8.
        masks_BMHW: uint8 (B, 2, H, W), as `MASK_TASKS`: 0, 1, or 255 where unknown; all 255 if there is no mask.
        unhealthy_B: int64, 1, 0, or -1 where unknown.
        covid_B: as `unhealthy_B`.
        other_B: as `unhealthy_B`.
        copy_B: int64, index into `comit_ray.training.augmentation.COPIES`.
        index_B: int64, place in the store; -1 for an image that only keeps its worker in step.
        variation_BP: of `comit_ray.training.augmentation.draw`; None: none.
        teaches_B: bool, whether the COVID-19 head learns from an image; None: from all.
        teaches_health_B: the same for the health head.
        group_B3: int64, group, source and class of each image (`comit_ray.training.sources`); None: not told.
    """

    frames_BHW: Tensor
    masks_BMHW: Tensor
    unhealthy_B: Tensor
    covid_B: Tensor
    other_B: Tensor
    copy_B: Tensor
    index_B: Tensor
    variation_BP: Tensor | None = None
    teaches_B: Tensor | None = None
    teaches_health_B: Tensor | None = None
    group_B3: Tensor | None = None

    def __len__(self) -> int:
        return len(self.frames_BHW)

    def _map(self, change: Callable[[Tensor], Tensor], but: Collection[str] = ()) -> Self:
        tensors = {name: tensor for name, tensor in vars(self).items() if tensor is not None and name not in but}
        return replace(self, **{name: change(tensor) for name, tensor in tensors.items()})

    def to(self, device: torch.device) -> Self:
        """The same on `device`, but `copy_B` and `index_B`, which the host asks: asking a GPU would wait for it.

        To a GPU by pinned memory, so that the copy does not hold up the host.
        """
        pinned = self._map(Tensor.pin_memory, ON_HOST) if device.type == "cuda" else self
        return pinned._map(lambda tensor: tensor.to(device, non_blocking=True), ON_HOST)

    def parts(self, count: int) -> list[Self]:
        """The batch cut into `count` parts of about one size, or into single images where there are fewer."""
        count = min(count, len(self))
        cuts = [len(self) * i // count for i in range(count + 1)]
        return [self._map(lambda tensor, a=a, b=b: tensor[a:b]) for a, b in pairwise(cuts)]  # type: ignore[misc]

    def augmented(self) -> Self:
        """Each image moved as its copy says, then varied if it has a variation; its masks with it."""
        frames, masks = augment(self.frames_BHW, self.masks_BMHW, self.copy_B)
        if self.variation_BP is not None:
            frames, masks = vary(frames, masks, self.variation_BP)
        return replace(self, frames_BHW=frames, masks_BMHW=masks)

    def mask_BHW(self, task: Task) -> Tensor:
        """The lung or disease masks."""
        return self.masks_BMHW[:, MASK_TASKS.index(task)]


def collate(store: FrameStore, chosen: Items) -> Batch:
    """The images of `chosen` (B, 2: index, copy); B is at least 1."""
    indices = chosen[:, 0]
    frames = np.stack([store.pixels_HW(i) for i in indices])
    masks = np.full((len(chosen), len(MASK_TASKS), store.size, store.size), IGNORE, dtype=np.uint8)
    for place, index in enumerate(indices):
        for channel, task in enumerate(MASK_TASKS):
            mask = store.mask_HW(index, task)
            if mask is not None:
                masks[place, channel] = mask
    unhealthy, covid, other = (
        torch.from_numpy(store.labels[name][indices].astype(np.int64)) for name in ("unhealthy", "covid", "other")
    )
    return Batch(
        torch.from_numpy(frames),
        torch.from_numpy(masks),
        unhealthy,
        covid,
        other,
        torch.from_numpy(chosen[:, 1].copy()),
        torch.from_numpy(indices.copy()),
        teaches_B=torch.from_numpy(store.teaches[indices]),
        teaches_health_B=torch.from_numpy(store.teaches_health[indices]),
        group_B3=torch.from_numpy(store.groups[indices]),
    )


def unlabelled(batch: Batch) -> Batch:
    """The same images with nothing known of them: they move no weight and are not counted."""
    unknown = torch.full_like(batch.unhealthy_B, -1)
    masks = torch.full_like(batch.masks_BMHW, IGNORE)
    return replace(
        batch, masks_BMHW=masks, unhealthy_B=unknown, covid_B=unknown, other_B=unknown, index_B=unknown.clone()
    )


def training_batches(
    store: FrameStore,
    steps: list[Items],
    shares: list[Items],
    variation: tuple[int, int] | None = None,
    prefetch: int = 0,
    appearance: Callable[[Batch, Items], Batch] | None = None,
) -> Iterator[Batch]:
    """This worker's batch of each step.

    A worker without an image in a step takes the step's first without its labels: its gradient is zero, and it stays
    in step with the others. (Its batch norm statistics are overwritten by rank 0's, which is never empty.)

    Args:
        store: the training frames.
        steps: the global batch of each step.
        shares: this worker's part of each.
        variation: a seed and an epoch: every image varied at random; None: not.
        prefetch: batches a thread makes ahead of those that were taken; 0: each is made when it is asked for.
        appearance: changes how a batch's images look (`appearance_of`); None: they stay as they are.
    """

    def make(step: Items, mine: Items) -> Batch:
        batch = collate(store, mine) if len(mine) else unlabelled(collate(store, step[:1]))
        if appearance is not None and len(mine):
            batch = appearance(batch, mine)
        if variation is not None:
            parameters = draw(*variation, mine if len(mine) else step[:1])
            batch = replace(batch, variation_BP=torch.from_numpy(parameters))
        return batch

    return _ahead(make, zip(steps, shares, strict=True), prefetch)


def appearance_of(options: OptimConfig, epoch: int) -> Callable[[Batch, Items], Batch] | None:
    """What changes the appearance of a batch's images in `epoch`; None where nothing is to be changed."""
    if not options.appearance:
        return None

    def change(batch: Batch, mine: Items) -> Batch:
        frames = []
        for frame_HW, masks_MHW, item in zip(batch.frames_BHW.numpy(), batch.masks_BMHW.numpy(), mine, strict=True):
            lungs_HW = masks_MHW[MASK_TASKS.index(Task.LUNG)]
            key = [options.seed, epoch, *item.tolist()]
            frames.append(vary_appearance(frame_HW, lungs_HW, options.appearance, options.appearance_chance, key))
        return replace(batch, frames_BHW=torch.from_numpy(np.stack(frames)))

    return change


def _ahead(make: Callable[..., Batch], wanted: Iterable[tuple[Any, ...]], prefetch: int) -> Iterator[Batch]:
    if not prefetch:
        yield from (make(*item) for item in wanted)
        return
    with ThreadPoolExecutor(max_workers=1) as thread:
        # One more than asked for: the one that is given is no longer ahead.
        yield from map_ahead(thread, lambda item: make(*item), wanted, prefetch + 1)


def validation_batches(
    store: FrameStore, rank: int, world_size: int, batch_size: int, prefetch: int = 0
) -> Iterator[Batch]:
    """Every `world_size`-th image from `rank`: all are seen, each by one worker."""
    mine = np.arange(rank, len(store), world_size)
    images = np.stack([mine, np.zeros_like(mine)], axis=1)
    parts = [(store, images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
    return _ahead(collate, parts, prefetch)
