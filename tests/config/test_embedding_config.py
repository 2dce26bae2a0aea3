import pytest

from comit_ray import cli
from comit_ray.config import config_yaml
from comit_ray.config.embedding_config import EmbeddingClassifierConfig
from comit_ray.errors import ConfigError

PLACES = {"results": "r", "manifest": "m", "output": "o"}
SHIPPED = ["random_forest", "svm_sigmoid", "svm_gaussian", "svm_rbf"]


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_file_is_its_method_with_the_defaults(name):
    places = [f"--{key}={value}" for key, value in PLACES.items()]
    path = config_yaml.SHIPPED / f"{name}.yaml"
    found = cli.parse(EmbeddingClassifierConfig, "", ["--config", str(path), *places])
    assert found == EmbeddingClassifierConfig.parse(PLACES | {"method": {"name": name}}, origin="test")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": []}, r"tasks: expected one or more values, none twice, got \[\]"),
        ({"specificities": [0.9, 0.9]}, r"specificities: expected one or more values, none twice, got \[0\.9, 0\.9\]"),
        (
            {"specificities": [0.95]},
            r"expected one of the specificities \(specificity_0.95\), got specificity_0.90",
        ),
        ({"method": {"name": "svm"}}, "method.name"),
        ({"method": {"gamma": "auto"}}, "method.gamma"),
    ],
)
def test_wrong_values_say_what_was_expected(options, message):
    with pytest.raises(ConfigError, match=message):
        EmbeddingClassifierConfig.parse(PLACES | options, origin="test")
