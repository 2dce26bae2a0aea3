import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from comit_ray.config.train_config import LossConfig, TrainConfig
from comit_ray.data.masks.mask_images import IGNORE
from comit_ray.errors import ConfigError
from comit_ray.models.outputs import ModelOutput
from comit_ray.models.registry import build_model
from comit_ray.training.attention import check, divided, lines, penalty, takes_part, with_copies
from comit_ray.training.batches import Batch
from comit_ray.training.epoch import make_optimiser, train_epoch
from comit_ray.training.losses import Objective, active, predict, total_loss

SIZE = 64


def config(**more: Any) -> TrainConfig:
    known = {
        "data": "d", "storage": "s", "name": "n", "frame": {"size": SIZE}, "loss": {"attention": 2.0},
        "model": {"width": 0.0625, "weights": "none"}, "train": {"batch_size": 4, "lr": 1e-3},
    }  # fmt: skip
    return TrainConfig.parse(known | more, origin="test")


def images() -> Batch:
    """Four images, grey by their number; the first has lungs, the second unknown pixels, the last lungs everywhere."""
    frames = torch.arange(4, dtype=torch.uint8).view(4, 1, 1).expand(4, SIZE, SIZE).contiguous()
    masks = torch.full((4, 2, SIZE, SIZE), IGNORE, dtype=torch.uint8)
    masks[0, 0], masks[3, 0] = 0, 1
    masks[0, 0, 20:40, 20:40] = 1
    masks[0, 0, 60:, 60:] = IGNORE
    labels, none = torch.tensor([1, 0, 1, 0]), torch.zeros(4, dtype=torch.int64)
    return Batch(frames, masks, labels, labels, none, none, torch.arange(4))


def test_copies_have_their_own_lungs_and_the_next_images_surroundings() -> None:
    assert takes_part(images()).tolist() == [True, False, False, True]
    both, places_N = with_copies(images())
    assert places_N.tolist() == [0, 3]
    assert both.frames_BHW.shape == (6, SIZE, SIZE)
    assert (both.frames_BHW[:4] == images().frames_BHW).all()
    copy_HW = both.frames_BHW[4]
    margin = round(0.04 * SIZE)
    assert (copy_HW[20 - margin : 40 + margin, 20 - margin : 40 + margin] == 0).all()
    assert (copy_HW[60:, 60:] == 0).all(), "an unknown pixel may be lung"
    assert (copy_HW[:10] == 1).all()
    assert (copy_HW[50:55] == 1).all()
    assert (both.frames_BHW[5] == 3).all(), "nothing surrounds lungs that fill the image"


def test_a_copy_costs_its_change_and_its_own_loss_where_the_head_learns() -> None:
    covid = torch.tensor([[1.0, 0], [2, 0], [3, 0], [4, 0], [1.5, 9], [1, 9]])
    given = ModelOutput(lung=None, disease=None, health=None, covid=covid, embedding=torch.zeros(6, 1))
    own, copies = divided(given, 4)
    assert own.covid is not None
    assert len(own.covid) == len(own.embedding) == 4
    assert own.lung is None
    taught_B = torch.tensor([True, True, True, False])
    found_B = penalty(own, copies, torch.tensor([0, 3]), torch.tensor([1, 0, 0, 0]), taught_B)
    torch.testing.assert_close(found_B, torch.tensor([0.25 + math.log1p(math.exp(-1.5)), 0, 0, 9]))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_penalty_is_a_mean_over_the_images_of_the_global_batch_that_take_part(reduction) -> None:
    rows = torch.zeros(5, 4)
    rows[4] = torch.tensor([0.25, 0, 0, 9])
    counts = active(images(), config())
    assert counts.tolist() == [2, 0, 4, 4, 2]
    loss = total_loss(rows, counts, LossConfig(attention=2, reduction=reduction), world_size=1)
    assert float(loss) == pytest.approx(9.25 if reduction == "mean" else 18.5)


def test_parts_of_a_batch_have_the_loss_of_the_whole_where_their_neighbours_are_the_same() -> None:
    torch.manual_seed(0)
    objective = Objective(build_model(config().model), config()).eval()
    whole_TB = objective(images())
    assert whole_TB.shape == (5, 4)
    assert (whole_TB[4] > 0).tolist() == [True, False, False, True]
    plain = config(loss={})
    torch.testing.assert_close(whole_TB[:4], Objective(objective.model, plain).eval()(images()))
    part_TB = objective(images().parts(2)[0])  # the first and the second image: the first still has its neighbour
    torch.testing.assert_close(part_TB, whole_TB[:, :2])


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_an_epoch_counts_the_images_that_took_part_and_its_loss_has_the_penalty(weight) -> None:
    options = config(loss={"attention": weight})
    torch.manual_seed(0)
    objective = Objective(build_model(options.model), options)
    optimiser = make_optimiser(objective.model, options.train, fused=True)
    sums, _ = train_epoch(objective, optimiser, [images()] * 3, [1e-3] * 3, options, torch.device("cpu"))
    figures = sums.metrics("train", options.loss)
    assert figures["train_images"] == 12
    assert figures.get("train_attention_images") == (6 if weight else None)
    tasks = sum(figures[f"train_loss_{task}"] or 0 for task in ("lung", "disease", "health", "covid"))
    assert figures["train_loss"] == pytest.approx(tasks + weight * (figures.get("train_attention") or 0))


def test_surroundings_matter_less_to_a_network_that_was_trained_with_it() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 255, (4, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    given = replace(images(), frames_BHW=frames)
    moved = []
    for weight in (0.0, 5.0):
        options = config(loss={"attention": weight})
        torch.manual_seed(0)
        objective = Objective(build_model(options.model), options)
        optimiser = make_optimiser(objective.model, options.train, fused=True)
        train_epoch(objective, optimiser, [given] * 12, [1e-3] * 12, options, torch.device("cpu"))
        both, places_N = with_copies(given)
        own, copies = divided(predict(objective.model, both, "float32"), 4)
        untaught_B = torch.zeros(4, dtype=torch.bool)
        moved.append(float(penalty(own, copies, places_N, given.covid_B, untaught_B).sum().detach()))
    without, with_it = moved
    assert with_it < without / 2


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({"name": "resnet18", "tasks": ["health", "covid"]}, "resnet18 is asked for no lung head"),
        ({"name": "unet", "tasks": ["lung"]}, "unet is asked for no covid head"),
    ],
)
def test_a_model_without_lungs_or_covid_is_refused_by_name(model, named) -> None:
    with pytest.raises(ConfigError, match=named):
        config(model=model)


def test_how_many_take_part_is_said_and_none_is_refused() -> None:
    learned = {"lung": {"a": (1200, 0), "b": (3, 0)}, "covid": {"a": (1, 1)}}
    assert lines(learned, config()) == ["attention: 1,203 images with annotated lungs take part"]
    assert lines(learned, config(loss={})) == []
    check(learned, config())
    check({"lung": {}}, config(loss={}))
    with pytest.raises(ConfigError, match="no training image has annotated lungs"):
        check({"lung": {}}, config())
