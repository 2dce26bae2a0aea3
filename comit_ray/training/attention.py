"""Keeps the evidence for COVID-19 inside annotated lungs: with other surroundings an image must have the same score.

Of every image with annotated lungs a copy is made that has its own lungs, and around them what another image of the
batch shows. The penalty is the squared difference of the COVID-19 log-odds of the two, plus the copy's own COVID-19
loss, without which small log-odds would be the easiest answer. So neither a printed mark, nor borders, nor shoulders
should decide a score.

The annotation is a region whose outside may change without changing the prediction, as in Heo et al., "Use
Perturbations when Learning from Explanations", NeurIPS 2023. Here the change is the surroundings of another image, as
in Xiao et al., "Noise or Signal", ICLR 2021. The squared difference of log-odds is that of Kannan et al., "Adversarial
Logit Pairing", arXiv:1803.06373. Penalties on heat maps were tried first and did less (docs/design.md, decision 65).
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import ConfigError
from comit_ray.models.outputs import COVID, ModelOutput
from comit_ray.tables.vocabulary import ALL_TASKS, Task
from comit_ray.training.appearance import LUNG_MARGIN
from comit_ray.training.batches import Batch
from comit_ray.training.sources import Lessons


def takes_part(batch: Batch) -> Tensor:
    """Returns (B,) bool: whether an image has annotated lungs, at least one pixel of them."""
    found: Tensor = (batch.mask_BHW(Task.LUNG) == 1).any(dim=2).any(dim=1)
    return found


def with_copies(batch: Batch) -> tuple[Batch, Tensor]:
    """Adds to a batch a copy, with other surroundings, of every image that takes part.

    A pixel of the copy is the image's own if it lies in the lungs, nearer to them than the margin of `surroundings`
    (4% of the side), or where the annotation is unknown. Others are those of the next image of the batch, the first
    one after the last.

    Returns:
        The batch with the copies behind its images, without labels, and (N,) the places of their originals.
    """
    places_N = takes_part(batch).nonzero()[:, 0]
    lungs_BHW = batch.mask_BHW(Task.LUNG)[places_N] != 0  # 1, or 255 for unknown
    reach = max(1, round(LUNG_MARGIN * lungs_BHW.shape[-1]))
    near_BHW = F.max_pool2d(lungs_BHW.unsqueeze(1).float(), 2 * reach + 1, stride=1, padding=reach)[:, 0] > 0
    own_BHW, others_BHW = batch.frames_BHW[places_N], batch.frames_BHW[(places_N + 1) % len(batch)]
    copies_BHW = torch.where(near_BHW, own_BHW, others_BHW)
    return replace(batch, frames_BHW=torch.cat([batch.frames_BHW, copies_BHW])), places_N


def divided(output: ModelOutput, count: int) -> tuple[ModelOutput, ModelOutput]:
    """Divides the output for the frames of `with_copies` into that of its `count` images, and that of the copies."""
    return _part(output, slice(count)), _part(output, slice(count, None))


def _part(output: ModelOutput, rows: slice) -> ModelOutput:
    heads = {name: getattr(output, name) for name in ALL_TASKS}
    of_rows = {str(name): None if values is None else values[rows] for name, values in heads.items()}
    return ModelOutput(**of_rows, embedding=output.embedding[rows])


def penalty(images: ModelOutput, copies: ModelOutput, places_N: Tensor, covid_B: Tensor, taught_B: Tensor) -> Tensor:
    """Computes the penalty of each image, before its weight.

    Args:
        images: output of the model for the images.
        copies: output for the copies, in the same pass.
        places_N: places of the copies' originals.
        covid_B: (B,) 1, 0, or -1 for unknown.
        taught_B: (B,) bool, whether the COVID-19 head learns from an image; of others a copy has no loss of its own.

    Returns:
        (B,) squared difference of the COVID-19 log-odds, plus the cross-entropy of the copy; 0 without a copy.
    """
    assert images.covid is not None, "a model without this head is refused"
    assert copies.covid is not None
    own_N, moved_N = images.covid[places_N, COVID].float(), copies.covid[:, COVID].float()
    truth_N = covid_B[places_N].clamp(min=0).float()
    loss_N = F.binary_cross_entropy_with_logits(moved_N, truth_N, reduction="none") * taught_B[places_N]
    found_B: Tensor = torch.zeros(len(covid_B), device=moved_N.device)
    return found_B.index_add(0, places_N, (own_N - moved_N).square() + loss_N)


def lines(lessons: Lessons, config: TrainConfig) -> list[str]:
    """Says at the start of a training how many images take part; nothing if the option is off."""
    count = _annotated(lessons)
    return [f"attention: {count:,} images with annotated lungs take part"] if config.loss.attention else []


def check(lessons: Lessons, config: TrainConfig) -> None:
    """Refuses a training in which the option would do nothing.

    Raises:
        ConfigError: the option is on, and no training image has annotated lungs.
    """
    if config.loss.attention and not _annotated(lessons):
        raise ConfigError(
            "loss.attention: no training image has annotated lungs, so it would change nothing; expected a manifest "
            "with lung_mask, or 0"
        )


def _annotated(lessons: Lessons) -> int:
    return sum(annotated for annotated, _ in lessons.get(str(Task.LUNG), {}).values())
