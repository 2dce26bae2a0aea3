import json

import numpy as np
import pytest

from comit_ray.config import EvaluateConfig
from comit_ray.data.masks import boxes_reference, to_png
from comit_ray.errors import ManifestError
from jobs import evaluate
from tests.support import manifest_row, mask_row, prediction_row, write_results

KEYS = ["metric", "value", "n", "split", "group", "at", "low", "high"]


def test_the_report_is_written(tmp_path, capsys):
    manifest = [manifest_row(f"a/{i}", covid=i % 2, unhealthy=i % 2) for i in range(10)]
    predictions = [prediction_row(f"a/{i}", 0.9 if i % 2 else 0.1) for i in range(10)]
    results, uri = write_results(tmp_path, manifest, predictions, [])
    config = EvaluateConfig(results=results, manifest=uri, output=str(tmp_path / "report"), sheet_images=0)
    assert evaluate.job(config) == 0
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert all(sorted(metric) == sorted(KEYS) for metric in metrics)
    auroc = [m for m in metrics if m["metric"] == "auroc" and m["group"] == "all"]
    assert [(m["value"], m["n"]) for m in auroc] == [(1.0, 10)]
    assert (tmp_path / "report" / "report.md").read_text() in capsys.readouterr().out


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
    assert evaluate.job(EvaluateConfig(results=results, manifest=uri, output=str(report))) == 0
    found = {m["metric"]: m["value"] for m in json.loads((report / "metrics.json").read_text()) if m["group"] == "all"}
    assert (found["auroc"], found["lung_iou"]) == ((0.5, None) if heads == "scores" else (None, 0.5))
    assert "No image has " in (report / "report.md").read_text()
    assert (report / "figures" / "sheet.png").stat().st_size > 10_000


def test_tables_that_do_not_belong_together_are_refused(tmp_path):
    results, uri = write_results(tmp_path, [manifest_row("a/1")], [prediction_row("b/1")], [])
    with pytest.raises(ManifestError, match="1 of 1 images of split 'test' have no prediction"):
        evaluate.job(EvaluateConfig(results=results, manifest=uri, output=str(tmp_path / "report")))
