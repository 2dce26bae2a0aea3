import json

import numpy as np
import pytest

from comit_ray import cli
from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.data.masks.mask_references import boxes_reference
from comit_ray.data.masks.masks import to_png
from comit_ray.errors import ManifestError
from comit_ray.tables.review_schema import REVIEWS
from jobs import evaluate
from tests.evaluation.study_tree import Images, write_study
from tests.support import manifest_row, mask_row, prediction_row, write_results, write_rows

KEYS = ["metric", "value", "n", "split", "group", "at", "low", "high", "interval", "patients", "level", "reason"]
FOUND, MISSED, NO_ABNORMALITY = 1_793, 305, 115  # section 4.4


def test_the_report_is_written(tmp_path, capsys):
    manifest = [manifest_row(f"a/{i}", covid=i % 2, unhealthy=i % 2) for i in range(20)]
    predictions = [prediction_row(f"a/{i}", 0.9 if i % 2 else 0.1) for i in range(20)]
    results, uri = write_results(tmp_path, manifest, predictions, [])
    config = EvaluateConfig(results=results, manifest=uri, output=str(tmp_path / "report"), sheet_images=0, draws=20)
    assert evaluate.job(config) == 0
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert all(sorted(metric) == sorted(KEYS) for metric in metrics)
    auroc = [m for m in metrics if m["metric"] == "auroc" and m["group"] == "all"]
    assert [(m["value"], m["n"]) for m in auroc] == [(1.0, 20)]
    printed = capsys.readouterr().out.splitlines()
    title = (tmp_path / "report" / "report.md").read_text().splitlines()[0]
    assert f"# {printed[0]}" == title
    assert len(printed) <= 14
    assert printed[-2:] == [f"whole report: {tmp_path}/report/report.html", f"report: {tmp_path}/report"]
    assert (tmp_path / "report" / "report.html").is_file()


@pytest.mark.parametrize("heads", ["scores", "lungs"])
def test_a_model_with_some_heads_alone_is_evaluated(cxr, tmp_path, heads):
    """A classifier's results and a lung U-Net's, with the sheet of overlays."""
    files = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:4]
    lungs = boxes_reference([(0, 0, 512, 1024)], 1024, 1024)
    manifest = [
        manifest_row(f"a/{i}", uri=str(f), covid=i % 2, unhealthy=i % 2, lung_mask=lungs) for i, f in enumerate(files)
    ]
    none = {"p_covid": None, "p_unhealthy": None, "covid_flag": None, "unhealthy_flag": None, "operating_point": None}
    changes, png = (
        ({}, {}) if heads == "scores" else (none | {"lung_area": 1.0}, {"lung_png": to_png(np.ones((64, 64), bool))})
    )
    predictions = [prediction_row(row["image_id"], 0.9, height=1024, width=1024) | changes for row in manifest]
    results, uri = write_results(
        tmp_path, manifest, predictions, [mask_row(row["image_id"], **png) for row in manifest]
    )
    report = tmp_path / "report"
    config = EvaluateConfig(results=results, manifest=uri, output=str(report), draws=20, subgroup_minimum=1)
    assert evaluate.job(config) == 0
    found = {m["metric"]: m["value"] for m in json.loads((report / "metrics.json").read_text()) if m["group"] == "all"}
    assert (found["auroc"], found["lung_iou"]) == ((0.5, None) if heads == "scores" else (None, 0.5))
    assert "No image has " in (report / "report.md").read_text()
    assert (report / "figures" / "sheet.png").stat().st_size > 10_000


def test_tables_that_do_not_belong_together_are_refused(tmp_path):
    results, uri = write_results(tmp_path, [manifest_row("a/1")], [prediction_row("b/1")], [])
    with pytest.raises(ManifestError, match=r"expected images of .* in .*, found none"):
        evaluate.job(EvaluateConfig(results=results, manifest=uri, output=str(tmp_path / "report")))


