import inspect
import pkgutil
from importlib import import_module
from typing import Any

import pytest
from pydantic import ValidationError

from comit_ray import config
from comit_ray.config.config_base import Config
from comit_ray.config.image_config import FrameConfig
from comit_ray.config.manifest_config import ManifestConfig, SplitConfig
from comit_ray.config.train_config import ModelConfig, TrackConfig, TrainConfig
from comit_ray.errors import ConfigError
from comit_ray.tables.vocabulary import ALL_TASKS

CONFIGS = {
    found
    for module in pkgutil.iter_modules(config.__path__, f"{config.__name__}.")
    for _, found in inspect.getmembers(import_module(module.name), inspect.isclass)
    if issubclass(found, Config) and found is not Config
}


@pytest.mark.parametrize("cls", sorted(CONFIGS, key=str))
def test_every_option_is_explained_and_frozen(cls) -> None:
    assert cls.model_config["frozen"]
    assert cls.model_config["extra"] == "forbid"
    for name, field in cls.model_fields.items():
        assert field.description, f"{cls.__name__}.{name} has no text for --help"


def test_the_papers_values_are_the_defaults():
    train = TrainConfig(data="d", storage="s", name="n")
    assert (train.train.lr, train.train.batch_size, train.train.epochs) == (5e-5, 16, 30)
    assert (train.frame.size, train.model.width, train.model.weights) == (224, 1.0, "imagenet")
    assert train.model.tasks == ALL_TASKS


def test_the_digest_names_the_values():
    assert FrameConfig().digest() == FrameConfig(size=224).digest()
    assert FrameConfig().digest() != FrameConfig(size=256).digest()


def test_unknown_keys_list_the_valid_ones():
    with pytest.raises(ConfigError, match=r"^c\.yaml: siz: .*valid keys: size, fit, equalise$"):
        FrameConfig.parse({"siz": 3}, origin="c.yaml")


def test_an_unknown_nested_key_lists_the_keys_of_its_own_model():
    values = {"data": "d", "storage": "s", "name": "n", "workers": {"cuont": 2}}
    with pytest.raises(ConfigError, match=r"^c\.yaml: workers\.cuont: .*valid keys: count, gpu, cpus, threads, max_"):
        TrainConfig.parse(values, origin="c.yaml")


def training(**options: Any) -> TrainConfig:
    return TrainConfig(data="d", storage="s", name="n", **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FrameConfig(size=100), "multiple of 32.*got 100"),
        (lambda: SplitConfig(train=0.5), r"sum to 1, got 0\.5 \+ 0\.1 \+ 0\.2 = 0\.8"),
        (lambda: ModelConfig(tasks=()), "at least one of lung, disease, health, covid"),
        (lambda: ModelConfig(tasks=("lung", "lung")), "must not repeat"),
        (lambda: training(workers={"count": 20}), "16 images cannot be shared by 20 workers"),
        (lambda: training(workers={"count": [2, 20]}), "16 images cannot be shared by 20 workers"),
        (lambda: training(workers={"count": [3, 2]}), r"count must be \[least, most\], got \[3, 2\]"),
        (lambda: training(train={"batch_norm": "synchronised"}), "synchronised needs GPUs"),
        (
            lambda: training(train={"batch_norm": "synchronised", "accumulate": 2}, workers={"gpu": True}),
            "the same number of passes in every worker",
        ),
        (lambda: training(model={"name": "mask_rcnn"}, speed={"compile": True}), "mask_rcnn cannot be compiled"),
        (lambda: training(train={"specificities": [0.9, 0.9]}), "one or more values, none twice"),
        (lambda: TrackConfig(mlflow="http://me:s3/c@host"), "^[^@]*no user or password[^@]*TRACKING_PASSWORD[^@]*$"),
        (lambda: ManifestConfig(output="o"), "give --root .* or --inputs"),
        (lambda: ManifestConfig(output="o", source="nih"), "--source nih needs --root"),
    ],
)
def test_wrong_values_say_what_was_expected(make, message):
    with pytest.raises(ValidationError, match=message):
        make()
