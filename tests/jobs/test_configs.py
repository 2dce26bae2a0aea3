"""Every configuration of training that we ship is one, and its network can be built."""

import pytest
import torch
import yaml

from comit_ray import cli
from comit_ray.config import config_yaml
from comit_ray.config.train_config import TrainConfig
from comit_ray.models.registry import MODELS, build_model

CONFIGS = config_yaml.SHIPPED
OF_TRAINING = sorted(path.name for path in CONFIGS.glob("*.yaml") if "model" in yaml.safe_load(path.read_text()))

PAPER = {
    "comit_net": (16, 30, "adam", 5e-5, "imagenet"),
    "densenet121": (16, 30, "adam", 5e-5, "imagenet"),
    "mobilenet_v2": (16, 30, "adam", 5e-5, "imagenet"),
    "resnet18": (16, 30, "adam", 5e-5, "imagenet"),
    "vgg19": (16, 30, "adam", 5e-5, "imagenet"),
    "unet_lung": (4, 25, "adam", 1e-4, "none"),
    "unet_disease": (4, 25, "adam", 1e-4, "none"),
    "segnet_lung": (4, 25, "adam", 1e-4, "imagenet"),
    "segnet_disease": (4, 25, "adam", 1e-4, "imagenet"),
    "mask_rcnn_lung": (16, 25, "sgd", 1e-3, "imagenet"),
    "mask_rcnn_disease": (16, 25, "sgd", 1e-3, "imagenet"),
}
"""Section 3.3: batch, epochs, optimiser, learning rate; and the initial weights."""


def parse(name: str) -> TrainConfig:
    where = ["--data", "d", "--storage", "s", "--name", "n"]
    return cli.parse(TrainConfig, "test", ["--config", str(CONFIGS / name), *where])


@pytest.mark.parametrize("name", OF_TRAINING)
def test_a_configuration_parses_and_builds(name) -> None:
    config = parse(name)
    with torch.device("meta"):  # shapes without memory
        model = build_model(config.model)
    assert any(True for _ in model.parameters())
    if config.model.weights != "none":
        assert config.model.width == 1
        assert MODELS[config.model.name].file is not None


@pytest.mark.parametrize("name", PAPER)
def test_the_values_are_the_papers(name) -> None:
    config = parse(f"{name}.yaml")
    train, model = config.train, config.model
    assert (train.batch_size, train.epochs, train.optimiser, train.lr, model.weights) == PAPER[name]
    assert (config.frame.size, model.width, train.schedule, train.momentum) == (224, 1.0, "constant", 0.9)
    task = name.rpartition("_")[2]
    if task in ("lung", "disease"):
        assert (model.name, model.tasks) == (name.removesuffix(f"_{task}"), (task,))
    else:
        assert model.name == name


def test_every_network_of_the_paper_has_a_configuration() -> None:
    assert {parse(f"{name}.yaml").model.name for name in PAPER} == set(MODELS)
