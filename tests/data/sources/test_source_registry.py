import pytest

from comit_ray.data.sources.source_registry import adapter
from comit_ray.errors import ConfigError


def test_an_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"'nihh' \(did you mean nih\?\); known: files, nih, chexpert, bimcv, covid-chestxray"
    ):
        adapter("nihh")


def test_a_name_in_capitals_is_told_the_one_that_is_meant() -> None:
    with pytest.raises(ConfigError, match=r"unknown source 'DICOM' \(did you mean dicom\?\); known: files"):
        adapter("DICOM")
