from pathlib import Path

import numpy as np

from comit_ray.config import EvaluateConfig
from comit_ray.data.masks import boxes_reference, to_png
from comit_ray.evaluation.report import markdown
from comit_ray.evaluation.scores import Figure, figures, join_tables
from tests.support import manifest_row, mask_row, prediction_row, write_results

CONFIG = EvaluateConfig(results="r", manifest="m", output="o")
LUNG = to_png(np.ones((64, 64), bool))
NO_SCORES = {"p_covid": None, "covid_flag": None, "p_unhealthy": None, "unhealthy_flag": None, "operating_point": None}


def report(root: Path, masks: dict[str, bytes], **changes: object) -> str:
    """The report of two labelled images with masks."""
    manifest = [
        manifest_row(f"a/{i}", covid=i, unhealthy=i, lung_mask=boxes_reference([(0, 0, 64, 64)], 64, 64))
        for i in range(2)
    ]
    predictions = [prediction_row(f"a/{i}", 0.1 + 0.8 * i) | changes for i in range(2)]
    images = join_tables(
        *write_results(root, manifest, predictions, [mask_row(f"a/{i}", **masks) for i in range(2)]), "test"
    )
    return markdown(figures(images, "test"), images, CONFIG)


def test_figures_of_absent_heads_are_left_out_and_named(tmp_path):
    classifier = report(tmp_path / "classifier", {})
    assert "No image has lung masks or disease masks: those" in classifier
    assert "| auroc |  | 1.0000 (n=2)" in classifier
    assert "| unhealthy_eer |  | 0.0000 (n=2)" in classifier
    assert "lung_iou" not in classifier
    assert "disease_" not in classifier.split("| figure |")[1]
    segmenter = report(tmp_path / "segmenter", {"lung_png": LUNG}, **NO_SCORES)
    assert "No image has a COVID-19 score or an unhealthy score or disease masks: those" in segmenter
    assert "| lung_iou |  | 1.0000 (n=2)" in segmenter
    assert "auroc" not in segmenter
    assert "sensitivity" not in segmenter.split("| figure |")[1]


def test_the_report_says_what_the_scores_are(tmp_path):
    assert "Scores are calibrated" in report(tmp_path / "on", {}, calibration="temperature")
    assert "not calibrated" in report(tmp_path / "off", {}, calibration="none")
    older = report(tmp_path / "older", {})
    assert "calibrated" not in older
    nothing = report(tmp_path / "nothing", {}, **NO_SCORES)
    assert "No image has a score or a mask" in nothing
    assert "| share | ok | 1.0000 (n=2)" in nothing


def test_figures_are_cut_not_rounded_and_carry_their_n(tmp_path):
    values = [
        Figure("auroc", 0.99999, 10, "test", "all"),
        Figure("auroc", None, 1, "test", "dataset=a"),
        Figure("sensitivity_at_operating_point", 0.5, 4, "test", "all", at="specificity_0.90", low=0.15, high=0.85),
    ]
    images = join_tables(*write_results(tmp_path, [manifest_row("a/0")], [prediction_row("a/0")], []), "test")
    text = markdown(values, images, CONFIG)
    assert "| auroc |  | 0.9999 (n=10) | undefined (n=1) |" in text
    assert "0.5000 [0.1500, 0.8500] (n=4)" in text
    assert "Not for diagnosis" in text
