"""Figures by group: who is in which, what is not shown, and when a difference is said."""

import numpy as np
import pandas as pd

from comit_ray.evaluation import subgroups


def _images(worse: bool = False) -> pd.DataFrame:
    """400 images, half of them of women; where `worse`, the model finds men alone."""
    rng = np.random.default_rng(1)
    sex = np.where(np.arange(400) % 2 == 0, "F", "M")
    covid = np.arange(400) % 4 < 2
    found = covid & ((sex == "M") | (not worse)) & (rng.random(400) < 0.9)
    score = np.clip(0.3 + 0.4 * found + rng.normal(0, 0.05, 400), 0, 1).astype(np.float32)
    return pd.DataFrame(
        {
            "status": "ok",
            "covid": covid.astype(int),
            "p_covid": score,
            "covid_flag": pd.array(score >= 0.5, dtype="boolean"),
            "operating_point": "specificity_0.90",
            "patient_id": None,
            "sex": pd.Series(sex).where(np.arange(400) % 10 != 0, None),
            "age": np.where(np.arange(400) < 12, 7.0, np.where(np.arange(400) < 200, 45.0, np.nan)),
            "view": None,
            "dataset": "one",
            "site": None,
            "device": None,
        }
    )


def test_every_image_is_in_one_group_of_each_attribute_that_is_known() -> None:
    images = _images()
    figures = subgroups.figures(images, 10, "test", 50)
    flagged = {figure.group: figure.n for figure in figures if figure.metric == "share_flagged"}
    assert set(flagged) == {"sex=F", "sex=M", "sex=not known", "age=00-17", "age=40-59", "age=not known", "dataset=one"}
    assert flagged["age=00-17"] == 12
    assert flagged["sex=F"] + flagged["sex=M"] + flagged["sex=not known"] == 400
    women = images[images["sex"] == "F"]
    sensitivity = next(f for f in figures if (f.group, f.metric) == ("sex=F", "sensitivity_at_operating_point"))
    assert sensitivity.value == women[women["covid"] == 1]["covid_flag"].mean()
    assert sensitivity.interval == "wilson"


def test_what_rests_on_too_few_is_not_shown_and_counted() -> None:
    figures = subgroups.figures(_images(), 10, "test", 50)
    children = {figure.metric: figure for figure in figures if figure.group == "age=00-17"}
    assert children["sensitivity_at_operating_point"].value is None  # 6 of the 12
    assert children["auroc"].value is None
    assert children["share_flagged"].value is not None
    table = subgroups.tables(figures, 10)["subgroups_age"]
    assert [row.count("not shown") for row in table.rows] == [3, 0, 0]
    assert "Not shown, 3 of 12" in table.note


def test_a_difference_is_said_where_intervals_lie_apart() -> None:
    (said,) = subgroups.sentences(subgroups.figures(_images(worse=True), 10, "test", 100))
    assert "sensitivity_at_operating_point: sex=F 0." in said
    (said,) = subgroups.sentences(subgroups.figures(_images(), 10, "test", 100))
    assert "no two have intervals that lie apart. That the model serves all alike is not shown." in said


def test_too_few_for_any_comparison_is_said() -> None:
    (said,) = subgroups.sentences(subgroups.figures(_images().iloc[:12], 10, "test", 50))
    assert said == "Too few images to compare groups of patients: nothing is known of whom the model fails."


def test_flags_of_several_operating_points_are_not_mixed() -> None:
    images = _images()
    images.loc[:100, "operating_point"] = "specificity_0.99"
    figures = subgroups.figures(images, 10, "test", 20)
    assert all(figure.value is None for figure in figures if figure.metric != "auroc")
