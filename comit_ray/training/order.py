"""Which image goes into which step: one global plan an epoch, the same for any number of workers.

Rank r takes its slice of each global batch, so every item is seen exactly once an epoch, and one worker or eight see
the same batches.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

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


def global_batches(order: Items, batch_size: int) -> list[Items]:
    """`order` cut into the fewest batches of at most `batch_size`, whose sizes differ by one at most.

    Even batches rather than a short last one: batch normalisation learns little from a single image.
    """
    return np.array_split(order, -(-len(order) // batch_size)) if len(order) else []


def share(batch: Items, rank: int, world_size: int) -> Items:
    """This worker's slice of a global batch. Lower ranks get the odd ones: rank 0 is never empty, others may be."""
    return np.array_split(batch, world_size)[rank]
