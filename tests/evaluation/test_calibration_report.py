"""What is said of calibration, and the tables."""

import numpy as np
import pandas as pd

from comit_ray.evaluation import calibration, calibration_report
from comit_ray.evaluation.calibration_report import SHIFT
from tests.evaluation.support import scored_images
from tests.evaluation.test_calibration import sample


def told(images: pd.DataFrame, draws: int = 100) -> list[str]:
    return calibration_report.sentences(calibration.calibration_metrics(images, "test", draws), images)


def test_scores_that_are_no_probabilities_are_said_to_be_none() -> None:
    (said, shift) = told(sample(2000, shift=1, slope=0.5, calibration="none"))
    assert said.startswith("Scores for COVID-19 (as the model gives them, not calibrated): they cannot be read as prob")
    assert (
        "differ from the observed shares by more than chance explains and they are too low on the whole and they are "
        "too" in said
    )
    assert "expected calibration error is 0." in said
    assert "by chance), their slope 0." in said
    assert shift == SHIFT


def test_scores_that_are_too_high_and_too_close_to_one_another() -> None:
    said, _ = told(sample(2000, shift=-2, slope=2, calibration="temperature"))
    assert "(calibrated: their log-odds are divided by a temperature)" in said
    assert "too high on the whole" in said
    assert "too close to one another" in said
    assert "their intercept -" in said


def test_that_nothing_is_found_does_not_show_that_nothing_is_there() -> None:
    said, _ = told(sample(300))
    assert "(it is not recorded whether they are calibrated)" in said
    assert "these images show no fault of their calibration, which does not prove that there is none" in said
    assert "cannot be read" not in said


def test_what_cannot_be_judged_is_said_with_its_reason() -> None:
    said, _ = told(scored_images(12, covid=[1.0] * 6 + [0.0] * 6, p_covid=np.linspace(0, 1, 12)))
    assert "(calibration needs at least 10 images of each class, and there are 6 labelled COVID-19" in said
    covid = np.repeat([0.0, 1.0], 20)
    parted = scored_images(40, covid=covid, p_covid=np.where(covid == 1, 0.52, 0.48))
    said, _ = told(parted)
    assert "cannot be read as probabilities" in said
    assert "slope undefined" in said
    assert told(scored_images(3)) == []


def test_the_table_has_a_row_a_score_and_group() -> None:
    images = sample(dataset=["a"] * 300 + ["b"] * 100)
    images.loc[images["dataset"] == "b", "covid"] = 1.0
    images["unhealthy"], images["p_unhealthy"] = images["covid"], images["p_covid"]
    found = calibration.calibration_metrics(images, "test", 30)
    bins = {label: calibration.reliability(images, label, "test", 30) for label in ("covid", "unhealthy")}
    tables = calibration_report.tables(found, images, bins)
    assert list(tables) == ["calibration", "calibration_bins", "unhealthy_calibration_bins"]
    rows = {row[:2]: row for row in tables["calibration"].rows}
    assert set(rows) == {(name, group) for name in ("COVID-19", "unhealthy") for group in ("all images", "a alone")}, (
        "of a group of one class there is no row"
    )
    assert rows["COVID-19", "all images"][2] == "400"
    assert "Undefined (b alone): no scored image is labelled not COVID-19" in tables["calibration"].note
    assert len(tables["calibration_bins"].rows) == 10
    assert sum(int(row[5]) for row in tables["calibration_bins"].rows) == 400
    assert sum(int(row[4]) for row in tables["calibration_bins"].rows) == int(images["covid"].sum())
    assert all(row[3].endswith(" w") for row in tables["calibration_bins"].rows)


def test_no_scores_no_table() -> None:
    assert calibration_report.tables([], scored_images(3), {"covid": []}) == {}
