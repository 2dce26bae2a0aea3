"""The network sees the box around the lungs, its masks come back to their places, and no lungs are told as such."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from comit_ray.config.train_config import ModelConfig
from comit_ray.errors import ConfigError
from comit_ray.inference.torch_gradcam import GradCam
from comit_ray.models.lung_crop import LungCrop
from comit_ray.models.outputs import ModelOutput
from comit_ray.models.registry import build_model

SIZE = 64


class Bright(nn.Module):
    """Calls lung what is brighter than 0.5, and counts what it sees; the embedding is the mean of the pixels."""

    def forward(self, x_B3HW: Tensor) -> ModelOutput:
        odds_B1HW = 4 * (x_B3HW[:, :1] - 0.5)
        logits_B2HW = torch.cat([-odds_B1HW, odds_B1HW], dim=1)
        embedding = x_B3HW.mean(dim=(2, 3))
        return ModelOutput(lung=logits_B2HW, disease=logits_B2HW, health=None, covid=None, embedding=embedding)


def radiographs() -> Tensor:
    """Two lungs from row 16 to 40 and column 8 to 40, and a printed letter in a corner; then none, then one speck."""
    x_B3HW = torch.zeros(3, 3, SIZE, SIZE)
    x_B3HW[0, :, 16:40, 8:20] = x_B3HW[0, :, 16:40, 28:40] = 1.0
    x_B3HW[:, :, 60:62, 60:62] = 1.0
    return x_B3HW


def cropped(margin: float = 0.1) -> LungCrop:
    return LungCrop(Bright(), Bright(), margin).eval()


def edges(box_3: Tensor) -> list[float]:
    """Left, right, top and bottom in pixels."""
    x, y, half = box_3.tolist()
    return [round((side + 1) / 2 * SIZE, 1) for side in (x - half, x + half, y - half, y + half)]


def test_the_box_is_a_square_around_the_lungs_inside_the_frame() -> None:
    """32 pixels wide and a tenth more at each side, 38.4, and as high; the letter is half a percent of the lungs."""
    boxes_B3, found_B = cropped().boxes(radiographs())
    assert found_B.tolist() == [True, False, False]
    assert edges(boxes_B3[0]) == [4.8, 43.2, 8.8, 47.2]
    assert edges(boxes_B3[1]) == [0, SIZE, 0, SIZE], "the whole frame"
    assert edges(cropped(margin=0).boxes(radiographs())[0][0]) == [8, 40, 12, 44]
    assert edges(cropped(margin=0.3).boxes(radiographs())[0][0]) == [0, 51.2, 2.4, 53.6], "it is moved into the frame"
    assert edges(cropped(margin=1).boxes(radiographs())[0][0]) == [0, SIZE, 0, SIZE]


def test_what_lies_outside_the_box_changes_nothing() -> None:
    model, given = cropped(), radiographs()
    changed = given.clone()
    changed[0, :, 56:, :] = 0.3
    changed[0, :, :, 50:] = 0.3
    assert torch.equal(model(given).embedding[0], model(changed).embedding[0])
    assert not torch.equal(Bright()(given).embedding[0], Bright()(changed).embedding[0])


def test_masks_are_where_the_lungs_are() -> None:
    given = radiographs()
    output = cropped()(given)
    assert output.lung is not None
    assert output.disease is not None
    found_HW, truth_HW = output.lung.argmax(dim=1)[0], given[0, 0] > 0.5
    truth_HW[60:62, 60:62] = False  # the letter, outside the box
    wrong = (found_HW == 1) != truth_HW
    assert wrong.float().mean() < 0.03, "but for edges, which are enlarged and made smaller again"
    assert torch.equal(output.disease.argmax(dim=1)[0], found_HW)
    outside = torch.softmax(output.lung, dim=1)[0, 1, 60:, 60:]
    assert outside.flatten().tolist() == pytest.approx([0.018] * 16, abs=1e-3)


def test_without_lungs_it_sees_the_whole_frame_and_its_lung_mask_is_empty_when_it_predicts() -> None:
    given = radiographs()
    given[2, :, :, :30] = 0.6  # half the frame is lung: found
    output = cropped()(given)
    assert output.lung is not None
    assert output.disease is not None
    assert torch.allclose(output.embedding[1], given[1].mean(dim=(1, 2)), atol=1e-4)
    assert (output.lung.argmax(dim=1)[1] == 0).all(), "not even the letter"
    assert (output.disease.argmax(dim=1)[1] == 1).any(), "only the lung mask tells"
    assert (output.lung.argmax(dim=1)[2] == 1).any()
    learning = cropped().train()(given).lung
    assert learning is not None
    assert (learning.argmax(dim=1)[1] == 1).any(), "but while it trains, the head learns from the image"


def config(**more: Any) -> ModelConfig:
    crop = {"checkpoint": "s3://bucket/run/best", "name": "comit_net", "width": 0.03125}
    return ModelConfig.parse({"width": 0.0625, "weights": "none", "crop": crop} | more, origin="test")


def test_the_lung_network_learns_nothing_and_is_part_of_the_weights() -> None:
    torch.manual_seed(0)
    model = build_model(config())
    assert isinstance(model, LungCrop)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    assert not model.lungs.training
    output = model(torch.randn(4, 3, SIZE, SIZE))
    assert output.p_covid is not None
    assert output.lung is not None
    (output.p_covid.sum() + output.lung.square().mean() + output.embedding.sum()).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    changed = {name.partition(".")[0] for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert changed == {"network"}
    assert {name.partition(".")[0] for name in before} == {"network", "lungs"}


@pytest.mark.parametrize("name", ["comit_net", "unet", "segnet"])
def test_every_network_with_a_lung_head_can_be_cropped(name) -> None:
    tasks = ("lung", "disease") if name != "comit_net" else ("lung", "covid")
    model = build_model(config(name=name, tasks=tasks)).eval()
    output = model(torch.randn(1, 3, SIZE, SIZE))
    assert output.lung is not None
    assert output.lung.shape == (1, 2, SIZE, SIZE)


def test_heat_maps_lie_where_the_network_looked() -> None:
    torch.manual_seed(1)
    model = build_model(config()).eval()
    assert isinstance(model, LungCrop)
    model.lungs = Bright()
    given = radiographs()[:1]
    maps = GradCam(model).maps(given)
    assert set(maps) == {"covid", "unhealthy"}
    for map_BHW in maps.values():
        assert map_BHW.shape == (1, SIZE, SIZE)
        assert (map_BHW[0, 48:] == 0).all(), "nothing below the box"
        assert (map_BHW[0, :, 44:] == 0).all()
    assert any((map_BHW[0, 10:46, 6:42] > 0).any() for map_BHW in maps.values())


def test_scores_alone_are_those_with_masks() -> None:
    torch.manual_seed(1)
    model, given = build_model(config()).eval(), torch.randn(2, 3, SIZE, SIZE)
    whole, alone = model(given), model.classify(given)
    assert torch.equal(whole.covid, alone.covid)
    assert alone.lung is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ["covid"]}, "crop.checkpoint needs the head lung"),
        ({"name": "mask_rcnn", "tasks": ["lung"]}, "mask_rcnn, which has its own loss, cannot be cropped"),
    ],
)
def test_what_cannot_be_cropped_is_refused(change, message) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**change)


def test_a_lung_network_of_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected the lung network's name and width"):
        build_model(config(crop={"checkpoint": "s3://bucket/run/best"}))
