"""Figures of the scores against scikit-learn and comit_ray.statistics.roc, and by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, roc_curve

from comit_ray.evaluation.classification import blocks, covid_called_unhealthy, flagged, operating_points, ranked
from comit_ray.statistics import roc
from comit_ray.statistics.measure import measure
from comit_ray.statistics.metric import LEVELS, Metric, ratios

SPECIFICITIES, SENSITIVITIES = (0.5, 0.9, 0.99, 1.0), (0.5, 0.9, 0.95, 1.0)


def table(count: int, **columns: Any) -> pd.DataFrame:
    """Scored images without labels and flags, one a patient."""
    ids = [f"i{number}" for number in range(count)]
    common: dict[str, Any] = {"image_id": ids, "patient_id": ids, "study_id": None, "dataset": "a", "status": "ok"}
    nothing = ("covid", "unhealthy", "p_covid", "p_unhealthy", "covid_flag", "unhealthy_flag")
    nulls: dict[str, Any] = dict.fromkeys(nothing, np.nan)
    return pd.DataFrame(common | nulls | {"operating_point": "specificity_0.90"} | columns)


def measured(images: pd.DataFrame, draws: int = 20) -> dict[tuple[str, float | str | None, str], Metric]:
    found = measure(
        blocks(images, operating_points(images), SPECIFICITIES, SENSITIVITIES), images["patient_id"], "t", "all", draws
    )
    return {(figure.metric, figure.at, figure.level): figure for figure in found}


@pytest.mark.parametrize("levels", [4, 100_000])
def test_ranked_figures_are_those_of_scikit_learn_in_any_draw(levels: int) -> None:
    """Many ties, and none; images drawn several times or never; some without a label or a score."""
    rng = np.random.default_rng(levels)
    labels = (rng.random(80) < 0.3).astype(float)
    scores = (rng.integers(0, levels, 80) / levels * 0.8 + 0.2 * labels).astype(np.float32)
    labels[:5], scores[5:10] = np.nan, np.nan
    block = ranked(table(80, covid=labels, p_covid=scores), "covid", SPECIFICITIES, SENSITIVITIES)
    names = [(entry.metric, entry.at) for entry in block.entries]
    for _ in range(25):
        rows = rng.integers(0, 80, 80)
        found = dict(zip(names, block.values(np.bincount(rows, minlength=80)), strict=True))
        drawn = rows[~np.isnan(labels[rows]) & ~np.isnan(scores[rows])]
        p, y = scores[drawn], labels[drawn]
        false, true, _ = roc_curve(y, p, drop_intermediate=False)
        assert found["auroc", None] == pytest.approx(roc.auroc(p, y))
        assert found["eer", None] == pytest.approx(roc.eer(p, y))
        assert found["average_precision", None] == pytest.approx(average_precision_score(y, p))
        for at in SENSITIVITIES:
            assert found["specificity_at_sensitivity", at] == pytest.approx((1 - false[true >= at - 1e-9]).max())
        for at in SPECIFICITIES:
            threshold = roc.threshold_at_specificity(p, y, at)
            assert threshold is not None
            flags = p >= np.float32(threshold)
            sensitivity = roc.sensitivity_at_specificity(p, y, at)
            assert found["sensitivity_at_specificity", at] == found["recall_at_specificity", at]
            assert found["recall_at_specificity", at] == pytest.approx(sensitivity)
            assert found["accuracy_at_specificity", at] == pytest.approx((flags == y).mean())
            assert found["f1_at_specificity", at] == pytest.approx(f1_score(y, flags, zero_division=0.0))
            precision = found["precision_at_specificity", at]
            if flags.any():
                assert precision == pytest.approx(precision_score(y, flags))
            else:
                assert np.isnan(precision)


def test_the_papers_arithmetic() -> None:
    """121 of 125 at 90% and 109 at 99% specificity over 6,174 others, with 61 false positives (section 4.2).

    The paper prints precision 64.12, accuracy 98.79 (the counts give 98.78) and F1 73.90.
    """
    scores = np.concatenate([np.full(109, 0.9), np.full(12, 0.5), np.full(4, 0.05)])
    others = np.concatenate([np.full(61, 0.95), np.full(556, 0.6), np.full(5557, 0.1)])
    images = table(6299, covid=(np.arange(6299) < 125).astype(float), p_covid=np.concatenate([scores, others]))
    found = measured(images)
    at_90 = found["sensitivity_at_specificity", 0.9, "image"]
    assert (at_90.value, at_90.n) == (121 / 125, 125)
    value = {metric: found[f"{metric}_at_specificity", 0.99, "image"].value for metric in ("sensitivity", "recall")}
    assert value == {"sensitivity": 109 / 125, "recall": 109 / 125}
    accuracy, precision, f1 = (found[f"{m}_at_specificity", 0.99, "image"] for m in ("accuracy", "precision", "f1"))
    assert (accuracy.value, accuracy.n) == ((109 + 6174 - 61) / 6299, 6299)
    assert (precision.value, precision.n) == (109 / 170, 170)
    assert f1.value == 2 * 109 / (2 * 109 + 61 + 16)
    printed = [f"{100 * (figure.value or 0):.2f}" for figure in (accuracy, precision, f1)]
    assert printed == ["98.78", "64.12", "73.90"]


def test_figures_at_the_operating_point_by_hand() -> None:
    """Four COVID images, three flagged; six others, two flagged."""
    covid, flags = [1.0] * 4 + [0.0] * 6, [True, True, True, False, True, True, *[False] * 4]
    found = measured(table(10, covid=covid, p_covid=0.5, covid_flag=flags))
    expected = {
        "sensitivity": (3, 4),
        "specificity": (4, 6),
        "accuracy": (7, 10),
        "precision": (3, 5),
        "recall": (3, 4),
    }
    for metric, (hits, n) in expected.items():
        figure = found[f"{metric}_at_operating_point", "specificity_0.90", "image"]
        assert (figure.value, figure.n, figure.interval) == (hits / n, n, "wilson")
    f1 = found["f1_at_operating_point", "specificity_0.90", "image"]
    assert f1.value == pytest.approx(6 / 9)
    assert f1.n == 10
    assert f1.interval is not None
    assert "bootstrap" in f1.interval
    assert found["unhealthy_f1_at_operating_point", None, "image"].value is None


def test_a_study_and_a_patient_are_flagged_where_any_image_is() -> None:
    """Patient a: two studies, one flagged. b: one study, not flagged. c, negative: one of two images is flagged."""
    images = table(
        6,
        patient_id=["a", "a", "a", "b", "c", "c"],
        study_id=["a1", "a1", "a2", "b1", "c1", None],
        covid=[1.0, 1, 1, 1, 0, 0],
        p_covid=[0.9, 0.1, 0.1, 0.2, 0.1, 0.9],
        covid_flag=[True, False, False, False, False, True],
    )
    found = measured(images)
    sensitivity, specificity = (
        [found[f"{metric}_at_operating_point", "specificity_0.90", level] for level in LEVELS]
        for metric in ("sensitivity", "specificity")
    )
    assert [figure.value for figure in sensitivity] == pytest.approx([1 / 4, 1 / 3, 1 / 2])
    assert [(figure.n, figure.patients) for figure in sensitivity] == [(4, 2), (3, 2), (2, 2)]
    assert sensitivity[2].interval == "wilson"
    assert [(figure.value, figure.n) for figure in specificity] == [(0.5, 2), (1.0, 1), (0.0, 1)]


def test_a_level_is_measured_on_the_patients_that_were_drawn() -> None:
    """A draw of patient a alone: a sensitivity of 1, and none where only negatives were drawn."""
    images = table(
        4, patient_id=["a", "a", "b", "c"], covid=[1.0, 1, 1, 0], p_covid=0.5, covid_flag=[False, True, False, False]
    )
    block = ratios(flagged(images, "covid", "specificity_0.90"))
    place = [(entry.metric, entry.level) for entry in block.entries].index(
        ("sensitivity_at_operating_point", "patient")
    )
    assert block.values(np.array([3, 3, 0, 0]))[place] == 1
    assert block.values(np.array([1, 1, 1, 0]))[place] == 0.5
    assert np.isnan(block.values(np.array([0, 0, 0, 2]))[place])


def test_covid_called_unhealthy() -> None:
    """Three COVID images with a flag, two of them unhealthy; one without a flag, and one that failed, do not count."""
    images = table(
        6,
        covid=[1.0, 1, 1, 1, 1, 0],
        unhealthy=1.0,
        p_unhealthy=0.5,
        unhealthy_flag=[True, True, False, None, True, False],
        status=["ok"] * 4 + ["failed", "ok"],
    )
    found = measured(images)["covid_called_unhealthy", "specificity_0.90", "image"]
    assert found.value == pytest.approx(2 / 3)
    assert (found.n, found.interval) == (3, "wilson")
    without = covid_called_unhealthy(images.assign(unhealthy_flag=None), None)
    assert not without.entry.counted_N.any()


def test_one_class_is_undefined_and_says_which() -> None:
    found = measured(table(3, covid=1.0, p_covid=[0.1, 0.2, 0.3], covid_flag=True))
    auroc = found["auroc", None, "image"]
    assert (auroc.value, auroc.n, auroc.reason) == (None, 3, "no scored image is labelled not COVID-19")
    specificity = found["specificity_at_operating_point", "specificity_0.90", "image"]
    assert (specificity.value, specificity.n, specificity.low) == (None, 0, None)
    assert specificity.reason == "no image with a flag is labelled not COVID-19"
    assert found["sensitivity_at_operating_point", "specificity_0.90", "image"].value == 1
    assert found["unhealthy_auroc", None, "image"].reason == "no image has both a label and a score for unhealthy"


def test_no_flag_at_a_threshold_has_no_precision() -> None:
    """The highest score is a negative's: at 100% specificity nothing is flagged."""
    found = measured(table(3, covid=[1.0, 0, 0], p_covid=[0.1, 0.5, 0.3]))
    precision = found["precision_at_specificity", 1.0, "image"]
    assert (precision.value, precision.n, precision.reason) == (None, 0, "no image is flagged at this threshold")
    assert found["f1_at_specificity", 1.0, "image"].value == 0


def test_flags_of_several_operating_points_are_no_figure() -> None:
    images = table(4, covid=[1.0, 1, 0, 0], p_covid=0.5, covid_flag=True, operating_point=["a", "b", "a", "b"])
    found = measured(images)["sensitivity_at_operating_point", None, "image"]
    assert (found.value, found.n, found.reason) == (None, 0, "the flags come from several operating points")
