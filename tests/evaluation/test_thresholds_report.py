"""The tables of thresholds, whole and short, and what is said of the frozen one."""

import csv
import io

import numpy as np

from comit_ray.evaluation import thresholds_report
from comit_ray.evaluation.thresholds import (
    Scale,
    StoredOperatingPoint,
    ThresholdRow,
    rows,
    scale,
    stored_operating_point,
)
from comit_ray.statistics.prevalence import at_prevalence
from tests.evaluation.test_thresholds import POINT, sample
from tests.statistics.test_prevalence import counted

PREVALENCES = (0.01, 0.2)
ONE = Scale(np.array([0.5], np.float32), np.array([0.5], np.float32), 1, POINT)


def row(sensitivity: tuple[int, int], specificity: tuple[int, int]) -> ThresholdRow:
    found, rejected = counted(*sensitivity), counted(*specificity)
    meant = {prevalence: at_prevalence(found, rejected, prevalence) for prevalence in PREVALENCES}
    return ThresholdRow("all", 0.5, POINT.name, found, rejected, meant)


def test_what_one_percent_asks_of_readers() -> None:
    """90 of 100 found, 100 of 1,000 flagged: at 1% 10.8% of images are read, 12 for each case."""
    (said,) = thresholds_report.sentences("covid", [row((90, 100), (900, 1000))])
    assert said.startswith("COVID-19 at the operating point specificity_0.90, provided that positives and negatives")
    assert "if 1% of the images are positive, a share of 0.11 [" in said
    assert "would go to readers, that is 12.0 [" in said
    assert "(positive predictive value 0.08 [" in said
    assert "if 20% of the images are positive, a share of 0.26 [" in said
    assert thresholds_report.sentences("covid", []) == []


def test_a_point_that_finds_nothing_is_said_to() -> None:
    (said,) = thresholds_report.sentences("covid", [row((0, 10), (18, 20))])
    assert "would go to readers, and no case would be found" in said


def test_the_table_of_prevalences_is_of_the_operating_point() -> None:
    found = thresholds_report.tables("covid", [row((90, 100), (900, 1000))], ONE, 10)
    assert list(found) == ["thresholds", "thresholds_all", "prevalence"]
    first, second = found["prevalence"].rows
    assert [cell.split(" ")[0] for cell in first] == ["1%", "0.08", "0.9989", "0.11", "12.0"]
    assert second[0] == "20%"
    assert "specificity_0.90" in found["prevalence"].title


def test_the_short_table_is_overall_and_the_whole_has_everything() -> None:
    images = sample(2000, dataset=["a"] * 1990 + ["b"] * 10)
    point = stored_operating_point(images, "covid", None)
    thresholds = scale(images, "covid", point)
    made = rows(images, "covid", thresholds, PREVALENCES, 10, "test", 10)
    found = thresholds_report.tables("covid", made, thresholds, 10)
    short, whole = found["thresholds"], list(csv.DictReader(io.StringIO(found["thresholds_all"].csv())))
    assert len(short.rows) == 13
    assert [cells[1] for cells in short.rows].count("specificity_0.90") == 1
    assert short.columns[4:] == ("positive predictive value at 1%", "positive predictive value at 20%")
    assert f"tables/thresholds_all.csv has all metrics at {thresholds.all.size:,} thresholds" in short.note
    assert f"(200 of {thresholds.distinct:,} different scores, evenly by rank)" in short.note
    assert "measure it again on other images. Not flagged is not normal." in thresholds_report.reading()[1]

    groups = [cells["images"] for cells in whole]
    assert groups.count("all") == 2 * thresholds.all.size
    assert groups.count("dataset=a") == 2 * thresholds.short.size
    (small,) = [cells for cells in whole if cells["images"] == "dataset=b"]
    assert small["reason"].startswith("suppressed: ")
    assert small["sensitivity"] == small["threshold"] == ""
    for cells in whole[:-1]:
        assert float(cells["sensitivity_low"] or 0) <= float(cells["sensitivity"] or 1)
    # The printed thresholds are the very float32: read back, they flag the same images.
    printed = {np.float32(cells["threshold"]) for cells in whole if cells["images"] == "all"}
    assert printed == set(thresholds.all.tolist()) == {float(value) for value in printed}


def test_the_figures_of_metrics_json_are_those_of_the_operating_point() -> None:
    found = thresholds_report.prevalence_metrics("unhealthy", [row((90, 100), (900, 1000))])
    assert len(found) == 8
    assert found[0].metric == "unhealthy_ppv_at_operating_point"
    assert (found[0].at, found[0].group) == ("specificity_0.90 at prevalence 0.01", "all")
    assert len({(figure.metric, figure.at) for figure in found}) == 8
    assert (
        thresholds_report.prevalence_metrics(
            "covid", [ThresholdRow("all", 0.5, None, counted(1, 2), counted(1, 2), {})]
        )
        == []
    )


def test_without_scores_there_is_no_table() -> None:
    empty = np.zeros(0, np.float32)
    assert thresholds_report.tables("covid", [], Scale(empty, empty, 0, None), 10) == {}


def test_where_the_threshold_comes_from_is_said() -> None:
    point = StoredOperatingPoint("specificity_0.90", 0.5, "read from the stars")
    thresholds = Scale(ONE.all, ONE.short, 1, point)
    found = thresholds_report.tables("covid", [row((1, 2), (1, 2))], thresholds, 10)
    assert "Operating point: read from the stars." in found["thresholds"].note
    assert "Measured on 2 positive and 2 negative images." in found["thresholds"].note
    without = thresholds_report.tables("covid", [row((1, 2), (1, 2))], Scale(ONE.all, ONE.short, 1, None), 10)
    assert "or flags that no threshold gives" in without["thresholds"].note
