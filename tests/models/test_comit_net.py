from itertools import combinations

import pytest
import torch
from torch import nn

from comit_ray.errors import ConfigError
from comit_ray.models.comit_net import COMiTNet
from comit_ray.models.outputs import ModelOutput
from comit_ray.tables.vocabulary import ALL_TASKS

NARROW = 0.0625
HEADS = ("lung", "disease", "health", "covid")


def count(module: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(part, kind) for part in module.modules())


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_layers_and_parameters_at_width_one_are_those_of_the_docstring() -> None:
    model = COMiTNet()
    depths = [count(block, nn.Conv2d) for block in model.encoder.blocks]
    assert depths == [2, 2, 3, 3, 3]
    assert [count(block, nn.BatchNorm2d) for block in model.encoder.blocks] == depths
    assert [count(block, nn.ReLU) for block in model.encoder.blocks] == depths
    assert model.lung is not None
    assert model.health is not None
    assert [count(block, nn.Conv2d) for block in model.lung.blocks] == [3, 3, 3, 2, 1]  # the classifier is the 13th
    assert (count(model.lung, nn.Conv2d), count(model.lung, nn.BatchNorm2d)) == (13, 12)
    assert (count(model.health, nn.Linear), count(model.health, nn.ReLU)) == (3, 2)
    assert model.encoder.channels == 512
    sizes = [parameters(part) for part in (model.encoder, model.lung, model.health, model)]
    assert sizes == [14_723_136, 14_721_026, 164_482, 44_494_152]
    for size in sizes:
        assert f"{size:,}" in (COMiTNet.__doc__ or "")


@pytest.mark.parametrize("size", [224, 256, 320])
def test_output_shapes(size) -> None:
    model = COMiTNet(width=NARROW).eval()
    with torch.no_grad():
        output = model(torch.randn(2, 3, size, size))
    assert output.lung.shape == output.disease.shape == (2, 2, size, size)
    assert output.health.shape == output.covid.shape == (2, 2)
    assert output.embedding.shape == (2, 32)
    assert output.p_lung_BHW.shape == (2, size, size)


def test_sides_may_differ() -> None:
    with torch.no_grad():
        assert COMiTNet(width=NARROW).eval()(torch.randn(1, 3, 64, 96)).lung.shape == (1, 2, 64, 96)


@pytest.mark.parametrize("shape", [(100, 128), (128, 225), (16, 16)])
def test_a_size_that_cannot_be_halved_five_times_is_refused(shape) -> None:
    with pytest.raises(ConfigError, match=f"multiples of 32 pixels, got {shape[0]}x{shape[1]}"):
        COMiTNet(width=NARROW)(torch.randn(1, 3, *shape))


@pytest.mark.parametrize("tasks", [subset for n in (1, 2, 3) for subset in combinations(ALL_TASKS, n)])
def test_only_the_heads_of_the_tasks_exist(tasks) -> None:
    model = COMiTNet(tasks, NARROW).eval()
    with torch.no_grad():
        output = model(torch.randn(1, 3, 32, 32))
    for head in HEADS:
        assert (getattr(output, head) is not None) == (head in tasks)
        assert any(name.startswith(head) for name, _ in model.named_parameters()) == (head in tasks)
    assert (output.p_covid is None) == (output.p_other is None) == ("covid" not in tasks)
    assert (output.p_unhealthy is None) == ("health" not in tasks)
    assert (output.p_disease_BHW is None) == ("disease" not in tasks)


def test_every_parameter_gets_a_gradient_from_its_own_head() -> None:
    model = COMiTNet(width=NARROW)
    output = model(torch.randn(2, 3, 64, 64))
    output.lung.square().mean().backward()
    with_gradient = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {"encoder", "lung"}


def test_the_decoder_puts_values_where_the_encoder_found_them() -> None:
    """A bright spot moved in the input moves in the unpooled map: the indices are used, last block first."""
    model = COMiTNet(["lung"], NARROW).eval()
    features, indices = model.encoder(torch.randn(1, 3, 64, 64))
    assert [index.shape[-1] for index in indices] == [32, 16, 8, 4, 2]
    unpooled = model.lung.unpool(features, indices[-1])
    assert unpooled.shape[-1] == 4
    assert torch.equal(unpooled.flatten(2).gather(2, indices[-1].flatten(2)), features.flatten(2))


def test_probabilities_are_those_of_the_paper() -> None:
    output = ModelOutput(
        lung=torch.tensor([[0.0, 2.0]]).reshape(1, 2, 1, 1),
        disease=None,
        health=torch.tensor([[1.0, 2.0]]),
        covid=torch.tensor([[0.0, 100.0]]),
        embedding=torch.zeros(1, 1),
    )
    assert output.p_unhealthy.item() == pytest.approx(0.7310586)
    assert (output.p_covid.item(), output.p_other.item()) == (0.5, 1.0)
    assert output.p_lung_BHW.item() == pytest.approx(0.8807971)
    assert output.p_disease_BHW is None
