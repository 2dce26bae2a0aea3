import numpy as np
import pandas as pd
import pytest

from comit_ray.evaluation.subgroups import grouped, is_known, too_few
from tests.evaluation.support import scored_images


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (0, "0-17"),
        (17.9, "0-17"),
        (18, "18-39"),
        (39.99, "18-39"),
        (40, "40-59"),
        (79.5, "60-79"),
        (80, "80+"),
        (119, "80+"),
    ],
)
def test_bands_of_age(age: float, band: str) -> None:
    assert list(grouped(scored_images(1, age=age), "age")) == [f"age={band}"]


def test_ages_are_in_order_and_the_unknown_last() -> None:
    found = grouped(scored_images(6, age=[90, np.nan, 5, 45, 46, -1]), "age")
    assert {name: rows["image_id"].tolist() for name, rows in found.items()} == {
        "age=0-17": ["a/00002"],
        "age=40-59": ["a/00003", "a/00004"],
        "age=80+": ["a/00000"],
        "age=unknown": ["a/00001", "a/00005"],
    }


def test_other_groups_are_by_size_and_the_unknown_last() -> None:
    images = scored_images(7, sex=["M", None, "F", "M", None, None, "X"])
    assert {name: len(rows) for name, rows in grouped(images, "sex").items()} == {
        "sex=M": 2,
        "sex=F": 1,
        "sex=X": 1,
        "sex=unknown": 3,
    }
    assert [name for name in grouped(images, "sex") if is_known(name)] == ["sex=M", "sex=F", "sex=X"]


def test_a_view_that_is_called_unknown_is_not_known() -> None:
    found = grouped(scored_images(3, view=["PA", "unknown", None]), "view")
    assert {name: len(rows) for name, rows in found.items()} == {"view=PA": 1, "view=unknown": 2}
    assert list(grouped(scored_images(2), "device")) == ["device=unknown"]


def test_patients_are_counted_and_not_images() -> None:
    patients = pd.Series(["a"] * 5 + ["b", None, None])
    counted = np.array([True] * 7 + [False])
    assert too_few(counted, patients, "with a flag", 3) is None
    assert too_few(counted, patients, "with a flag", 4) == "suppressed: 3 patients with a flag, at least 4 are needed"
    one = np.arange(8) < 5
    assert too_few(one, patients, "with a flag", 2) == "suppressed: 1 patient with a flag, at least 2 are needed"
