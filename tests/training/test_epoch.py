from typing import Any

import numpy as np
import pytest
import torch

from comit_ray.config.train_config import ModelConfig, TrainConfig
from comit_ray.data.masks.mask_images import IGNORE
from comit_ray.models.registry import build_model
from comit_ray.training.batches import Batch, unlabelled
from comit_ray.training.epoch import make_optimiser, train_epoch, validate
from comit_ray.training.losses import Objective, predict
from comit_ray.training.validation import merge

CPU = torch.device("cpu")
SIDE = 32
"""Pixels of a frame: the smallest that the network takes."""


def config(speed: dict[str, Any] | None = None, **train: Any) -> TrainConfig:
    model = {"width": 0.0625, "weights": "none"}
    values = {"data": "d", "storage": "s", "name": "n", "model": model, "speed": speed or {}, "train": train}
    return TrainConfig.parse(values, origin="test")


def images(count: int, seed: int = 0) -> Batch:
    """Odd images are COVID-19: their upper or lower half is bright, and it is the lung. Even ones have no mask."""
    generator = torch.Generator().manual_seed(seed)
    covid = torch.arange(count) % 2
    frames = torch.randint(0, 60, (count, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    masks = torch.full((count, 2, SIDE, SIDE), IGNORE, dtype=torch.uint8)
    for i in range(1, count, 2):
        half = slice(0, SIDE // 2) if i % 4 == 1 else slice(SIDE // 2, SIDE)
        frames[i, half] += 150
        masks[i, 0] = 0
        masks[i, 0, half] = 1
    zeros = torch.zeros(count, dtype=torch.int64)
    return Batch(frames, masks, covid, covid, 1 - covid, zeros, torch.arange(count))


def trained(options: TrainConfig, epochs: int) -> tuple[torch.nn.Module, list[float]]:
    torch.manual_seed(options.train.seed)
    model = build_model(options.model)
    objective, optimiser = Objective(model, options), make_optimiser(model, options.train, fused=True)
    losses = []
    for epoch in range(epochs):
        batches = [images(8, 4 * epoch + i) for i in range(4)]
        sums, _ = train_epoch(objective, optimiser, batches, [options.train.lr] * 4, options, CPU)
        losses.append(float(sums.metrics("train", options.loss)["train_loss"] or 0))
    return model, losses


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_learns_and_counts(precision) -> None:
    options = config(lr=3e-3, precision=precision)
    model, losses = trained(options, 20)
    assert losses[-1] < losses[0] / 3
    result = validate(model, [images(8, 99)], options, CPU)
    figures = result.metrics(options.loss)
    assert figures["val_auroc_covid"] == figures["val_auroc_unhealthy"] == 1
    assert figures["val_lung_iou"] is not None
    assert figures["val_lung_iou"] > 0.7
    assert len(result.ious["lung"]) == 4
    assert result.losses.active_T.tolist() == [4, 0, 8, 8]
    assert figures["val_loss_disease"] is None


def test_the_same_seed_gives_the_same_losses() -> None:
    assert trained(config(lr=1e-3), 2)[1] == trained(config(lr=1e-3), 2)[1]
    assert trained(config(lr=1e-3), 2)[1] != trained(config(lr=1e-3, seed=1), 2)[1]


def test_validation_is_the_same_in_any_batches_and_by_any_workers() -> None:
    options = config()
    model, _ = trained(options, 1)
    batch = images(6)
    parts = [
        Batch(*(t[rows] for t in vars(batch).values() if t is not None))
        for rows in (slice(0, 1), slice(1, 4), slice(4, 6))
    ]
    whole = validate(model, [batch], options, CPU)
    workers = merge([validate(model, parts[:2], options, CPU), validate(model, parts[2:], options, CPU)])
    nobody = merge([whole, validate(model, [], options, CPU)])
    for other in (workers, nobody):
        for log_odds in (False, True):
            np.testing.assert_allclose(other.known("covid", log_odds)[0], whole.known("covid", log_odds)[0], rtol=1e-3)
        assert other.known("covid")[1].tolist() == whole.known("covid")[1].tolist() == [0, 1, 0, 1, 0, 1]
        np.testing.assert_allclose(other.losses.loss_T, whole.losses.loss_T, rtol=1e-4)


def test_validation_leaves_the_model_as_it_is() -> None:
    model, _ = trained(config(), 1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    validate(model, [images(4)], config(), CPU)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_model_of_one_head_has_no_other_figures() -> None:
    options = config().model_copy(update={"model": config().model.model_copy(update={"tasks": ("covid",)})})
    model = build_model(options.model)
    figures = validate(model, [images(4)], options, CPU).metrics(options.loss)
    assert "val_auroc_unhealthy" not in figures
    assert "val_lung_iou" not in figures


def test_one_image_at_the_smallest_frame_can_be_trained_on() -> None:
    options = config()
    model = build_model(options.model)
    optimiser = torch.optim.Adam(model.parameters())
    assert train_epoch(Objective(model, options), optimiser, [images(1)], [1e-3], options, CPU)[0].images == 1


def test_scores_are_float32_whatever_the_precision() -> None:
    model = build_model(config().model).eval()
    assert predict(model, images(2), "bfloat16").p_covid.dtype == torch.float32


def test_each_image_is_counted_and_a_stand_in_is_not() -> None:
    options = config()
    model = build_model(options.model)
    batches = [images(4), images(3), unlabelled(images(1))]
    optimiser = torch.optim.Adam(model.parameters())
    sums, seconds = train_epoch(Objective(model, options), optimiser, batches, [1e-3] * 3, options, CPU)
    assert set(seconds) == {"waiting", "forward", "backward", "optimiser"}
    assert all(value > 0 for value in seconds.values())
    assert sums.images == sums.metrics("train", options.loss)["train_images"] == 7


def weights_after_a_step(**options: Any) -> dict[str, torch.Tensor]:
    """With plain gradient descent at rate 1 the weights' change is the gradient."""
    chosen = config(lr=1.0, optimiser="sgd", momentum=0.0, batch_norm="frozen", **options)
    torch.manual_seed(0)
    model = build_model(chosen.model)
    optimiser = make_optimiser(model, chosen.train, fused=False)
    train_epoch(Objective(model, chosen), optimiser, [images(7)], [1.0], chosen, CPU)
    return model.state_dict()


@pytest.mark.parametrize("parts", [2, 3, 7, 16])
def test_a_step_in_parts_has_the_gradient_of_the_whole(parts) -> None:
    """Some parts hold no mask at all; every loss is still the mean over the active images of the whole step."""
    whole, accumulated = weights_after_a_step(), weights_after_a_step(accumulate=parts)
    for name, value in whole.items():
        torch.testing.assert_close(accumulated[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_frozen_statistics_stay_and_others_move() -> None:
    def moved(batch_norm: str) -> bool:
        options = config(batch_norm=batch_norm)
        torch.manual_seed(0)
        model = build_model(options.model)
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        train_epoch(
            Objective(model, options), make_optimiser(model, options.train, False), [images(4)], [0], options, CPU
        )
        return any(not torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())

    assert moved("per_worker")
    assert not moved("frozen")


def test_the_memory_layout_changes_no_gradient_but_by_rounding() -> None:
    last, first = weights_after_a_step(), weights_after_a_step(speed={"channels_last": False})
    for name, value in last.items():
        # A bias' gradient is a sum over all pixels of terms that cancel: up to 0.02, and rounded by up to 0.0001.
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=2e-4, msg=name)


class InstanceModel(torch.nn.Module):
    """A network with a loss of its own: the mean over images of weight times lung pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def instance_loss(self, x_B3HW: torch.Tensor, mask_BHW: torch.Tensor) -> torch.Tensor:
        known = (mask_BHW != IGNORE).flatten(1).any(dim=1)
        return self.weight * (mask_BHW[known] == 1).float().mean() if known.any() else 0 * self.weight


def test_a_network_with_its_own_loss_is_asked_for_it() -> None:
    options = config().model_copy(update={"model": ModelConfig(tasks=("lung",), weights="none")})
    objective = Objective(InstanceModel(), options)
    loss_TB = objective(images(4))
    assert loss_TB.tolist() == [[0, 0.5, 0, 0.5], [0] * 4, [0] * 4, [0] * 4]
    objective(unlabelled(images(2))).sum().backward()
    assert objective.model.weight.grad.item() == 0
