"""Batches of training images as tensors: which image comes in which step, and how a batch is made.

There is one global plan per epoch, the same for any number of workers. Rank r takes its slice of each global batch. So
every item occurs exactly once per epoch, and one worker or eight see the same batches.
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
"""(N, 2) index of the image, and of its copy (`comit_ray.training.augmentation.COPIES`)."""


def items(copies: npt.NDArray[np.int64]) -> Items:
    """Returns every image with each of its copies; `copies` is the number of copies of each image."""
    images = np.repeat(np.arange(len(copies)), copies)
    return np.stack([images, np.concatenate([np.arange(n) for n in copies])], axis=1).astype(np.int64)


def shuffled(everything: Items, seed: int, epoch: int) -> Items:
    """Returns `everything` in the order of this seed and epoch."""
    return everything[np.random.default_rng([seed, epoch]).permutation(len(everything))]


def balanced(everything: Items, groups: Sequence[Hashable], seed: int, epoch: int) -> Items:
    """Draws as many items as `everything` has, with replacement, so that every group of images is equally frequent.

    Args:
        everything: result of `items`.
        groups: group of each image; the items of a group share its probability equally.
        seed: seed of the training.
        epoch: number of the epoch, from 0.
    """
    _, group_of_image = np.unique([repr(group) for group in groups], return_inverse=True)
    group_of_item = group_of_image[everything[:, 0]]
    sizes = np.bincount(group_of_item)
    chances = 1 / (sizes[group_of_item] * np.count_nonzero(sizes))
    drawn = np.random.default_rng([seed, epoch]).choice(len(everything), size=len(everything), p=chances)
    return everything[drawn]


def copies_of(store: FrameStore, config: TrainConfig) -> npt.NDArray[np.int64]:
    """Returns the copies per epoch of each training image: six with COVID-19 (section 3.1), otherwise one."""
    with_covid = len(COPIES) if config.train.augment_covid else 1
    return np.where(store.labels["covid"] == 1, with_covid, 1).astype(np.int64)


def groups_of(store: FrameStore, config: TrainConfig) -> list[tuple[Any, ...]] | None:
    """Returns the group of each image for balancing the groups; None: images are not balanced."""
    if config.train.balance == "none":
        return None
    labels = zip(*(store.labels[name].tolist() for name in LABELS), strict=True)
    by_class = [tuple(values) if "class" in config.train.balance else () for values in labels]
    by_source = [(name,) if "source" in config.train.balance else () for name in store.datasets]
    return [(*label, *source) for label, source in zip(by_class, by_source, strict=True)]


def global_batches(order: Items, batch_size: int) -> list[Items]:
    """Divides `order` into the fewest batches of at most `batch_size`, whose sizes differ by at most one.

    Even batches are better than a short last one, because batch normalisation learns little from a single image.
    """
    return np.array_split(order, -(-len(order) // batch_size)) if len(order) else []


def share(batch: Items, rank: int, world_size: int) -> Items:
    """Returns this worker's slice of a global batch.

    Lower ranks get the remainder: rank 0 is never empty, other ranks may be.
    """
    return np.array_split(batch, world_size)[rank]


ON_HOST = ("copy_B", "index_B")


@dataclass(frozen=True)
class Batch:
    """Images and their labels and masks.

    Attributes:
        frames_BHW: (B, H, W) uint8.
        masks_BMHW: (B, 2, H, W) uint8, in the order of `MASK_TASKS`: 0, 1, or 255 for unknown; all 255 without a mask.
        unhealthy_B: (B,) int64: 1, 0, or -1 for unknown.
        covid_B: as `unhealthy_B`.
        other_B: as `unhealthy_B`.
        copy_B: (B,) int64, index into `comit_ray.training.augmentation.COPIES`.
        index_B: (B,) int64, place in the store; -1 for an image that only keeps its worker in step.
        variation_BP: (B, 5) result of `comit_ray.training.augmentation.draw`; None: no variation.
        teaches_B: (B,) bool, whether the COVID-19 head learns from an image; None: it learns from all.
        teaches_health_B: (B,) bool, the same for the health head.
        group_B3: (B, 3) int64, group, source and class of each image (`comit_ray.training.sources`); None: not given.
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
        """Returns the batch on `device`, except `copy_B` and `index_B`: reading them from a GPU would wait for it.

        A copy to a GPU uses pinned memory, so that it does not block the host.
        """
        pinned = self._map(Tensor.pin_memory, ON_HOST) if device.type == "cuda" else self
        return pinned._map(lambda tensor: tensor.to(device, non_blocking=True), ON_HOST)

    def parts(self, count: int) -> list[Self]:
        """Divides the batch into `count` parts of about equal size, or into single images if it has fewer."""
        count = min(count, len(self))
        cuts = [len(self) * i // count for i in range(count + 1)]
        return [self._map(lambda tensor, a=a, b=b: tensor[a:b]) for a, b in pairwise(cuts)]  # type: ignore[misc]

    def augmented(self) -> Self:
        """Moves each image and its masks as its copy requires, then applies its variation if it has one."""
        frames, masks = augment(self.frames_BHW, self.masks_BMHW, self.copy_B)
        if self.variation_BP is not None:
            frames, masks = vary(frames, masks, self.variation_BP)
        return replace(self, frames_BHW=frames, masks_BMHW=masks)

    def mask_BHW(self, task: Task) -> Tensor:
        """Returns the lung or disease masks."""
        return self.masks_BMHW[:, MASK_TASKS.index(task)]


def collate(store: FrameStore, chosen: Items) -> Batch:
    """Makes a batch of the items `chosen` (B, 2: index, copy); B is at least 1."""
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
    """Returns the same images without labels or masks: they change no weight and are not counted."""
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
    """Yields this worker's batch of each step.

    A worker without an image in a step takes the step's first image without its labels. Its gradient is zero, and it
    stays in step with the others. (Rank 0, which is never empty, overwrites its batch norm statistics.)

    Args:
        store: the training frames.
        steps: global batch of each step.
        shares: this worker's part of each global batch.
        variation: seed and epoch for random variation of every image; None: no variation.
        prefetch: number of batches that a thread makes ahead; 0: each is made on demand.
        appearance: changes the appearance of a batch's images (`appearance_of`); None: no change.
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
    """Returns the function that changes the appearance of images in `epoch`; None if nothing is to be changed."""
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
        # One more than requested, because the batch in use is no longer ahead.
        yield from map_ahead(thread, lambda item: make(*item), wanted, prefetch + 1)


def validation_batches(
    store: FrameStore, rank: int, world_size: int, batch_size: int, prefetch: int = 0
) -> Iterator[Batch]:
    """Yields every `world_size`-th image from `rank` on, so that each image is seen by exactly one worker."""
    mine = np.arange(rank, len(store), world_size)
    images = np.stack([mine, np.zeros_like(mine)], axis=1)
    parts = [(store, images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
    return _ahead(collate, parts, prefetch)
