"""Figures of subgroups: those of the rows alone, suppressed where patients are few, and compared pair by pair."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from comit_ray.evaluation.subgroups import (
    AUROC,
    SENSITIVITY_METRIC,
    SHARE_FLAGGED,
    SPECIFICITY_METRIC,
    compared,
    divided,
    subgroup_metrics,
)
from comit_ray.statistics import roc
from comit_ray.statistics.metric import Metric
from tests.evaluation.support import scored_images


def sample(count: int = 600, worse: float = 0.0, **columns: Any) -> pd.DataFrame:
    """Women and men; scores of men with COVID-19 are lower by `worse`."""
    rng = np.random.default_rng(0)
    sex = np.where(np.arange(count) % 2, "F", "M")
    covid = (rng.random(count) < 0.4).astype(float)
    p_covid = np.clip(rng.normal(0.35 + (0.3 - worse * (sex == "M")) * covid, 0.15), 0, 1).astype(np.float32)
    known = {"sex": sex, "covid": covid, "p_covid": p_covid, "covid_flag": p_covid >= 0.5}
    return scored_images(count, **known | columns)


def measured(images: pd.DataFrame, minimum: int = 10, draws: int = 40) -> dict[tuple[str, str], Metric]:
    return {(figure.group, figure.metric): figure for figure in subgroup_metrics(images, "test", minimum, draws)}


def test_a_group_is_measured_as_if_it_were_alone() -> None:
    images = sample()
    found = measured(images)
    assert {group for group, _ in found} == {"sex=F", "sex=M"}
    for sex in "FM":
        rows = images[images["sex"] == sex]
        positive, negative = rows[rows["covid"] == 1], rows[rows["covid"] == 0]
        group = f"sex={sex}"
        auroc = roc.auroc(rows["p_covid"].to_numpy(), rows["covid"].to_numpy(int))
        assert found[group, AUROC].value == pytest.approx(auroc)
        assert found[group, AUROC].n == 300
        sensitivity, specificity = found[group, SENSITIVITY_METRIC], found[group, SPECIFICITY_METRIC]
        assert sensitivity.value == pytest.approx(positive["covid_flag"].mean())
        assert (sensitivity.n, sensitivity.at, sensitivity.interval) == (len(positive), "specificity_0.90", "wilson")
        assert specificity.value == pytest.approx(1 - negative["covid_flag"].mean())
        assert found[group, SHARE_FLAGGED].value == pytest.approx(rows["covid_flag"].mean())
        assert all(figure.low < figure.value < figure.high for (mine, _), figure in found.items() if mine == group)


def test_both_scores_have_figures_where_there_are_both() -> None:
    images = sample()
    images["unhealthy"], images["p_unhealthy"], images["unhealthy_flag"] = images["covid"], images["p_covid"], True
    names = [metric for group, metric in measured(images) if group == "sex=F"]
    assert names[:4] == [AUROC, SENSITIVITY_METRIC, SPECIFICITY_METRIC, SHARE_FLAGGED]
    assert names[4:] == [f"unhealthy_{name}" for name in names[:4]]


def test_few_patients_are_suppressed_each_figure_by_what_it_counts() -> None:
    """Of X nine patients are positive, twice photographed, and twenty negative; one image more has no label."""
    images = sample(
        39, sex=["X"] * 38 + ["M"], covid=[1.0] * 18 + [0.0] * 20 + [np.nan], covid_flag=[True] * 20 + [False] * 19
    )
    images["patient_id"] = [f"p{number // 2}" for number in range(18)] + [f"n{number}" for number in range(21)]
    found = measured(images)
    why = "suppressed: 9 patients with a positive image, at least 10 are needed"
    for metric, n, patients in ((AUROC, 38, 29), (SENSITIVITY_METRIC, 18, 9)):
        figure = found["sex=X", metric]
        assert (figure.value, figure.low, figure.n, figure.patients, figure.reason) == (None, None, n, patients, why)
    assert found["sex=X", SPECIFICITY_METRIC].value == 0.9
    assert found["sex=X", SHARE_FLAGGED].n == 38
    assert found["sex=M", SHARE_FLAGGED].reason == "suppressed: 1 patient with a flag, at least 10 are needed"
    assert measured(images, minimum=9)["sex=X", SENSITIVITY_METRIC].value == 1


def test_only_what_parts_the_scored_images_is_looked_at() -> None:
    images = sample(age=50.0, device=["d"] * 600, site=["s", None] * 300)
    assert list(divided(images)) == ["sex", "site"]
    images.loc[images["sex"] == "F", "status"] = "failed"
    assert "sex" not in divided(images)


def test_a_flag_needs_no_label() -> None:
    images = sample(covid=np.nan)
    found = measured(images)
    share = found["sex=F", SHARE_FLAGGED]
    assert (share.n, share.interval) == (300, "wilson")
    assert found["sex=F", AUROC].reason == "suppressed: 0 patients with a positive image, at least 10 are needed"


def test_without_an_operating_point_flags_say_nothing() -> None:
    found = measured(sample(operating_point=["a", "b"] * 300), minimum=1)
    assert found["sex=F", SHARE_FLAGGED].value is None
    assert found["sex=F", SHARE_FLAGGED].reason.startswith("suppressed: 0 patients with a flag")
    assert found["sex=F", AUROC].value is not None


def figure(group: str, low: float, high: float, metric: str = AUROC) -> Metric:
    return Metric(metric, (low + high) / 2, 50, "test", group, low=low, high=high, interval="wilson")


def test_pairs_of_known_groups_of_one_attribute_are_compared() -> None:
    found = [
        figure("sex=F", 0.6, 0.7),
        figure("sex=M", 0.8, 0.9),
        figure("sex=unknown", 0.1, 0.2),
        figure("age=0-17", 0.1, 0.2),
        figure("view=PA", 0.5, 0.7),
        figure("view=AP", 0.7, 0.8),
        figure("view=frontal", 0.75, 0.9),
        figure("sex=F", 0.1, 0.2, SHARE_FLAGGED),
        figure("sex=M", 0.5, 0.6, SHARE_FLAGGED),
        figure("sex=F", 0.1, 0.2, f"unhealthy_{AUROC}"),
        Metric(SENSITIVITY_METRIC, 0.5, 3, "test", "sex=F", reason="one patient alone"),
    ]
    told = compared(found, "covid")
    assert {attribute: (len(gaps), pairs) for attribute, (gaps, pairs) in told.items()} == {
        "sex": (1, 1), "age": (0, 0), "view": (1, 3),
    }  # fmt: skip
    (gap,) = told["sex"][0]
    assert (gap.high.group, gap.low.group) == ("sex=M", "sex=F")
    assert gap.size == pytest.approx(0.2)
    assert [one.high.group for one in told["view"][0]] == ["view=frontal"]
