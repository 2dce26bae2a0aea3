import pytest

from comit_ray.data.sources.adapter import adapter
from comit_ray.errors import ConfigError


def test_an_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'nihh'; known: nih, chexpert, bimcv, covid-chestxray, radiography"):
        adapter("nihh")
