"""An archive without labels has a report of its own, and no metric that nothing is known of."""

import json
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.config.queue_config import QueueConfig
from comit_ray.errors import ManifestError
from comit_ray.evaluation import archive_report, screen_report
from comit_ray.screening.drift import Drift
from comit_ray.screening.drift_signals import Signal, SignalKind
from comit_ray.screening.results_folder import write_queue
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from tests.support import manifest_row, prediction_row, supersede, write_results, write_rows

POINT = OperatingPoint("specificity_0.90", {"covid": 0.5, "unhealthy": 0.5})


@pytest.fixture
def options(cxr: Path, tmp_path: Path) -> dict[str, object]:
    """Forty real radiographs of two months and two views, ten flagged; an empty file and a hand."""
    files = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:4]
    manifest = [
        manifest_row(
            f"a/{n:02d}", uri=str(files[n % 4]), view="PA" if n < 36 else "unknown", split=None,
            acquired_on=date(2020, 3 + n % 2, 1),
        )
        for n in range(40)
    ]  # fmt: skip
    seen: list[dict[str, Any]] = [
        {"view": "PA" if n < 36 else "unknown", "height": 1024, "width": 1024} for n in range(40)
    ]
    predictions = [prediction_row(f"a/{n:02d}", 0.9 if n < 10 else 0.1, **seen[n]) for n in range(40)]
    manifest += [manifest_row("a/empty", split=None), manifest_row("a/hand", split=None)]
    predictions += [
        prediction_row("a/empty", None, reason="empty", detail="no byte"),
        prediction_row("a/hand", None, status="excluded", reason="not_a_chest", detail="HAND"),
    ]
    results, uri = write_results(tmp_path, manifest, predictions, [])
    write_queue(results, uri, QueueConfig(random_negatives=0, capacity=6), POINT)
    question = {"operating_point": {"name": POINT.name, "thresholds": POINT.thresholds}}
    (tmp_path / "results" / "run.json").write_text(json.dumps({"run_id": "r", "question": question}))
    return {"results": results, "manifest": uri, "output": str(tmp_path / "report"), "sheet_images": 4}


def test_what_became_what_is_flagged_what_to_read_and_what_nobody_read(options, tmp_path: Path) -> None:
    text = screen_report.write(EvaluateConfig(**options))
    first = text.split("## ")[0]
    assert first.startswith("# Archive without labels: 42 images of 42 patients")
    assert (
        "Of 42 images 40 were scored: 10 flagged for COVID-19, 10 flagged as unhealthy, 30 have no flag. Not flagged"
        in first
    )
    assert "Next: a radiologist reads the 6 images of the queue; 36 images are not in it" in first
    assert "- Flagged: COVID-19 (right or wrong): 10 of 40, 25% (14 to 41%)" in first
    assert "undefined" not in text
    assert "| PA | 36 | 36 | 10 | 28% (" in text
    assert "| not known | 4 | 4 | 0 | too few patients |" in text
    assert "| 2020-03 | 20 | 20 | 5 |" in text
    assert "the file is empty" in text
    assert "| flagged for COVID-19, highest score first | 6 | 1 to 6 |" in text
    first = next(
        line for line in text.splitlines() if line.startswith("| flagged for COVID-19, highest score first | 1 |")
    )
    assert "flagged for COVID-19; flagged as unhealthy" in first
    score, times = (float(cell) for cell in first.strip("| ").split(" | ")[-2:])
    assert times == pytest.approx(score / 0.5, abs=0.011), "of the threshold"
    html = (tmp_path / "report" / "report.html").read_text()
    assert '<figure>\n<img src="data:image/png;base64,' in html
    assert (tmp_path / "report" / "figures" / "queue.png").exists()
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["flagged"] == 10
    assert "a/0" not in text, "a path may name the diagnosis"
    ids = (tmp_path / "report" / "figures" / "queue.csv").read_text().splitlines()
    assert ids[:2] == ["number,image_id", "rank 1,a/00"]
    before, _, after = html.partition('<details class="paths">')
    assert "a/00" not in before
    assert "a/00" in after


