"""The price of a million radiographs, worked out by hand."""

from pathlib import Path

import pytest

from comit_ray.benchmark.machine_prices import Machine, lines, prices, read
from comit_ray.errors import ConfigError
from tests.benchmark.test_projection import on


def test_a_cpu_machine_goes_with_its_cores() -> None:
    """10 images/s on 4 CPUs and 10 s to begin: 16 do 40, a million in 25,010 s."""
    (found,) = prices(on(cpus=4), {"big": Machine(cpus=16, price_per_hour=0.8)})
    assert found.rate == pytest.approx(40)
    assert found.hours == pytest.approx(25_010 / 3600)
    assert found.price == pytest.approx(0.8 * 25_010 / 3600)


def test_a_machine_with_gpus_does_what_the_slower_part_allows() -> None:
    """A GPU does 20 a second, 4 CPUs 4 / 0.045 = 88.9; of 2 GPUs' 40 the measured cluster reached 10: a quarter."""
    measured = on(cpus=4, predictors=2, gpu=True)
    few, many = (prices(measured, {"m": Machine(cpus=cpus, gpus=4, price_per_hour=1)})[0] for cpus in (1, 64))
    assert few.rate == pytest.approx(1 / 0.045 / 4)
    assert many.rate == pytest.approx(80 / 4)


def test_the_cheapest_comes_first_and_what_was_not_measured_last() -> None:
    machines = {
        "gpu": Machine(cpus=4, gpus=1, price_per_hour=1),
        "dear": Machine(cpus=4, price_per_hour=2),
        "cheap": Machine(cpus=4, price_per_hour=1),
    }
    found = prices(on(), machines)
    assert [one.machine for one in found] == ["cheap", "dear", "gpu"]
    said = lines(found)
    assert "this benchmark ran on CPUs alone, and this machine has others" in said[-1]
    assert lines([]) == []


def test_the_list_is_the_users_and_what_is_wrong_with_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "machines.yaml"
    path.write_text("a: {cpus: 16, price_per_hour: 0.8}\nb: {cpus: 8, gpus: 1, price_per_hour: 3}\n")
    assert list(read(str(path))) == ["a", "b"]
    path.write_text("a: {cpus: 0}\n")
    with pytest.raises(ConfigError, match=r"expected a YAML such as NAME: \{cpus: 16"):
        read(str(path))
