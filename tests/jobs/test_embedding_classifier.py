"""The paper's classifiers on embeddings as their users run them: from the tables of a screen to a report."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from comit_ray import cli
from comit_ray.config import config_yaml
from comit_ray.config.embedding_config import EmbeddingClassifierConfig
from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.queue_config import RequeueConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.errors import ConfigError, StorageError
from comit_ray.evaluation import screen_metrics
from comit_ray.tables import parquet
from jobs import embedding_classifier, evaluate, requeue, screen
from jobs import manifest as manifest_job
from tests.screening.embedded_screens import labelled_rows, separable, write_screen
from tests.support import write_checkpoint

METHODS = ["random_forest", "svm_sigmoid", "svm_gaussian", "svm_rbf"]
WITH_REPORT = {"random_forest", "svm_rbf"}
"""The other two differ from the last in their kernel alone: their figures are measured, and no pictures drawn."""
OF_THE_RUN = ["run_id", "screened_at"]
LATERAL = {"status": "excluded", "reason": "lateral", "detail": "view LL"}


def classify(results: str, manifest: str, output: Path, method: str = "svm_rbf", *options: str) -> int:
    """The job in this process, with the shipped file of a method."""
    path = config_yaml.SHIPPED / f"{method}.yaml"
    places = ["--results", results, "--manifest", manifest, "--output", str(output)]
    argv = ["--config", str(path), *places, *options]
    return embedding_classifier.job(cli.parse(EmbeddingClassifierConfig, "", argv))


def tables(output: Path) -> dict[str, pa.Table]:
    """What decides, of every file of the results."""
    return {
        str(path.relative_to(output)): parquet.read_part(str(path)).drop_columns(
            OF_THE_RUN if path.parent.name == "predictions" else []
        )
        for path in sorted(output.rglob("*.parquet"))
    }


def figures(results: Path, manifest: str, report: Path, **options: Any) -> dict[tuple, dict]:
    asked = EvaluateConfig(results=str(results), manifest=manifest, output=str(report), draws=20, **options)
    assert evaluate.job(asked) == 0
    found = json.loads((report / "metrics.json").read_text())
    return {(f["metric"], f["at"]): f for f in found if f["group"] == "all"}


def measured(results: Path, manifest: str) -> dict[tuple, dict]:
    """What a report measures, without the report and its pictures."""
    images = screen_metrics.join_tables(str(results), manifest, "test")
    found = screen_metrics.screen_metrics(images, "test", draws=20)
    return {(one.metric, one.at): asdict(one) for one in found if one.group == "all"}


@pytest.fixture
def synthetic(tmp_path) -> tuple[str, str]:
    """Separable embeddings of 200 images, and one lateral."""
    rows = labelled_rows({"train": 100, "val": 50, "test": 50})
    embeddings = separable(rows)
    del embeddings["a/test001"]
    return write_screen(tmp_path, rows, embeddings, failed={"a/test001": LATERAL})


@pytest.mark.parametrize("method", METHODS)
def test_the_output_is_a_screens_that_evaluate_and_requeue_take(synthetic, tmp_path, capsys, method):
    """And the same question gives the same tables again."""
    results, manifest = synthetic
    output = tmp_path / method
    assert classify(results, manifest, output, method) == 0
    said = capsys.readouterr().out
    assert f"{method} for covid: fitted on 34 positive and 66 negative images" in said
    assert "200 images in the manifest" in said

    rows = duckdb.sql(
        "SELECT status, reason, count(*), count(p_covid), count(covid_flag), count(unhealthy_flag), count(lung_area), "
        f"count(DISTINCT model_id), any_value(operating_point) FROM '{output}/predictions/*.parquet' GROUP BY ALL"
    ).fetchall()
    assert sorted(rows, key=str) == [
        ("excluded", "lateral", 1, 0, 0, 0, 0, 1, None),
        ("ok", None, 199, 199, 199, 199, 0, 1, "specificity_0.90"),
    ]
    masks = duckdb.sql(
        f"SELECT count(*), count(lung_png), count(disease_png), any_value(fit) FROM '{output}/masks/*.parquet'"
    ).fetchall()
    assert masks == [(199, 0, 0, "stretch")]

    points = json.loads((output / "operating_points.json").read_text())
    assert list(points) == ["specificity_0.90", "specificity_0.99"]
    assert (points["specificity_0.90"]["covid"]["positives"], points["specificity_0.90"]["covid"]["negatives"]) == (
        17,
        33,
    )

    assert classify(results, manifest, tmp_path / "again", method) == 0
    one, two = tables(output), tables(tmp_path / "again")
    assert one == two
    assert len(one) == 10
    documents = [(place / "operating_points.json").read_bytes() for place in (output, tmp_path / "again")]
    assert documents[0] == documents[1]

    if method in WITH_REPORT:
        found = figures(output, manifest, tmp_path / "report", sheet_images=0)
    else:
        found = measured(output, manifest)
    assert found["auroc", None]["value"] > 0.99
    assert found["unhealthy_auroc", None]["value"] > 0.99
    assert found["sensitivity_at_operating_point", "specificity_0.90"]["value"] == 1
    threshold = points["specificity_0.90"]["covid"]["threshold"]
    flags = duckdb.sql(
        f"SELECT count(*) FILTER (covid_flag = (p_covid >= {threshold!r})) FROM '{output}/predictions/*.parquet'"
    ).fetchall()
    assert flags == [(199,)]
    assert found["lung_iou", None]["n"] == 0
    assert requeue.job(RequeueConfig(results=str(output), manifest=manifest)) == 0
    assert parquet.count_rows(str(output / "review_queue" / "queue.parquet")) >= 34 + 17


def test_labels_without_pattern_are_not_learned(tmp_path):
    rows = labelled_rows({"train": 300, "val": 100, "test": 200})
    results, manifest = write_screen(tmp_path, rows, separable(rows, apart=0.0))
    assert classify(results, manifest, tmp_path / "out") == 0
    assert 0.35 < measured(tmp_path / "out", manifest)["auroc", None]["value"] < 0.65


def test_an_interrupted_output_is_finished_and_one_of_other_options_refused(synthetic, tmp_path):
    results, manifest = synthetic
    output = tmp_path / "out"
    assert classify(results, manifest, output) == 0
    whole, run = tables(output), json.loads((output / "run.json").read_text())
    parts = sorted((output / "predictions").iterdir())
    parts[0].unlink()
    parts[1].write_bytes(parts[1].read_bytes()[:100])
    assert classify(results, manifest, output) == 0
    assert tables(output) == whole
    assert json.loads((output / "run.json").read_text()) == run
    for options in (["--method.cost", "2"], ["--tasks", "[covid]"], ["--operating_point", "specificity_0.99"]):
        with pytest.raises(ConfigError, match=r"was made with other settings .*choose another --output"):
            classify(results, manifest, output, "svm_rbf", *options)
    with pytest.raises(ConfigError, match=r"was made with other settings .*model_id was"):
        classify(results, manifest, output, "random_forest")
    with pytest.raises(ConfigError, match="was made with other settings"):
        classify(results, manifest, Path(results))
    with pytest.raises(StorageError, match=r"is not the output of comit-ray screen"):
        classify(str(output), manifest, tmp_path / "next")
    assert tables(output) == whole


def test_one_label_alone(synthetic, tmp_path):
    results, manifest = synthetic
    assert classify(results, manifest, tmp_path / "out", "svm_rbf", "--tasks", "[unhealthy]") == 0
    found = duckdb.sql(
        f"SELECT count(p_covid), count(covid_flag), count(p_unhealthy) FROM '{tmp_path}/out/predictions/*.parquet'"
    ).fetchall()
    assert found == [(0, 0, 199)]
    assert figures(tmp_path / "out", manifest, tmp_path / "report", sheet_images=0)["auroc", None]["value"] is None


@pytest.mark.slow
def test_real_radiographs_from_pixels_to_the_report(cxr, here, tmp_path):
    """Real images, an untrained network: screen, classify, evaluate with its sheet."""
    root = tmp_path / "archive"
    (root / "images").mkdir(parents=True)
    metadata = pd.read_csv(cxr / "covid_chestxray" / "metadata.csv")
    kinds = metadata.assign(covid=metadata["finding"].str.contains("COVID"))[metadata["view"].isin(["PA", "L"])]
    for name in kinds.groupby(["view", "covid"])["filename"].head(16):  # 32 frontals, 11 + 1 laterals
        shutil.copy(cxr / "covid_chestxray" / "images" / name, root / "images")
    shutil.copy(cxr / "covid_chestxray" / "metadata.csv", root)
    uri = str(tmp_path / "manifest")
    options: dict[str, Any] = {"source": "covid-chestxray", "root": str(root), "present_only": True, "chunk_rows": 16}
    split = {"train": 0.5, "val": 0.25, "test": 0.25}
    assert manifest_job.job(ManifestConfig.parse({"output": uri, "split": split} | options, origin="test")) == 0
    screened = tmp_path / "screen"
    checkpoint = write_checkpoint(tmp_path / "model" / "checkpoint")
    asked = ScreenConfig(manifest=uri, checkpoint=checkpoint, output=str(screened), embeddings=True)
    assert screen.job(asked) == 0

    output = tmp_path / "forest"
    assert classify(str(screened), uri, output, "random_forest", "--tasks", "[covid]") == 0
    sql = "SELECT image_id, status, reason, height, width FROM '{}/predictions/*.parquet' ORDER BY image_id"
    before, after = (duckdb.sql(sql.format(place)).fetchall() for place in (screened, output))
    assert after == before
    assert len({row[1] for row in after}) > 1  # laterals stay excluded
    found = figures(output, uri, tmp_path / "report")
    assert found["auroc", None]["n"] >= 5
    assert (tmp_path / "report" / "figures" / "sheet.png").stat().st_size > 10_000
