import math

import pytest

from comit_ray.config.sweep_config import SearchConfig
from comit_ray.errors import ConfigError
from comit_ray.sweep.study import draw


def search(**draws) -> SearchConfig:
    return SearchConfig.parse({"draw": draws, "samples": 200}, origin="test")


def test_the_same_seed_gives_the_same_points() -> None:
    options = search(**{"train.lr": {"log_uniform": [1e-5, 1e-3]}, "model.width": {"choice": [0.25, 0.5]}})
    assert len(draw(options)) == 200
    assert draw(options) == draw(options)
    assert draw(options) != draw(options.model_copy(update={"seed": 1}))


def test_draws_stay_inside_their_range_and_fill_it() -> None:
    points = draw(search(**{"train.lr": {"log_uniform": [1e-5, 1e-3]}, "loss.lung": {"uniform": [0, 2]}}))
    rates = [options["train.lr"] for _, options in points]
    assert 1e-5 <= min(rates) < 2e-5
    assert 5e-4 < max(rates) <= 1e-3
    below = sum(math.log10(rate) < -4 for rate in rates)  # half of the decades
    assert 80 < below < 120
    weights = [options["loss.lung"] for _, options in points]
    assert 0 <= min(weights) < 0.05
    assert 1.95 < max(weights) <= 2


def test_a_choice_takes_each_of_its_values_once_and_the_words_name_them() -> None:
    options = search(**{"model.tasks": {"choice": [["covid"], ["lung", "covid"]]}})
    with pytest.raises(ConfigError, match="200 different points are wanted, and its choices gave 2"):
        draw(options)
    points = draw(options.model_copy(update={"samples": 2}))
    assert {tuple(options["model.tasks"]) for _, options in points} == {("covid",), ("lung", "covid")}
    assert points[0][0].startswith("model.tasks=[")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"log_uniform": [1e-3, 1e-5]}, "expected [least, greatest]"),
        ({"log_uniform": [0, 1]}, "must be greater than 0"),
        ({"choice": []}, "at least one value"),
        ({}, "expected one of log_uniform, uniform, choice, got none"),
        ({"choice": [1], "uniform": [0, 1]}, "got uniform, choice"),
        ({"normal": [0, 1]}, "draw.train.lr.normal: no such option"),
    ],
)
def test_a_draw_that_is_none_is_refused(how, words) -> None:
    with pytest.raises(ConfigError) as error:
        search(**{"train.lr": how})
    assert words in str(error.value)
