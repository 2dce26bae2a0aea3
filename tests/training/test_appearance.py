from typing import get_args

import numpy as np
import pytest
from PIL import Image

from comit_ray.config.train_config import AppearanceName
from comit_ray.training.appearance import CHANGES, vary_appearance

NAMES = get_args(AppearanceName)


@pytest.fixture(scope="module")
def radiograph(cxr) -> np.ndarray:
    """A real radiograph, 96 x 96."""
    file = sorted((cxr / "covid_chestxray" / "images").glob("*.jp*g"))[0]
    return np.asarray(Image.open(file).convert("L").resize((96, 96)))


def lungs() -> np.ndarray:
    found = np.zeros((96, 96), np.uint8)
    found[20:70, 15:40] = found[20:70, 55:80] = 1
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_changes_how_it_looks_and_the_same_draw_gives_the_same(radiograph, name) -> None:
    one, again, other = (vary_appearance(radiograph, lungs(), (name,), 1, [0, 0, n, 0]) for n in (1, 1, 2))
    assert one.shape == radiograph.shape
    assert one.dtype == np.uint8
    assert (one == again).all()
    assert (one != other).any()
    # What is seen of the patient stays: the lungs' texture still follows the original's.
    inside = lungs() == 1
    inside[:24] = inside[62:] = False
    assert np.corrcoef(one[inside], radiograph[inside])[0, 1] > 0.8


def test_one_change_more_leaves_the_draws_of_the_others(radiograph) -> None:
    key = [3, 1, 4, 0]
    alone = vary_appearance(radiograph, None, ("gamma",), 1, key)
    # `surroundings` comes before it, and does nothing where no lungs are annotated.
    assert (vary_appearance(radiograph, None, ("surroundings", "gamma"), 1, key) == alone).all()
    assert (alone != radiograph).any()


def test_the_chance_is_that_of_each_change(radiograph) -> None:
    changed = sum(
        (vary_appearance(radiograph, None, ("noise",), 0.25, [0, 0, n, 0]) != radiograph).any() for n in range(400)
    )
    assert 70 <= changed <= 130  # 100 expected, six standard deviations to either side would be 52
    assert (vary_appearance(radiograph, None, NAMES, 0, [0, 0, 0, 0]) == radiograph).all()


def test_surroundings_keep_the_lungs_and_nothing_of_the_rest(radiograph) -> None:
    one = vary_appearance(radiograph, lungs(), ("surroundings",), 1, [0, 0, 0, 0])
    assert (one[lungs() == 1] == radiograph[lungs() == 1]).all()
    assert len(np.unique(one[:10])) == 1
    unknown = np.full((96, 96), 255, np.uint8)
    assert (vary_appearance(radiograph, unknown, ("surroundings",), 1, [0, 0, 0, 0]) == radiograph).all()


def test_every_name_has_its_change() -> None:
    assert tuple(CHANGES) == NAMES
