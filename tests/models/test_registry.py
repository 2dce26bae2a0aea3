import pytest

from comit_ray.errors import ConfigError
from comit_ray.models.comit import COMiTNet
from comit_ray.models.registry import build_model
from comit_ray.train_config import ModelConfig


def test_a_model_is_built_by_name_with_its_options() -> None:
    model = build_model(ModelConfig(tasks=("covid",), width=0.0625))
    assert isinstance(model, COMiTNet)
    assert model.tasks == ("covid",)
    assert model.encoder.channels == 32


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'comet'; known: .*comit_net"):
        build_model(ModelConfig(name="comet"))
