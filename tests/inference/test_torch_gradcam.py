import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from comit_ray.config.train_config import ModelConfig
from comit_ray.errors import ConfigError
from comit_ray.inference.torch_gradcam import GradCam
from comit_ray.models.comit_net import COMiTNet
from comit_ray.models.outputs import ModelOutput
from comit_ray.models.registry import build_model
from comit_ray.screening.prediction_rows import heat_map_png

SIZE = 64


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def pixels(png: bytes | None) -> np.ndarray:
    assert png is not None
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image)


def rows(explained: GradCam, x: Tensor) -> list[dict[str, bytes | None]]:
    """The maps of each image as pictures, as the table has them."""
    maps = explained.maps(x)
    return [
        {f"{score}_png": heat_map_png(map_BHW[index]) for score, map_BHW in maps.items()} for index in range(len(x))
    ]


def narrow(name: str = "comit_net", **options) -> nn.Module:
    torch.manual_seed(1)  # with 0, an untrained network has maps that are nowhere positive
    return build_model(ModelConfig(name=name, width=0.0625, weights="none", **options)).eval()


class Small(nn.Module):
    """Two convolutions, tanh, the mean, and a linear head each: its gradients can be written down."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, kernel_size=3, stride=2, padding=1)
        self.last = nn.Conv2d(4, 5, kernel_size=3, stride=2, padding=1)
        self.covid, self.health = nn.Linear(5, 2), nn.Linear(5, 2)

    @property
    def gradcam_layer(self) -> nn.Module:
        return self.last

    def classify(self, x: Tensor) -> ModelOutput:
        embedding = self.last(self.first(x).relu()).tanh().mean(dim=(2, 3))
        return ModelOutput(None, None, self.health(embedding), self.covid(embedding), embedding)


@pytest.mark.parametrize("score", ["covid", "unhealthy"])
def test_the_map_is_the_one_worked_out_by_hand(score):
    """Section 3 of the source: the weight of a channel is the spatial mean of the score's gradient on it (eq. 1), the
    map the ReLU of the weighted sum of the channels (eq. 2). The gradient is written out, not asked of autograd."""
    torch.manual_seed(3)
    model = Small().eval()
    x = images(2)
    with torch.no_grad():
        a_BKhw = model.last(model.first(x).relu())
        covid, healthy, unhealthy = model.covid.weight[0], *model.health.weight
        of_mean_K = covid if score == "covid" else unhealthy - healthy
        cells = a_BKhw.shape[-2] * a_BKhw.shape[-1]
        gradient_BKhw = of_mean_K[None, :, None, None] * (1 - a_BKhw.tanh() ** 2) / cells
        weight_BK11 = gradient_BKhw.mean(dim=(2, 3), keepdim=True)
        coarse_B1hw = (weight_BK11 * a_BKhw).sum(dim=1, keepdim=True).clamp(min=0)
        expected = nn.functional.interpolate(coarse_B1hw, (SIZE, SIZE), mode="bilinear", align_corners=False)[:, 0]
    assert 0.1 < (coarse_B1hw > 0).float().mean() < 0.9
    explained = GradCam(model)
    assert explained.scores == ("covid", "unhealthy")
    found = explained.map_BHW(x, score)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-9)
    for row, map_HW in zip(rows(explained, x), expected.numpy(), strict=True):
        np.testing.assert_allclose(pixels(row[f"{score}_png"]), 255 * map_HW / map_HW.max(), atol=0.51)


def finds_brightness() -> COMiTNet:
    """A COMiT-Net whose features are the image's brightness, for COVID-19 and against the unhealthy."""
    model = COMiTNet(width=0.0625).eval()
    assert model.covid is not None
    assert model.health is not None
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0 if "weight" in name else 0.0)  # batch normalisation passes on what it gets
            else:
                parameter.zero_()
        for layer in model.encoder.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight[0, 0, 1, 1] = 1.0  # channel 0 is the image
        for branch, output in ((model.covid, 0), (model.health, 0)):
            branch[0].weight[0, 0] = branch[2].weight[0, 0] = branch[4].weight[output, 0] = 1.0
    return model


def test_the_map_is_hot_where_a_network_of_known_weights_looks():
    """One bright lesion in another corner of each image; a cell of the map is 16 px."""
    x = torch.zeros(2, 3, 128, 128)
    corners = [(16, 16), (80, 96)]
    for index, (top, left) in enumerate(corners):
        x[index, :, top : top + 32, left : left + 32] = 1.0
    found = rows(GradCam(finds_brightness()), x)
    for row, (top, left) in zip(found, corners, strict=True):
        map_HW = pixels(row["covid_png"]).copy()
        assert (map_HW[top + 8 : top + 24, left + 8 : left + 24] == 255).all()
        map_HW[top - 8 : top + 40, left - 8 : left + 40] = 0  # bilinear: to the middle of the next cell
        assert not map_HW.any()
        assert not pixels(row["unhealthy_png"]).any(), "nothing speaks for it: nowhere positive, so all 0"


def test_the_maps_are_as_large_as_the_frame_and_of_the_heads_there_are():
    for tasks, absent in ((["covid", "lung"], "unhealthy_png"), (["health"], "covid_png")):
        found = rows(GradCam(narrow(tasks=tasks)), images(3))
        assert len(found) == 3
        for row in found:
            assert absent not in row
            (png,) = row.values()
            assert pixels(png).shape == (SIZE, SIZE)


@pytest.mark.parametrize("name", ["comit_net", "densenet121"])
def test_the_same_images_have_the_same_maps_whatever_is_beside_them(name):
    options = {} if name == "comit_net" else {"tasks": ["health", "covid"]}
    explained = GradCam(narrow(name, **options))
    x = images(4)
    whole = rows(explained, x)
    assert rows(explained, x) == whole
    for index, row in enumerate(whole):
        (alone,) = rows(explained, x[index : index + 1])
        for column, png in row.items():
            assert pixels(png).max() == 255
            np.testing.assert_allclose(pixels(alone[column]).astype(int), pixels(png).astype(int), atol=1)


def test_nothing_of_the_network_changes():
    model = narrow()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows(GradCam(model), images(2))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_the_decoders_are_left_out(monkeypatch):
    model = narrow()
    for decoder in (model.lung, model.disease):
        monkeypatch.setattr(decoder, "forward", None)
    assert set(rows(GradCam(model), images(1))[0]) == {"covid_png", "unhealthy_png"}


def test_without_captum_the_extra_is_named(monkeypatch):
    for module in ("captum", "captum.attr"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"needs captum .*pip install 'comit-ray\[gradcam\]'"):
        GradCam(narrow())


def test_a_model_without_scores_is_refused():
    for model in (narrow(tasks=["lung"]), narrow("unet", tasks=["disease"])):
        with pytest.raises(ConfigError, match="needs a model with a health or covid head"):
            GradCam(model)


def test_training_mode_is_a_mistake_of_ours():
    with pytest.raises(AssertionError):
        GradCam(narrow().train())
