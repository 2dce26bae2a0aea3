from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from comit_ray.data.masks import IGNORE
from comit_ray.models.registry import build_model
from comit_ray.train_config import OptimConfig, TrainConfig
from comit_ray.training.batches import Batch, unlabelled
from comit_ray.training.loop import learning_rate, predict, train_epoch, validate
from comit_ray.training.scores import merge

CPU = torch.device("cpu")


def config(**train: Any) -> TrainConfig:
    values = {"data": "d", "storage": "s", "name": "n", "model": {"width": 0.0625, "weights": "none"}, "train": train}
    return TrainConfig.parse(values, origin="test")


def images(count: int, seed: int = 0) -> Batch:
    """Odd images are COVID-19: their upper or lower half is bright, and it is the lung. Even ones have no mask."""
    generator = torch.Generator().manual_seed(seed)
    covid = torch.arange(count) % 2
    frames = torch.randint(0, 60, (count, 64, 64), dtype=torch.uint8, generator=generator)
    masks = torch.full((count, 2, 64, 64), IGNORE, dtype=torch.uint8)
    for i in range(1, count, 2):
        half = slice(0, 32) if i % 4 == 1 else slice(32, 64)
        frames[i, half] += 150
        masks[i, 0] = 0
        masks[i, 0, half] = 1
    zeros = torch.zeros(count, dtype=torch.int64)
    return Batch(frames, masks, covid, covid, 1 - covid, zeros, torch.arange(count))


def trained(options: TrainConfig, epochs: int) -> tuple[torch.nn.Module, list[float]]:
    torch.manual_seed(options.train.seed)
    model = build_model(options.model)
    optimiser = torch.optim.Adam(model.parameters())
    losses = []
    for epoch in range(epochs):
        sums = train_epoch(
            model, optimiser, [images(8, 4 * epoch + i) for i in range(4)], [options.train.lr] * 4, options, CPU
        )
        losses.append(float(sums.figures("train", options.loss)["train_loss"] or 0))
    return model, losses


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_learns_and_counts(precision) -> None:
    options = config(lr=3e-3, precision=precision)
    model, losses = trained(options, 20)
    assert losses[-1] < losses[0] / 5
    result = validate(model, [images(8, 99)], options, CPU)
    figures = result.figures(options.loss)
    assert figures["val_auroc_covid"] == figures["val_auroc_unhealthy"] == 1
    assert figures["val_lung_iou"] is not None
    assert figures["val_lung_iou"] > 0.8
    assert len(result.lung_iou) == 4
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
        assert other.index.tolist() == whole.index.tolist()
        np.testing.assert_allclose(other.scores["covid"], whole.scores["covid"], rtol=1e-4)
        np.testing.assert_allclose(other.losses.loss_T, whole.losses.loss_T, rtol=1e-4)


def test_validation_leaves_the_model_as_it_is() -> None:
    model, _ = trained(config(), 1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    validate(model, [images(4)], config(), CPU)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_model_of_one_head_has_no_other_figures() -> None:
    options = config().model_copy(update={"model": config().model.model_copy(update={"tasks": ("covid",)})})
    model = build_model(options.model)
    figures = validate(model, [images(4)], options, CPU).figures(options.loss)
    assert "val_auroc_unhealthy" not in figures
    assert figures["val_lung_iou"] is None


def test_one_image_at_the_smallest_frame_can_be_trained_on() -> None:
    options = config()
    model = build_model(options.model)
    optimiser = torch.optim.Adam(model.parameters())
    assert train_epoch(model, optimiser, [images(1)], [1e-3], options, CPU).images == 1


def test_scores_are_float32_whatever_the_precision() -> None:
    model = build_model(config().model).eval()
    assert predict(model, images(2), "bfloat16").p_covid.dtype == torch.float32


def test_constant_and_cosine_rates() -> None:
    assert {learning_rate(OptimConfig(lr=0.1), step, 10) for step in range(300)} == {0.1}
    cosine = OptimConfig(lr=0.1, schedule="cosine", epochs=5)
    rates = [learning_rate(cosine, step, 10) for step in range(50)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[9] == rates[10] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in pairwise(rates[9:]))
    assert 0 < rates[-1] < 0.001
    assert learning_rate(OptimConfig(lr=0.1, schedule="cosine", epochs=1), 0, 10) == 0.1


def test_each_image_is_counted_and_a_stand_in_is_not() -> None:
    options = config()
    model = build_model(options.model)
    batches = [images(4), images(3), unlabelled(images(1))]
    optimiser = torch.optim.Adam(model.parameters())
    sums = train_epoch(model, optimiser, batches, [1e-3] * 3, options, CPU)
    assert sums.images == sums.figures("train", options.loss)["train_images"] == 7
