"""What a report adds: calibration, thresholds and subgroups, in its tables, sentences and metrics.json."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.errors import ConfigError
from comit_ray.evaluation import screen_report
from comit_ray.evaluation.screen_metrics import join_tables
from comit_ray.statistics.metric import Metric
from tests.support import manifest_row, prediction_row, write_results

COUNT = 200


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two images a patient, two datasets with both classes, women and men; scores that tell something."""
    root, rng = tmp_path_factory.mktemp("screen"), np.random.default_rng(0)
    manifest, predictions = [], []
    for number in range(COUNT):
        name = f"{'ab'[number // 100]}/{number:03d}"
        covid = int(number % 20 < 8)
        manifest.append(
            manifest_row(
                name, covid=covid, unhealthy=covid, patient_id=f"p{number // 2}", sex="FM"[number // 2 % 2],
                age=float(number % 90), view=["PA", "AP"][number // 4 % 2],
            )
        )  # fmt: skip
        score = float(np.float32(np.clip(rng.normal(0.3 + 0.3 * covid, 0.2), 0, 1)))
        predictions.append(prediction_row(name, score, calibration="none", view=manifest[-1]["view"]))
    results, uri = write_results(root, manifest, predictions, [])
    question = {"operating_point": {"name": "specificity_0.90", "thresholds": {"covid": 0.5, "unhealthy": 0.5}}}
    (root / "results" / "run.json").write_text(json.dumps({"run_id": "r", "question": question}))
    return {"results": results, "manifest": uri, "output": str(root / "report"), "draws": 30, "sheet_images": 0}


@pytest.fixture(scope="module")
def written(screen: dict[str, Any]) -> str:
    """Text of the report, which lies at `screen["output"]`."""
    return screen_report.write(EvaluateConfig(**screen))


def test_the_report_has_all_of_it(screen: dict[str, Any], written: str) -> None:
    text, root = written, Path(screen["output"])
    for words in (
        "Scores for COVID-19 (as the model gives them, not calibrated): ",
        "A score can be read as a probability only where positives are as frequent",
        "COVID-19 at the operating point specificity_0.90, provided that",
        "of two groups (by sex, age, view, dataset)",
        "](figures/reliability.png)",
        "Operating point: recorded in run.json.",
    ):
        assert words in text, words
    tables = {path.stem for path in (root / "tables").glob("*.csv")}
    assert tables >= {
        *(
            "calibration",
            "calibration_bins",
            "thresholds",
            "thresholds_all",
            "prevalence",
            "by_sex",
            "by_age",
            "by_view",
        ),
        *("by_dataset", "unhealthy_thresholds", "unhealthy_calibration_bins"),
    }
    assert "thresholds\\_all.csv has all metrics" in text
    assert "**By sex**" not in text, "of groups with enough patients there is one table"
    assert "| COVID-19 | sex F | 100 of 50 | 0." in text
    assert "| COVID-19 | dataset a |" not in text, "columns of the scores have it"
    assert "More in tables/: by_sex.csv, by_age.csv, by_view.csv, by_dataset.csv." in text
    assert text.count("specificity\\_0.90 | 0.") >= 2, "the short table has the operating point's row"
    (frozen,) = {
        row["threshold"] for row in csv.DictReader((root / "tables" / "thresholds_all.csv").open())
        if row["operating point"]
    }  # fmt: skip
    assert frozen == "0.5"


def test_metrics_json_has_the_figures_each_once(screen: dict[str, Any], written: str) -> None:
    found = json.loads(Path(screen["output"], "metrics.json").read_text())
    places = [(one["metric"], one["group"], one["at"], one["level"]) for one in found]
    assert len(places) == len(set(places))
    names = {(metric, group) for metric, group, *_ in places}
    for metric in ("brier", "ece", "ece_if_calibrated", "calibration_slope", "unhealthy_calibration_intercept"):
        assert {(metric, "all"), (metric, "dataset=a"), (metric, "dataset=b")} <= names
    assert ("ppv_at_operating_point", "view=PA") in names
    assert ("auroc", "sex=F") in names
    assert ("share_flagged_at_operating_point", "dataset=a") in names
    at = {one["at"] for one in found if one["metric"] == "npv_at_operating_point"}
    assert at == {f"specificity_0.90 at prevalence {prevalence}" for prevalence in ("0.01", "0.05", "0.1", "0.2")}
    for one in found:
        assert one["value"] is not None or one["reason"], one
        assert one["low"] is not None or one["reason"], one


def test_prevalences_and_the_minimum_are_options(screen: dict[str, Any], tmp_path: Path) -> None:
    options = screen | {"output": str(tmp_path / "report")}
    text = screen_report.write(EvaluateConfig(**options, prevalences=(0.03,), subgroup_minimum=60))
    assert "positive predictive value at 3%" in text
    assert "they have fewer than 60 patients" in text
    sensitivities = [
        one["value"] for one in json.loads((tmp_path / "report" / "metrics.json").read_text())
        if one["metric"] == "sensitivity_at_operating_point" and one["group"].startswith("sex=")
    ]  # fmt: skip
    assert sensitivities == [None, None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prevalences": [0.1, 1.0]}, "prevalences"),
        ({"prevalences": []}, "prevalences"),
        ({"subgroup_minimum": 0}, "subgroup_minimum"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EvaluateConfig.parse({"results": "r", "manifest": "m", "output": "o"} | options, origin="test")


def test_a_model_without_scores_has_none_of_it(screen: dict[str, Any]) -> None:
    images = join_tables(screen["results"], screen["manifest"], "test")
    for name in ("p_covid", "p_unhealthy", "covid_flag", "unhealthy_flag"):
        images[name] = None
    assert screen_report.judge_trust(EvaluateConfig(**screen), images, "test", screen["output"]) == screen_report.Trust(
        [], []
    )


def test_what_both_have_is_taken_from_the_first() -> None:
    whole = Metric("auroc", 0.8, 9, "test", "dataset=a")
    suppressed = Metric("auroc", None, 9, "test", "dataset=a", reason="suppressed: ...")
    other = Metric("auroc", 0.7, 9, "test", "sex=F")
    assert screen_report.together([whole], [suppressed, other]) == [whole, other]
