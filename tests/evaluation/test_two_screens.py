"""Two screens of the same images: alike, apart, and what cannot be compared."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.errors import ConfigError, ManifestError
from comit_ray.evaluation import screen_report, two_screens
from comit_ray.evaluation.screen_metrics import join_tables
from tests.support import manifest_row, prediction_row, write_results

COUNT = 80
COVID = [int(number < 30) for number in range(COUNT)]
RNG = np.random.default_rng(4)
GOOD = [0.5 * covid + 0.5 * RNG.random() for covid in COVID]
POOR = RNG.random(COUNT).tolist()


def _screen(root: Path, scores: list[float], failed: int = 0, images_a_patient: int = 1) -> tuple[str, str]:
    ids = [f"a/{number:02d}" for number in range(COUNT)]
    manifest = [
        manifest_row(one, covid=covid, unhealthy=covid, patient_id=f"p{number // images_a_patient}")
        for number, (one, covid) in enumerate(zip(ids, COVID, strict=True))
    ]
    predictions = [
        prediction_row(one, score, covid_flag=score >= 0.5, unhealthy_flag=True)
        if number >= failed
        else prediction_row(one, None, status="failed", reason="truncated", detail="the file ends early")
        for number, (one, score) in enumerate(zip(ids, scores, strict=True))
    ]
    return write_results(root, manifest, predictions, [])


def _compared(tmp_path: Path, second: list[float], **options: int) -> tuple[dict, pd.DataFrame, pd.DataFrame]:
    images = join_tables(*_screen(tmp_path / "a", GOOD, **options), "test")
    others = join_tables(*_screen(tmp_path / "b", second, **options), "test")
    found = two_screens.compare(images, others, 300, 0)
    return {one.metric: one.result for one in found}, images, others


def test_a_worse_model_is_told_apart(tmp_path: Path) -> None:
    found, images, others = _compared(tmp_path, POOR)
    auroc = found["auroc"]
    assert auroc.method == "DeLong"
    assert auroc.first == pytest.approx(roc_auc_score(COVID, np.array(GOOD, np.float32)))
    assert auroc.second == pytest.approx(roc_auc_score(COVID, np.array(POOR, np.float32)))
    assert auroc.adjusted < 0.01
    good, poor = (np.array(scores)[:30] >= 0.5 for scores in (GOOD, POOR))
    table = [[int(((good == a) & (poor == b)).sum()) for b in (True, False)] for a in (True, False)]
    sensitivity = found["sensitivity_at_operating_point"]
    assert (sensitivity.method, sensitivity.n) == ("McNemar, exact", 30)
    assert sensitivity.p_value == pytest.approx(mcnemar(table, exact=True).pvalue)
    differences = two_screens.compare(images, others, 300, 0)
    (said,) = two_screens.sentences(differences, images, others)
    assert "AUROC is 0." in said
    assert "higher in this screen" in said


def test_one_model_twice_is_not_told_apart(tmp_path: Path) -> None:
    found, images, others = _compared(tmp_path, GOOD)
    assert {one.p_value for one in found.values()} == {1}
    (said,) = two_screens.sentences(two_screens.compare(images, others, 50, 0), images, others)
    assert "differ significantly in none of 8 metrics (smallest adjusted p 1.000)" in said
    assert "This does not show that they are alike either." in said


def test_patients_with_several_images_are_exchanged(tmp_path: Path) -> None:
    found, *_ = _compared(tmp_path, POOR, images_a_patient=2)
    assert found["auroc"].method == "exchange of patients' ranks"
    assert found["sensitivity_at_operating_point"].method == "exchange of patients' flags, exact"


def test_only_images_that_both_scored_are_compared(tmp_path: Path) -> None:
    images = join_tables(*_screen(tmp_path / "a", GOOD), "test")
    others = join_tables(*_screen(tmp_path / "b", POOR, failed=5), "test")
    differences = two_screens.compare(images, others, 50, 0)
    assert {one.metric: one.result.n for one in differences}["auroc"] == COUNT - 5
    said = two_screens.sentences(differences, images, others)
    assert "Images that only this screen scored: 5; that only the other screen scored: 0." in said[-1]


def test_the_report_has_table_file_and_sentence(tmp_path: Path) -> None:
    results, manifest = _screen(tmp_path / "a", GOOD)
    other, _ = _screen(tmp_path / "b", POOR)
    config = EvaluateConfig(
        results=results, manifest=manifest, compare=other, output=str(tmp_path / "report"), draws=50, sheet_images=0
    )
    text = screen_report.write(config)
    assert "Comparison with another screen" in text
    assert "McNemar, exact" in (tmp_path / "report" / "tables" / "comparison.csv").read_text()
    records = json.loads((tmp_path / "report" / "comparison.json").read_text())
    assert {record["metric"] for record in records} >= {"auroc", "unhealthy_auroc", "specificity_at_operating_point"}
    assert all(0 <= record["result"]["p_value"] <= record["result"]["adjusted"] <= 1 for record in records)


def test_another_archive_is_refused(tmp_path: Path) -> None:
    results, manifest = _screen(tmp_path / "a", GOOD)
    rows = [manifest_row("b/0", covid=1)]
    other, _ = write_results(tmp_path / "b", rows, [prediction_row("b/0", 0.5)], [])
    with pytest.raises(ManifestError, match="expected a prediction for every image of split"):
        screen_report.write(
            EvaluateConfig(results=results, manifest=manifest, compare=other, output=str(tmp_path / "report"), draws=50)
        )


def test_a_study_is_compared_in_itself() -> None:
    with pytest.raises(ConfigError, match="--compare"):
        EvaluateConfig.parse({"study": "s", "manifest": "m", "output": "o", "compare": "r"}, origin="test")
