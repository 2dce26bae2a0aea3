"""The figures of a screen as tables, and what is said of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.data.masks.mask_references import boxes_reference
from comit_ray.data.masks.masks import to_png
from comit_ray.evaluation import metrics_report
from comit_ray.evaluation.metrics_report import NO_SINGLE_SOURCE
from comit_ray.evaluation.screen_metrics import join_tables, screen_metrics
from comit_ray.statistics.metric import Metric
from tests.support import manifest_row, mask_row, prediction_row, write_results

CONFIG = EvaluateConfig(results="r", manifest="m", output="o", draws=20)
LUNG = to_png(np.ones((64, 64), bool))
NO_SCORES = {"p_covid": None, "covid_flag": None, "p_unhealthy": None, "unhealthy_flag": None, "operating_point": None}
BOX = boxes_reference([(0, 0, 64, 64)], 64, 64)


def made(root: Path, masks: dict[str, bytes], **changes: Any) -> tuple[str, str]:
    """Tables and sentences of two labelled images with masks."""
    manifest = [manifest_row(f"a/{i}", covid=i, unhealthy=i, lung_mask=BOX) for i in range(2)]
    predictions = [prediction_row(f"a/{i}", 0.1 + 0.8 * i) | changes for i in range(2)]
    return told(root, manifest, predictions, [mask_row(f"a/{i}", **masks) for i in range(2)])


def told(
    root: Path, manifest: list[dict[str, Any]], predictions: list[dict[str, Any]], masks: list[dict[str, Any]]
) -> tuple[str, str]:
    images = join_tables(*write_results(root, manifest, predictions, masks), "test")
    found = screen_metrics(images, "test", draws=CONFIG.draws)
    tables = metrics_report.tables(found, images)
    return "\n".join(table.markdown() for table in tables.values()), "\n".join(metrics_report.sentences(images, found))


def test_figures_of_absent_heads_are_left_out_and_named(tmp_path: Path) -> None:
    tables, said = made(tmp_path / "classifier", {})
    assert "No image has lung masks or disease masks: the metrics" in said
    assert "| AUROC |  | image | 1.00 (no interval) |" in tables
    assert "| equal error rate |  | image | 0.00 (no interval) |" in tables
    assert "| all images: 1 of 1 patient + 1 of 1 patient |" in tables
    assert "lung" not in tables
    assert "disease" not in tables
    tables, said = made(tmp_path / "segmenter", {"lung_png": LUNG}, **NO_SCORES)
    assert "No image has a COVID-19 score or an unhealthy score or disease masks: the metrics" in said
    assert "| lungs: mean IoU |  | 1.00 (no interval) (n=2)" in tables
    assert "AUROC" not in tables
    assert "sensitivity" not in tables


def test_the_report_says_what_the_scores_are(tmp_path: Path) -> None:
    assert "Scores are calibrated" in made(tmp_path / "on", {}, calibration="temperature")[1]
    assert "not calibrated" in made(tmp_path / "off", {}, calibration="none")[1]
    older = made(tmp_path / "older", {})[1]
    assert "calibrated" not in older
    assert "The scores come from model m." in older
    tables, said = made(tmp_path / "nothing", {}, **NO_SCORES)
    assert "No image has a score or a mask" in said
    assert "| all images | 2 | 2 | 0 | 0 |" in tables


def test_the_papers_values_stand_beside_and_say_where_they_are_from(tmp_path: Path) -> None:
    tables, _ = made(tmp_path, {"lung_png": LUNG})
    scores, beside = tables.split("**The paper's values, from other data**")
    assert "paper" not in scores, "they are in a table of their own"
    rows = [line.replace("\\", "").strip("| ").split(" | ") for line in beside.splitlines() if line.startswith("|")]
    theirs = {row[0]: row[1:] for row in rows}
    assert theirs["sensitivity, threshold from these images 90% specificity"][0] == "0.968"
    assert theirs["sensitivity, threshold from these images 99% specificity"][0] == "0.872"
    assert theirs["precision, threshold from these images 99% specificity"][0] == "0.6412"
    assert theirs["lungs: mean IoU"][:2] == ["0.85", "1.00 (no interval)"]
    assert theirs["COVID-19 images flagged unhealthy specificity_0.90"][0] == "0.9725"
    remark = "section 4.2; at 99% specificity; with the 61 false positives"
    assert theirs["accuracy, threshold from these images 99% specificity"][2].startswith(remark)
    assert "A difference says nothing about either model" in beside


def test_of_an_external_archive_the_paper_has_other_values(tmp_path: Path) -> None:
    point = "specificity_0.90"
    found = [
        Metric("sensitivity_at_operating_point", 0.5, 4, "all", "all", at=point),
        Metric("sensitivity_at_operating_point", 0.5, 2, "all", "all", at=point, level="patient"),
        Metric("sensitivity_at_operating_point", 0.5, 4, "all", "all", at="specificity_0.99"),
        Metric("sensitivity_at_specificity", 0.5, 4, "all", "all", at=0.9),
    ]
    images = join_tables(*write_results(tmp_path, [manifest_row("a/0")], [prediction_row("a/0")], []), "test")
    table = metrics_report.tables(found, images, external=True)["paper"]
    assert [row[1] for row in table.rows] == ["0.8546"]


def test_positives_and_negatives_stand_beside_a_metric_and_one_source_has_no_column(tmp_path: Path) -> None:
    """The column of a single source would repeat the first."""
    manifest = [manifest_row(f"a/{i:02d}", covid=int(i < 12)) for i in range(32)]
    predictions = [prediction_row(row["image_id"], 0.2 + 0.02 * i) for i, row in enumerate(manifest)]
    tables, _ = told(tmp_path, manifest, predictions, [])
    assert "| all images: 12 of 12 patients + 20 of 20 patients |" in tables
    assert "(n=" not in next(line for line in tables.splitlines() if line.startswith("| AUROC |"))
    assert "(n=" in next(line for line in tables.splitlines() if line.startswith("| precision, stored"))
    assert "a alone" not in tables


@pytest.mark.parametrize(
    ("patients", "told"),
    [
        (["p", "p", "q"], "3 images of 2 patients"),
        ([None, None, None], "3 images, patients not known"),
        (["p", "p", None], "3 images: 2 of 1 patient, 1 without a patient id"),
    ],
)
def test_an_image_without_a_patients_id_is_not_called_a_patient(patients: list[str | None], told: str) -> None:
    """A folder of 119 files without headers was "119 images of 119 patients"."""
    assert metrics_report.of_patients(pd.DataFrame({"patient_id": patients})) == told


def test_a_reason_stands_once_a_group(tmp_path: Path) -> None:
    manifest = [manifest_row(f"{name}/{i}", covid=i if name == "a" else 0) for name in "ab" for i in range(2)]
    predictions = [prediction_row(row["image_id"], 0.1 + 0.8 * row["covid"]) for row in manifest]
    tables, _ = told(tmp_path, manifest, predictions, [])
    assert "Undefined (b alone): no scored image is labelled COVID-19;" in tables
    assert tables.count("no scored image is labelled COVID-19") == 1


def test_few_positives_are_said_to_be_few(tmp_path: Path) -> None:
    """17 patients: 5.88 points each, rounded up. Of 100 nothing is said."""
    manifest = [manifest_row(f"a/{i:03d}", covid=int(i < 30), patient_id=f"p{i % 17}") for i in range(34)]
    manifest += [manifest_row("a/failed", covid=1)]
    predictions = [prediction_row(row["image_id"], 0.5) for row in manifest[:-1]] + [prediction_row("a/failed", None)]
    _, said = told(tmp_path / "few", manifest, predictions, [])
    assert "17 patients with COVID-19 (30 images): one patient is worth 5.9 percentage points of" in said
    many = [manifest_row(f"a/{i:03d}", covid=1) for i in range(100)]
    _, said = told(tmp_path / "many", many, [prediction_row(row["image_id"]) for row in many], [])
    assert "one patient is" not in said


CHANCE = (
    "Inside a the score is not shown to be better than guessing (0.5): the model may have learned the source and not "
    "the disease."
)
NO_INTERVAL = "Inside a it has no interval, because there are too few images for a conclusion."


@pytest.mark.parametrize(
    ("images", "better", "said_of_it"), [(20, 0.0, CHANCE), (20, 0.15, None), (2, 0.5, NO_INTERVAL)]
)
def test_what_is_left_inside_one_source(tmp_path: Path, images: int, better: float, said_of_it: str | None) -> None:
    """Dataset b is negative alone and has low scores; in a positives are better by nothing, by much, or are too few."""
    manifest = [manifest_row(f"a/{i:02d}", covid=i % 2) for i in range(images)]
    manifest += [manifest_row(f"b/{i:02d}", covid=0) for i in range(40)]
    predictions = [prediction_row(f"a/{i:02d}", 0.3 + 0.02 * i + better * (i % 2)) for i in range(images)]
    predictions += [prediction_row(f"b/{i:02d}", 0.1 + i / 1000) for i in range(40)]
    _, said = told(tmp_path, manifest, predictions, [])
    assert "over all sources, and " in said
    assert "inside a." in said
    assert [sentence for sentence in (CHANCE, NO_INTERVAL) if sentence in said] == ([said_of_it] if said_of_it else [])


def test_classes_of_separate_sources(tmp_path: Path) -> None:
    manifest = [manifest_row(f"{name}/{i}", covid=int(name == "a")) for name in "ab" for i in range(3)]
    predictions = [prediction_row(row["image_id"], 0.5) for row in manifest]
    assert NO_SINGLE_SOURCE in told(tmp_path / "two", manifest, predictions, [])[1]
    assert NO_SINGLE_SOURCE not in told(tmp_path / "one", manifest[:3], predictions[:3], [])[1]


def test_unknown_patients_and_studies_are_counted(tmp_path: Path) -> None:
    manifest = [
        manifest_row(f"a/{i}", patient_id=f"p{i}" if i else None, study_id="s" if i < 2 else None) for i in (0, 1, 2)
    ]
    predictions = [prediction_row(row["image_id"]) for row in manifest]
    _, said = told(tmp_path, manifest, predictions, [])
    assert "Images without a patient id: 1 of 3. Each counts as a patient of its own" in said
    assert "Images without a study id: 1 of 3." in said


def test_the_report_says_what_intervals_are(tmp_path: Path) -> None:
    said = metrics_report.intervals(CONFIG)
    assert "percentiles of 20 bootstrap draws (seed 0) of patients" in said
    assert "The head of a column gives positives + negatives" in said
    assert "Not for diagnosis" in metrics_report.CAUTION
    assert "Not flagged is not normal" in metrics_report.CAUTION