def test_a_split_without_images_says_what_to_do(options) -> None:
    with pytest.raises(ManifestError, match="--split all"):
        archive_report.write(EvaluateConfig(**options, split="val"))


def test_results_without_a_queue_still_have_a_report(options, tmp_path: Path) -> None:
    for name in ("review_queue/queue.parquet", "unread/unread.parquet"):
        (tmp_path / "results" / name).unlink()
    text = screen_report.write(EvaluateConfig(**options))
    assert "There is no review queue in the results." in text
    assert "`comit-ray requeue` writes it" in text.replace("\\", "")


def test_of_a_file_that_has_changed_the_newest_version_counts(tmp_path: Path) -> None:
    manifest = [manifest_row(f"a/{n}", split=None) for n in range(4)]
    results, uri = write_results(tmp_path, manifest, [prediction_row(f"a/{n}", 0.9) for n in range(4)], [])
    write_queue(results, uri, QueueConfig(random_negatives=0), POINT)
    options = {"results": results, "manifest": uri, "output": str(tmp_path / "report"), "sheet_images": 0}
    assert "4 images of 4 patients" in screen_report.write(EvaluateConfig(**options))
    supersede(tmp_path / "manifest", {"a/0": "a/1"})
    write_queue(results, uri, QueueConfig(random_negatives=0), POINT)
    text = screen_report.write(EvaluateConfig(**options))
    assert "3 images of 3 patients" in text
    assert "Next: a radiologist reads the 3 images of the queue; 0 images are not in it" in text


def test_an_image_with_two_rows_is_refused(tmp_path: Path) -> None:
    rows = [prediction_row("a/0", 0.9), prediction_row("a/0", 0.1), prediction_row("a/1", 0.2)]
    results, uri = write_results(tmp_path, [manifest_row(f"a/{n}", split=None) for n in range(2)], rows, [])
    with pytest.raises(ManifestError, match="expected one row per image, got 1 rows of images that have another row"):
        archive_report.write(EvaluateConfig(results=results, manifest=uri, output=str(tmp_path / "report")))


def test_where_flags_are_not_trusted_no_share_is_printed_and_a_random_sample_comes_first(options, tmp_path) -> None:
    far = Signal("pixel_mean", SignalKind.RANGE, 0.9, 36, 0.8, 0.95, 0.05, differs=True)
    drifted = Drift("m", 40, 40, (far,))
    (tmp_path / "results" / "drift.json").write_text(json.dumps(asdict(drifted)))
    text = screen_report.write(EvaluateConfig(**options))
    first = text.split("## ")[0]
    assert "ITS FLAGS ARE NOT TRUSTED" in first
    assert "Next: a radiologist reads a random sample of 40 scored images" in first
    assert "- Flagged: COVID-19 (right or wrong): 10 of 40; not trusted" in first
    assert "%" not in text.split("## Share flagged")[1].split("## Scores")[0]
    assert "--queue.untrusted random --queue.capacity 200" in text
    (tmp_path / "results" / "drift.json").write_text(json.dumps(asdict(replace(drifted, calibrated=True))))
    first = screen_report.write(EvaluateConfig(**options)).split("## ")[0]
    assert "The thresholds were chosen at this site" in first
    assert "Next: a radiologist reads the 6 images of the queue" in first


def test_without_a_check_for_frontal_chests_the_first_page_says_so(options) -> None:
    assert "laterals, CT slices and other pictures have scores" in screen_report.write(EvaluateConfig(**options))


def test_a_flag_on_an_image_older_than_the_disease_is_called_wrong(options, tmp_path: Path) -> None:
    """Two of ten flagged images were made in 2004, as are eight that are not flagged."""
    rows = parquet.read_table(str(options["manifest"])).to_pylist()
    for n, row in enumerate(rows):
        if n % 4 == 0 and n < 40:
            row["acquired_on"] = date(2004 if n != 8 else 2019, 8 if n != 8 else 12, 1)
    old = write_rows(tmp_path / "old", rows, MANIFEST)
    text = screen_report.write(EvaluateConfig(**options | {"manifest": old}))
    assert "2 of the flags for COVID-19 are wrong: their images are older than the disease" in text.split("## ")[0]
