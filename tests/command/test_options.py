from typing import Any

import pytest

from comit_ray.command import options
from comit_ray.config.embedding_config import EmbeddingClassifierConfig
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.config.sweep_config import SweepConfig
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import ConfigError


@pytest.mark.parametrize(
    ("config", "argv", "values"),
    [
        (TrainConfig, ["--train.lr", "5e-5"], {"train": {"lr": "5e-5"}}),
        (TrainConfig, ["--train.lr=5e-5", "--resume=yes"], {"train": {"lr": "5e-5"}, "resume": "yes"}),
        (TrainConfig, ["--train.patience", "null"], {"train": {"patience": None}}),
        (TrainConfig, ["--name", "null"], {"name": "null"}),
        (TrainConfig, ["--model.tasks", "[lung, covid]"], {"model": {"tasks": ["lung", "covid"]}}),
        (TrainConfig, ["--model.tasks", "lung,covid"], {"model": {"tasks": ["lung", "covid"]}}),
        (TrainConfig, ["--workers.count", "[2,8]"], {"workers": {"count": [2, 8]}}),
        (TrainConfig, ["--workers.count", "2"], {"workers": {"count": "2"}}),
        (TrainConfig, ["--workers", "{count: 2, gpu: true}"], {"workers": {"count": 2, "gpu": True}}),
        (TrainConfig, ["--train.seed", "-1", "--train.seed", "7"], {"train": {"seed": "7"}}),
        (ScreenConfig, ["--queue.quotas", "{failed: 0.2}"], {"queue": {"quotas": {"failed": 0.2}}}),
        (ScreenConfig, ["--variants", "[]"], {"variants": []}),
        (
            SweepConfig,
            ["--options", "{train.epochs: 5, train.lr: 1e-3}"],
            {"options": {"train.epochs": 5, "train.lr": 1e-3}},
        ),
        (SweepConfig, ["--options.train.epochs", "5"], {"options": {"train.epochs": 5}}),
        (EmbeddingClassifierConfig, ["--method.gamma", "0.5"], {"method": {"gamma": "0.5"}}),
    ],
)
def test_words_become_values_that_the_configuration_checks(
    config: type, argv: list[str], values: dict[str, Any]
) -> None:
    assert options.read(config, argv).values == values


def test_an_entry_of_a_mapping_stays_beside_the_others() -> None:
    found = options.read(ScreenConfig, ["--queue.quotas.failed", "0.2", "--queue.quotas.child", "0.3"]).values
    assert found == {"queue": {"quotas": {"random_negative": 0.1, "failed": "0.2", "child": "0.3"}}}


def test_the_later_of_files_and_options_wins_and_is_known(tmp_path) -> None:
    (tmp_path / "a.yaml").write_text("train: {epochs: 1, lr: 1e-3}\nframe: {size: 64}\n")
    (tmp_path / "b.yaml").write_text("train.epochs: 2\n")
    files = ["--config", f"{tmp_path}/a.yaml", "--train.lr", "0.5", "--config", f"{tmp_path}/b.yaml"]
    found = options.read(TrainConfig, files)
    assert found.values == {"train": {"epochs": 2, "lr": "0.5"}, "frame": {"size": 64}}
    assert found.origins == {"train.epochs": f"{tmp_path}/b.yaml", "frame.size": f"{tmp_path}/a.yaml"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--queue.capacty", "3"],
            r"unknown option --queue\.capacty \(did you mean --queue\.capacity\?\); valid ones: --q",
        ),
        (["--output.x", "3"], r"unknown option --output\.x"),
        (["--Split", "val"], r"did you mean --split\?"),
        (["--gpu"], r"--gpu needs a value: yes or no$"),
        (["--gpu", "--split", "val"], r"--gpu needs a value: yes or no$"),
        (["--config"], r"--config needs a value: a YAML file"),
        (["manifest", "m"], r"manifest is not an option: options begin with two dashes \(did you mean --manifest\?\)"),
        (["-manifest", "m"], r"-manifest is not an option.*did you mean --manifest\?"),
        (["\u2014manifest", "m"], "begins with one long dash"),
        (["--queue.quotas", "{failed"], "is not YAML"),
    ],
)
def test_what_is_no_option_is_told_the_nearest_one(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options.read(ScreenConfig, argv)


def test_an_unknown_key_of_a_file_is_named_with_its_file(tmp_path) -> None:
    (tmp_path / "a.yaml").write_text("split: {trian: 1}\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: unknown option split\.trian \(did you mean split\.train\?\)"):
        options.read(ManifestConfig, ["--config", str(tmp_path / "a.yaml")])
