"""Studies and patients from images."""

import pandas as pd
import pytest

from comit_ray.evaluation.classification import to_level


def _images() -> pd.DataFrame:
    rows = [
        ("p1", "s1", 1, False),
        ("p1", "s1", 1, True),
        ("p1", "s2", 1, False),
        ("p2", "s3", 0, False),
        ("p3", None, 0, True),
        (None, "s4", 1, True),
    ]
    return pd.DataFrame(rows, columns=["patient_id", "study_id", "covid", "covid_flag"])


def test_one_flagged_image_flags_the_patient() -> None:
    found = to_level(_images(), "patient", "covid")
    assert found.to_dict("records") == [
        {"unit": "p1", "flag": True, "label": 1},
        {"unit": "p2", "flag": False, "label": 0},
        {"unit": "p3", "flag": True, "label": 0},
    ]


def test_studies_of_one_patient_are_several() -> None:
    found = to_level(_images(), "study", "covid")
    assert found["unit"].tolist() == ["s1", "s2", "s3", "s4"]
    assert found["flag"].tolist() == [True, False, False, True]
    assert found["label"].tolist() == [1, 1, 0, 1]


def test_one_positive_image_makes_a_positive_patient() -> None:
    images = _images().assign(covid=[0, 0, 1, 0, 0, 0])
    assert to_level(images, "patient", "covid")["label"].tolist() == [1, 0, 0]


@pytest.mark.parametrize("column", ["covid", "covid_flag"])
def test_what_is_not_known_is_an_error(column: str) -> None:
    images = _images().astype({column: object})
    images.loc[0, column] = None
    with pytest.raises(ValueError, match="got 1 of 6 images without"):
        to_level(images, "patient", "covid")


def test_no_image_is_no_unit() -> None:
    assert to_level(_images().iloc[:0], "patient", "covid").empty
