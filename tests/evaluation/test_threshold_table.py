"""What a threshold finds and costs: Bayes by hand, counts of the table, and groups that are too small."""

import csv
import io

import numpy as np
import pandas as pd
import pytest

from comit_ray.evaluation import threshold_table
from comit_ray.evaluation.threshold_table import predictive_values, thresholds


def _images(covid: int = 40, others: int = 160) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    truth = np.arange(covid + others) < covid
    scores = np.clip(rng.normal(0.3 + 0.4 * truth, 0.15), 0, 1).astype(np.float32)
    return pd.DataFrame(
        {
            "status": "ok",
            "covid": truth.astype(int),
            "p_covid": scores,
            "covid_flag": pd.array(scores >= 0.5, dtype="boolean"),
            "operating_point": "specificity_0.90",
            "patient_id": None,
            "dataset": np.where(np.arange(covid + others) % 20 == 0, "small", "large"),
            "view": ["PA", "AP"] * ((covid + others) // 2),
        }
    )


def _read(table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv(), newline="")))


def test_predictive_values_by_hand() -> None:
    """Of 10,000 people 500 are ill: 450 flagged, and 950 of the 9,500 others."""
    positive, negative = predictive_values(0.9, 0.9, 0.05)
    assert positive == pytest.approx(450 / 1_400)
    assert negative == pytest.approx(8_550 / 8_600)


def test_predictive_values_of_nobody_are_none() -> None:
    assert predictive_values(0, 1, 0.1)[0] is None
    assert predictive_values(1, 0, 0.1)[1] is None
    assert predictive_values(0, 1, 0.1)[1] == pytest.approx(0.9)
    with pytest.raises(ValueError, match="prevalence must be above 0 and below 1, got 1"):
        predictive_values(0.9, 0.9, 1)


def test_every_threshold_has_the_shares_of_its_images() -> None:
    images = _images()
    tables, _ = threshold_table.tables(images, [0.05], 10, "test", 50, 0)
    rows = _read(tables["thresholds_all"])
    assert len(rows) == len(np.unique(images["p_covid"]))
    for row in rows[:: len(rows) // 7]:
        flagged = images["p_covid"] >= np.float32(row["threshold"]) - 1e-6
        sensitivity = flagged[images["covid"] == 1].mean()
        assert row["sensitivity"].startswith(f"{int(sensitivity * 1e4 + 1e-9) / 1e4:.4f} [")
    sensitivities = [float(row["sensitivity"].split()[0]) for row in rows]
    assert sensitivities == sorted(sensitivities)
    assert rows[-1]["sent at 5%"] == "1.0000"
    assert rows[-1]["read for one found at 5%"] == "20.0"


def test_the_report_shows_the_highest_thresholds_that_find_as_much() -> None:
    tables, _ = threshold_table.tables(_images(), [0.05], 10, "test", 50, 0)
    shown, rows = (_read(tables[name]) for name in ("thresholds", "thresholds_all"))
    assert all(row in rows for row in shown)
    for row in shown:
        higher = rows[: rows.index(row)]
        found = float(row["sensitivity"].split()[0])
        assert any(
            found >= least and all(float(one["sensitivity"].split()[0]) < least for one in higher)
            for least in threshold_table.FOUND
        )
    assert shown[-1]["sensitivity"].startswith("1.0000")


def test_many_scores_are_thinned_and_the_ends_stay() -> None:
    scores = np.linspace(0, 1, 5_000).astype(np.float32)
    found = thresholds(scores)
    assert len(found) == 200
    assert (found[0], found[-1]) == (1.0, 0.0)


def test_groups_stand_at_the_operating_point_and_small_ones_are_not_shown() -> None:
    tables, figures = threshold_table.tables(_images(), [0.05], 10, "test", 50, 0)
    rows = {row["images"]: row for row in _read(tables["thresholds_by"])}
    assert set(rows) == {"dataset=large", "dataset=small", "view=AP", "view=PA"}
    assert rows["dataset=small"]["sensitivity"] == "not shown"
    assert rows["dataset=small"]["labelled COVID-19 and otherwise"] == "2 and 8"
    assert rows["view=AP"]["sensitivity"].endswith("w")
    assert {figure.group for figure in figures} == {"dataset=large", "view=AP", "view=PA"}
    assert {figure.at for figure in figures} == {"specificity_0.90"}


def test_one_class_has_no_table() -> None:
    assert threshold_table.tables(_images(covid=0), [0.05], 10, "test", 50, 0) == ({}, [])