def test_the_papers_unseen_archive(tmp_path):
    """Section 4.4: 2,098 positives, 1,793 found (85.46%), 305 missed, 115 of them without abnormality to readers."""
    count = FOUND + MISSED
    manifest = [manifest_row(f"bimcv/{i:04d}", covid=1, uri="/nowhere.png") for i in range(count)]
    predictions = [prediction_row(row["image_id"], 0.9 if i < FOUND else 0.1) for i, row in enumerate(manifest)]
    results, uri = write_results(tmp_path, manifest, predictions, [])
    # Two readers of each missed image, and a third where these two do not agree.
    rows = []
    for i, row in enumerate(manifest[FOUND:]):
        answers = [i >= NO_ABNORMALITY] * 2 if i % 5 else [i >= NO_ABNORMALITY, i < NO_ABNORMALITY, i >= NO_ABNORMALITY]
        rows += [{"image_id": row["image_id"], "reader": f"r{n}", "abnormal": a} for n, a in enumerate(answers)]
    reviews = write_rows(tmp_path / "reviews", rows, REVIEWS)
    output = tmp_path / "report"
    config = EvaluateConfig(
        results=results, manifest=uri, output=str(output), external=True, reviews=reviews, sheet_images=0, draws=20
    )
    assert evaluate.job(config) == 0
    said = (output / "report.md").read_text()
    assert "it found 1,793 of these images and missed 305: the sensitivity is 0.85 [0.83, 0.87] w." in said
    assert "Readers read 305 of 305 missed images. In 115 of those read" in said
    assert "readers saw no abnormality: 0.38 [" in said
    assert "Specificity is undefined here (no image with a flag is labelled not COVID-19)" in said
    found = {
        f["metric"]: f
        for f in json.loads((output / "metrics.json").read_text())
        if f["group"] == "all" and f["level"] == "image"
    }
    sensitivity = found["sensitivity_at_operating_point"]
    assert (sensitivity["value"], sensitivity["n"], sensitivity["interval"]) == (FOUND / count, count, "wilson")
    assert found["missed_without_abnormality"]["value"] == NO_ABNORMALITY / MISSED
    assert found["specificity_at_operating_point"]["value"] is None
    assert found["specificity_at_operating_point"]["reason"]
    assert found["sensitivity_at_specificity"]["value"] is None
    missed = (output / "tables" / "missed.csv").read_text().splitlines()
    assert len(missed) == 1 + MISSED
    assert sum(line.endswith(",no abnormality") for line in missed) == NO_ABNORMALITY


def test_a_study_goes_to_its_own_report(tmp_path, capsys):
    scores = [[0.9, 0.8, 0.2, 0.1, 0.3, 0.4]]
    study, manifest = write_study(tmp_path, Images([1, 1, 0, 0, 0, 0]), {"COMiT-Net": scores, "Other": scores})
    config = EvaluateConfig(study=study, manifest=manifest, output=str(tmp_path / "report"), draws=20)
    assert evaluate.job(config) == 0
    assert "Study made_up: test split" in capsys.readouterr().out
    assert (tmp_path / "report" / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give one of --results, --predictions and --study, got none"),
        (["--results", "a", "--study", "b"], "got --results and --study"),
        (["--results", "a", "--predictions", "b"], "got --results and --predictions"),
        (["--study", "b", "--external", "true"], "--study excludes --split, --external and --compare"),
        (["--study", "b", "--split", "val"], "--study excludes --split, --external and --compare"),
        (["--predictions", "a", "--reviews", "r"], "--reviews needs --results"),
        (["--results", "a", "--draws", "0"], "draws"),
    ],
)
def test_options_that_do_not_go_together(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(EvaluateConfig, "", ["--manifest", "m", "--output", "o", *options])
    assert stop.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_options_of_an_external_archive():
    options = ["--manifest", "m", "--output", "o", "--results", "r", "--external", "true", "--reviews", "v"]
    config = cli.parse(EvaluateConfig, "", options)
    assert (config.external, config.reviews, config.split, config.draws) == (True, "v", None, 1000)


def test_readings_of_another_archive_are_refused(tmp_path):
    results, uri = write_results(tmp_path, [manifest_row("a/1", covid=1)], [prediction_row("a/1")], [])
    reviews = write_rows(tmp_path / "reviews", [{"image_id": "b/1", "reader": "r", "abnormal": True}], REVIEWS)
    config = EvaluateConfig(
        results=results, manifest=uri, output=str(tmp_path / "report"), external=True, reviews=reviews
    )
    with pytest.raises(ManifestError, match="but 1 of 1 are of other images"):
        evaluate.job(config)
    assert not (tmp_path / "report").exists()
