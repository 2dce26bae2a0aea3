"""What a checkpoint is to remember of its data: a pass over some of its images, shared by the workers."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from comit_ray.checkpoint import reference
from comit_ray.checkpoint.reference import Reference, Sample
from comit_ray.config.train_config import TrainConfig
from comit_ray.data.images.frame import STATISTICS, statistics
from comit_ray.prepare.frames import FrameStore
from comit_ray.training import collective
from comit_ray.training.batches import collate
from comit_ray.training.objective import predict
from comit_ray.training.validation import Validation


def remember(
    model: nn.Module,
    training: FrameStore,
    validation: FrameStore,
    scored: Validation,
    config: TrainConfig,
    device: torch.device,
) -> Reference:
    """The reference of a network between epochs; the same on all workers, each of which embeds its part.

    Args:
        model: the bare network; it is left in evaluation mode.
        training: its training frames, as they are, not augmented.
        validation: its validation frames.
        scored: of all validation frames.
        config: of the training.
        device: the model's.
    """
    seed = config.train.seed
    batch = max(1, config.train.batch_size // collective.world_size())
    drawn = _drawn(training, seed)
    embeddings_NC, pixels_NP = _embedded(model, training, drawn, batch, config, device)
    embeddings_MC, _ = _embedded(model, validation, _drawn(validation, seed), batch, config, device)
    sample = Sample(
        embeddings_NC,
        dict(zip(STATISTICS, pixels_NP.T, strict=True)),
        [f"{training.datasets[i]} {training.views[i]}" for i in drawn],
        [training.patients[i] for i in drawn],
    )
    return reference.make(
        sample,
        embeddings_MC,
        {name: np.concatenate(values) for name, values in scored.scores.items()},
        training.views,
        training.datasets,
        validation.patients,
    )


def _drawn(store: FrameStore, seed: int) -> npt.NDArray[np.int64]:
    """At most `reference.SAMPLE` places in the store, rising."""
    return np.sort(np.random.default_rng(seed).permutation(len(store))[: reference.SAMPLE])


@torch.no_grad()
def _embedded(
    model: nn.Module,
    store: FrameStore,
    drawn: npt.NDArray[np.int64],
    size: int,
    config: TrainConfig,
    device: torch.device,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Embeddings and statistics of pixels of the frames `drawn`, in batches of `size`, which the workers share."""
    model.eval()
    batches = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    mine: dict[int, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = {}
    for number in range(collective.rank(), len(batches), collective.world_size()):
        chosen = batches[number]
        batch = collate(store, np.stack([chosen, np.zeros_like(chosen)], axis=1))
        output = predict(model, batch.to(device), "float32", config.speed.channels_last)
        pixels = statistics(batch.frames_BHW.numpy())
        mine[number] = output.embedding.float().cpu().numpy(), np.stack([pixels[name] for name in STATISTICS], axis=1)
    every = dict(sorted(item for part in collective.gather(mine) for item in part.items()))
    embeddings, pixels_of = zip(*every.values(), strict=True)
    return np.concatenate(embeddings), np.concatenate(pixels_of)
