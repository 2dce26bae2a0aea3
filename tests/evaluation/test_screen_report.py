"""The whole report of a screen of real radiographs, file by file."""

import csv
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.errors import StorageError
from comit_ray.evaluation import screen_report
from comit_ray.evaluation.report import document
from comit_ray.screening.drift import Drift
from comit_ray.screening.drift_signals import Signal, SignalKind
from comit_ray.tables.review_schema import REVIEWS
from comit_ray.tables.schema import EMBEDDINGS, GRADCAM
from tests.evaluation.support import screened_images
from tests.support import write_rows

IDS = [f"a/{number:02d}" for number in range(12)]


@dataclass(frozen=True)
class Written:
    """A report, its text, and the options that it was asked for with."""

    root: Path
    text: str
    options: dict[str, Any]


def screened(cxr: Path, root: Path) -> dict[str, Any]:
    """Twelve real radiographs, 6 of COVID of which 2 were missed; options for their report."""
    screened_images(cxr, root)
    return {
        "results": str(root / "results"),
        "manifest": str(root / "manifest"),
        "output": str(root / "report"),
        "draws": 20,
    }


@pytest.fixture
def screen(cxr: Path, tmp_path: Path) -> dict[str, Any]:
    return screened(cxr, tmp_path)


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(cxr: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The report with everything that tables alone give, and a sheet."""
    root = tmp_path_factory.mktemp("whole")
    options = screened(cxr, root)
    return Written(root / "report", screen_report.write(EvaluateConfig(**options, sheet_images=4)), options)


def test_files_figures_and_words(whole: Written) -> None:
    root, text = whole.root, whole.text
    tables = {
        *("accounts", "covid", "unhealthy", "masks", "confusion", "flags", "calibration"),
        *("thresholds", "prevalence", "unhealthy_thresholds", "summary", "model_card", "claim", "paper"),
    }  # flags of the unhealthy are set by hand: no prevalence; six patients of a class: no audit of shortcuts
    aside = {"thresholds_all", "unhealthy_thresholds_all"}
    drawn = {"figure_09_roc", "figure_09_precision_recall", "figure_10_misclassified", "missed", "sheet"}
    vectors = {"figure_09_roc", "figure_09_precision_recall"}
    assert names(root) == {
        "report.md",
        "report.html",
        "metrics.json",
        *(f"tables/{name}.{kind}" for name in tables for kind in ("csv", "tex")),
        *(f"tables/{name}.csv" for name in aside),
        *(f"figures/{name}.png" for name in drawn),
        *(f"figures/{name}.svg" for name in vectors),
        *(f"figures/{name}.csv" for name in drawn - vectors),
    }
    assert (root / "report.md").read_text() == text
    assert "# Evaluation: test split, 12 images of 12 patients" in text
    for name in drawn:
        assert f"](figures/{name}.png)" in text
        Image.open(root / "figures" / f"{name}.png").verify()
    records = json.loads((root / "metrics.json").read_text())
    found = {(f["metric"], f["at"], f["level"]): f for f in records if f["group"] == "all"}
    point = found["sensitivity_at_operating_point", "specificity_0.90", "image"]
    assert (point["value"], point["n"], point["interval"]) == (4 / 6, 6, "wilson")
    assert found["covid_called_unhealthy", "specificity_0.90", "image"]["value"] == 5 / 6
    read = list(csv.reader((root / "tables" / "confusion.csv").open()))
    assert read[1] == ["all", "COVID-19", "specificity_0.90", "4", "2", "0", "6"]


CHAPTERS = ["Summary", "Scores", "Masks", "Thresholds and reading work", "Calibration", "Single images", "Model card"]


def test_summary_first_every_table_in_a_chapter_and_no_unflagged_image_called_normal(whole: Written) -> None:
    titles = [line.removeprefix("## ") for line in whole.text.splitlines() if line.startswith("## ")]
    assert [title for title in titles if title in CHAPTERS] == CHAPTERS
    assert titles[-1] == "How to read the metrics"
    html = (whole.root / "report.html").read_text()
    shown = {path.stem for path in (whole.root / "tables").glob("*.tex")}
    elsewhere = {name for name in shown if f'id="table-{name}"' not in html}
    assert elsewhere == {"confusion"}, "the table of flags by label says the same"
    assert "More in tables/: confusion.csv." in html
    drawn = {path.stem for path in (whole.root / "figures").glob("*.png")}
    assert {name for name in drawn if f'<figure id="{name}">' not in html} == set()
    assert "<script" not in html
    asked = re.findall(r"(?:src|href)=\"([^\"]{0,30})", html)
    assert asked
    assert all(one.startswith(("data:image/png;base64,", "#")) for one in asked)
    words = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html.partition("</style>")[2])
    said = [words[max(0, at.start() - 25) : at.end()] for at in re.finditer(r"\bnormal\b", words)]
    assert said
    for context in said:
        assert re.search(r"not flagged is not\s+normal$", context, re.IGNORECASE), context


def test_what_the_screen_said_of_drift_its_embeddings_and_its_heat_maps(screen: dict[str, Any], tmp_path: Path) -> None:
    """In one report; a broken file of drift is refused."""
    strange = Signal("pixel_sd", SignalKind.SPREAD, 0.5, differs=True, detail="median 0.25, reference 0.2")
    said = Drift("abc", 12, 12, (strange,))
    (tmp_path / "results" / "drift.json").write_text(json.dumps(asdict(said)))
    rng = np.random.default_rng(0)
    vectors = [{"image_id": name, "embedding": rng.random(8).tolist()} for name in IDS]
    write_rows(tmp_path / "results" / "embeddings", vectors, EMBEDDINGS)
    write_rows(tmp_path / "results" / "gradcam", [{"image_id": name} for name in IDS], GRADCAM)
    text = screen_report.write(EvaluateConfig(**screen, sheet_images=0))
    html = (tmp_path / "report" / "report.html").read_text()
    assert (
        '<li class="alarm">WARNING: the archive (12 images) does not look like the training data of model abc:' in html
    )
    assert html.index("WARNING: the archive (12 images)") < html.index('id="scores"')
    assert "](figures/figure_11_embeddings.png)" in text
    assert "](figures/figure_12_gradcam.png)" in text
    assert "sheet.png" not in text
    (tmp_path / "results" / "drift.json").write_text("{}")
    with pytest.raises(StorageError, match=r"expected the drift\.json of a screen"):
        screen_report.write(EvaluateConfig(**screen, sheet_images=0))


def test_a_bare_predictions_table(whole: Written, tmp_path: Path) -> None:
    """The same scores: the same figures of them, without masks."""
    predictions, bare = f"{whole.options['results']}/predictions", tmp_path / "bare"
    options = whole.options | {"results": None, "predictions": predictions, "output": str(bare)}
    text = screen_report.write(EvaluateConfig(**options, sheet_images=2))
    assert (bare / "tables" / "covid.csv").read_bytes() == (whole.root / "tables" / "covid.csv").read_bytes()
    assert not (bare / "tables" / "masks.csv").exists()
    assert "No image has lung masks or disease masks" in text
    assert "](figures/sheet.png)" in text


def test_an_external_archive_with_readings(screen: dict[str, Any], tmp_path: Path, monkeypatch) -> None:
    """Whose long tables are short in the report."""
    monkeypatch.setattr(document, "IN_THE_REPORT", 1)
    rows = [
        {"image_id": image_id, "reader": reader, "abnormal": abnormal}
        for image_id, abnormal in (("a/04", False), ("a/05", True), ("a/00", True))
        for reader in ("r", "s")
    ]
    reviews = write_rows(tmp_path / "reviews", rows, REVIEWS)
    text = screen_report.write(EvaluateConfig(**screen, external=True, reviews=reviews, sheet_images=0))
    root = tmp_path / "report"
    assert "# External archive: 12 images" in text
    assert "it found 4 of these images and missed 2: the sensitivity is 0.67" in text
    assert "Readers read 2 of 2 missed images" in text
    assert "](figures/figure_13_found.png)" in text
    assert "](figures/figure_14_missed.png)" in text
    assert "saw no abnormality in 1." in text.split("figure_14_missed.png")[1]
    assert "figure_10" not in text
    missed = list(csv.DictReader((root / "tables" / "missed.csv").open()))
    assert [(row["image_id"], row["readers"]) for row in missed] == [("a/04", "no abnormality"), ("a/05", "abnormal")]
    assert {"external", "missed", "readers", "reader_agreement"} <= {path.stem for path in (root / "tables").iterdir()}
    records = json.loads((root / "metrics.json").read_text())
    found = {f["metric"]: f for f in records if f["level"] == "image" and f["group"] == "all"}
    assert (found["missed_without_abnormality"]["value"], found["missed_read"]["value"]) == (0.5, 1)
    assert "The first 1 of 2 rows; tables/missed.csv has all." in text.replace("\\", "")
    assert text.count("stored threshold | specificity\\_0.90 |") > 5  # the figures are whole
