import pytest

from comit_ray.config.train_config import ModelConfig
from comit_ray.errors import ConfigError
from comit_ray.models.comit_net import COMiTNet
from comit_ray.models.registry import MODELS, build_model


def test_a_model_is_built_by_name_with_its_options() -> None:
    model = build_model(ModelConfig(tasks=("covid",), width=0.0625))
    assert isinstance(model, COMiTNet)
    assert model.tasks == ("covid",)
    assert model.encoder.channels == 32


def test_the_order_in_which_tasks_are_named_changes_nothing() -> None:
    for name, tasks in (("comit_net", ("covid", "lung")), ("segnet", ("disease", "lung"))):
        model = build_model(ModelConfig(name=name, tasks=tasks, width=0.0625))
        assert model.tasks == tuple(sorted(tasks, key=["lung", "disease", "health", "covid"].index))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'comet'; known: comit_net, densenet121, .*vgg19"):
        build_model(ModelConfig(name="comet"))


@pytest.mark.parametrize(
    ("name", "tasks", "message"),
    [
        ("resnet18", ("lung",), "resnet18 has no lung head: set model.tasks to health, covid or both"),
        ("vgg19", ("lung", "disease", "covid"), "vgg19 has no lung or disease head: set model.tasks to health, covid"),
        ("unet", ("covid",), "unet has no covid head: set model.tasks to lung, disease or both"),
        ("mask_rcnn", ("lung", "covid"), "mask_rcnn has no covid head: set model.tasks to lung or disease"),
        ("mask_rcnn", ("lung", "disease"), "mask_rcnn has one head at a time: set model.tasks to lung or disease"),
    ],
)
def test_heads_that_a_network_cannot_have_are_refused(name, tasks, message) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(ModelConfig(name=name, tasks=tasks))


def test_the_networks_of_the_paper_are_there() -> None:
    tables = {"comit_net", "densenet121", "mobilenet_v2", "resnet18", "vgg19", "unet", "segnet", "mask_rcnn"}
    assert set(MODELS) == tables


@pytest.mark.parametrize(
    ("name", "millions"),
    [("densenet121", 6.95), ("mobilenet_v2", 2.22), ("resnet18", 11.18), ("vgg19", 20.02), ("unet", 31.04)],
)
def test_backbones_at_width_one_have_the_published_size(name, millions) -> None:
    """torchvision's networks without their classifier; U-Net of 3 channels with batch normalisation."""
    model = build_model(ModelConfig(name=name, tasks=MODELS[name].tasks[:1]))
    backbone = model.get_submodule("" if name == "unet" else "backbone")
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
