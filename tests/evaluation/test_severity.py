import json

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.errors import ConfigError
from comit_ray.evaluation import severity
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import PREDICTIONS
from tests.conftest import REPOSITORY
from tests.support import manifest_row, prediction_row, write_rows


@pytest.fixture
def screen(tmp_path) -> EvaluateConfig:
    """Thirty images of fifteen patients; the disease of image n covers n / 30 of every zone."""
    rows = [manifest_row(f"x/{n:02d}", patient_id=f"p{n // 2}") for n in range(30)]
    manifest = write_rows(tmp_path / "manifest", rows, MANIFEST)
    zones = [[n / 30] * 6 for n in range(30)]
    predictions = [prediction_row(f"x/{n:02d}", zone_disease=zones[n]) for n in range(30)]
    write_rows(tmp_path / "results" / "predictions", predictions, PREDICTIONS)
    return EvaluateConfig(
        results=str(tmp_path / "results"), manifest=manifest, output=str(tmp_path / "report"), draws=50
    )


def table(tmp_path, **columns) -> str:
    path = tmp_path / "scores.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return str(path)


IDS = [f"x/{n:02d}" for n in range(30)]


def test_the_same_order_on_another_scale_is_found_by_rank_and_mended_by_the_fit(screen, tmp_path) -> None:
    read = [round(18 * (n / 30) ** 3) for n in range(30)]
    uri = table(tmp_path, image_id=IDS, severity=read, right_upper=[n // 10 for n in range(30)])
    found = {
        (one.of, one.metric): one
        for one in severity.agreement(severity.join(screen.results or "", screen.manifest, uri), 50, 0)
    }
    rank = found[("severity", "spearman")]
    assert rank.value is not None
    assert rank.value > 0.97
    assert rank.low is not None
    assert (rank.images, rank.patients) == (30, 15)
    before, after = (found[("severity", name)].value for name in ("mae", "mae_after_fit"))
    assert before is not None
    assert after is not None
    assert after < before / 3
    assert found[("right_upper", "spearman")].value == pytest.approx(
        severity.spearman(np.arange(30.0), np.arange(30.0) // 10)
    )


def test_the_chapter_has_its_metrics_and_writes_them(screen, tmp_path) -> None:
    uri = table(tmp_path, image_id=IDS, severity=[n // 2 for n in range(30)])
    chapter = severity.chapter(screen, uri)
    assert "the Spearman coefficient between predicted severity and the readers' scores is 0.99" in chapter.said[0]
    assert [row[1] for row in chapter.tables["severity"].rows] == [
        "spearman", "quadratic_kappa", "mae", "quadratic_kappa_after_fit", "mae_after_fit"
    ]  # fmt: skip
    written = json.loads((tmp_path / "report" / severity.FILE).read_text())
    assert [one["metric"] for one in written] == [row[1] for row in chapter.tables["severity"].rows]


def test_kappa_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    first = generator.integers(0, 19, 200).astype(float)
    second = np.clip(first + generator.integers(-4, 5, 200), 0, 18).astype(np.float64)
    assert severity.quadratic_kappa(first, second) == pytest.approx(
        cohen_kappa_score(first, second, weights="quadratic", labels=range(19))
    )
    assert severity.quadratic_kappa(np.zeros(5), np.zeros(5)) is None
    assert severity.spearman(np.zeros(5), np.arange(5.0)) is None


def test_a_fit_has_not_seen_the_patient_it_is_judged_on() -> None:
    """One patient's scores are upside down: a fit that saw them would follow."""
    predicted, read = np.arange(20.0), np.arange(20.0) / 2
    read[:4] = 18
    patients = np.repeat(np.arange(5), 4)
    assert severity.out_of_fold(predicted, read, patients)[:4].max() <= 2.0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image_id": IDS}, "expected the columns image_id and severity"),
        ({"image_id": IDS, "severity": [19] * 30}, "expected a number from 0 to 18 in severity, got 19 for x/00"),
        ({"image_id": IDS, "severity": ["much"] * 30}, "in severity, got much for x/00"),
        (
            {"image_id": IDS, "severity": [1] * 30, "left_lower": [4] * 30},
            "expected a number from 0 to 3 in left_lower, got 4",
        ),
        ({"image_id": ["x/01"] * 2, "severity": [1, 2]}, "got x/01 twice"),
        ({"image_id": ["y/01"], "severity": [1]}, "for at least 10 of its images, got 0 of 1"),
    ],
)
def test_a_table_that_is_none_is_refused(screen, tmp_path, columns, message) -> None:
    with pytest.raises(ConfigError, match=message):
        severity.join(screen.results or "", screen.manifest, table(tmp_path, **columns))


def test_the_fit_is_a_table_that_brings_a_screen_to_the_readers_scale(screen, tmp_path, monkeypatch) -> None:
    """By the query of docs/reports.md: readers gave half of what was predicted."""
    uri = table(tmp_path, image_id=IDS, severity=[0.3 * n for n in range(30)])
    severity.chapter(screen, uri)
    fit = pd.read_csv(tmp_path / "report" / severity.FIT_FILE)
    assert fit["severity"].tolist() == [n / 10 for n in range(181)]
    assert fit["readers_score"].is_monotonic_increasing
    predictions = [prediction_row(f"x/{n:02d}", severity=18 * n / 30) for n in range(30)]
    write_rows(tmp_path / "out" / "predictions", predictions, PREDICTIONS)
    (tmp_path / "report").rename(tmp_path / "severity_report")
    monkeypatch.chdir(tmp_path)
    query = (
        (REPOSITORY / "docs" / "reports.md")
        .read_text()
        .split("```sql\nSELECT image_id, screened.severity")[1]
        .split("```")[0]
    )
    found = duckdb.sql(f"SELECT image_id, screened.severity {query}").df()
    assert len(found) == 30
    assert np.abs(found["readers_score"] - found["severity"] / 2).max() < 0.06
