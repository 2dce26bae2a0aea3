import json

import pytest

from comit_ray.config import EvaluateConfig
from comit_ray.errors import ManifestError
from jobs import evaluate
from tests.support import manifest_row, prediction_row, write_results

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


def test_tables_that_do_not_belong_together_are_refused(tmp_path):
    results, uri = write_results(tmp_path, [manifest_row("a/1")], [prediction_row("b/1")], [])
    with pytest.raises(ManifestError, match="1 of 1 images of split 'test' have no prediction"):
        evaluate.job(EvaluateConfig(results=results, manifest=uri, output=str(tmp_path / "report")))
