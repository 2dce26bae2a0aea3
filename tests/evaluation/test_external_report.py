"""An external archive in words and tables."""

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd

from comit_ray.evaluation import external_report
from comit_ray.evaluation.external import consensus, metrics_of
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.screen_metrics import join_tables, screen_metrics
from tests.support import manifest_row, prediction_row, write_results

READINGS = pd.DataFrame(
    {
        "image_id": ["a/3", "a/3", "a/3", "a/0", "a/0"],
        "reader": ["r", "s", "t", "r", "s"],
        "abnormal": [False, False, None, True, True],
    }
)


def screened(root: Path, negatives: int = 0, **changes: Any) -> pd.DataFrame:
    """COVID images: 3 found, 2 missed, 1 lateral, 1 truncated; of patients of their own."""
    manifest = [manifest_row(f"a/{i}", covid=int(i < 7), illness_day=i or None) for i in range(7 + negatives)]
    predictions = [prediction_row(f"a/{i}", 0.9 if i < 3 else 0.29999) | changes for i in range(5)]
    predictions.append(prediction_row("a/5", None, status="excluded", reason="lateral", detail="a lateral"))
    predictions.append(prediction_row("a/6", None))
    predictions += [prediction_row(f"a/{7 + i}", 0.1) for i in range(negatives)]
    return join_tables(*write_results(root, manifest, predictions, []), "all")


def told(images: pd.DataFrame, readings: pd.DataFrame | None = None) -> tuple[str, dict[str, Table]]:
    verdicts = None if readings is None else consensus(readings)
    found = screen_metrics(images, "all", draws=20, more=metrics_of("specificity_0.90", verdicts))
    said = external_report.sentences(images, found, verdicts)
    return "\n".join(said), external_report.tables(images, verdicts, readings)


def test_found_and_missed_with_the_paper_beside_it(tmp_path: Path) -> None:
    said, tables = told(screened(tmp_path))
    assert (
        "The model scored 5 images labelled COVID-19, of 5 patients. At the operating point specificity_0.90 it" in said
    )
    assert "found 3 of these images and missed 2: the sensitivity is 0.60 [0.23, 0.89] w" in said
    assert "the paper reports 0.8546 on other data (1,793 of 2,098, section 4.4" in said
    assert [row[1] for row in tables["external"].rows] == ["7", "3", "2", "0", "1", "1", "0"]


def test_what_was_not_scored_is_neither_and_the_worst_case_is_given(tmp_path: Path) -> None:
    """3 of 7."""
    said, tables = told(screened(tmp_path))
    assert "Images that are neither found nor missed: 2 (1 excluded, 1 failed; 1 lateral; 1 truncated)" in said
    assert "counted as missed, the sensitivity would be 0.43 [" in said
    assert "(n=7)" in said
    assert [row[:5] for row in tables["not_scored"].rows] == [
        ("a/5", "a", "a/5", "1", "excluded"),
        ("a/6", "a", "a/6", "1", "failed"),
    ]


def test_positives_alone_have_no_specificity(tmp_path: Path) -> None:
    said, _ = told(screened(tmp_path / "alone"))
    assert "Specificity is undefined here (no image with a flag is labelled not COVID-19)" in said
    with_negatives, _ = told(screened(tmp_path / "both", negatives=4))
    assert "that are not flagged: 1.00 [0.51, 1.00] w (n=4)." in with_negatives
    assert "undefined" not in with_negatives


def test_the_missed_are_listed(tmp_path: Path) -> None:
    """Their scores rounded down, so that none looks as if it had reached the threshold."""
    _, tables = told(screened(tmp_path))
    read = list(csv.DictReader(io.StringIO(tables["missed"].csv())))
    assert read[0] == {
        "image_id": "a/3",
        "dataset": "a",
        "patient_id": "a/3",
        "view": "PA",
        "illness_day": "3",
        "p_covid": "0.2999",
        "operating_point": "specificity_0.90",
    }
    assert [row["image_id"] for row in read] == ["a/3", "a/4"]


def test_what_readers_saw(tmp_path: Path) -> None:
    """Of the missed a/3 was read by three: two saw nothing, one could not say."""
    said, tables = told(screened(tmp_path), READINGS)
    assert "Readers read 1 of 2 missed images. In 1 of those read," in said
    assert "readers saw no abnormality: 1.00 [0.20, 1.00] w" in said
    assert "This says nothing about missed images that nobody read." in said
    assert "the paper reports 115 of 305 on other data (section 4.4)" in said
    assert tables["readers"].rows == (
        ("missed: not flagged", "2", "1", "1", "0", "0"),
        ("found: flagged as COVID-19", "3", "1", "0", "1", "0"),
    )
    assert tables["missed"].columns[-1] == "readers"
    assert [row[-1] for row in tables["missed"].rows] == ["no abnormality", "not read"]
    assert tables["reader_agreement"].rows == (("r", "s", "2", "2", "1.0000"),)


def test_without_readings_that_is_said(tmp_path: Path) -> None:
    said, tables = told(screened(tmp_path))
    assert "No readings were given" in said
    assert "readers" not in tables
    assert "The tables cannot show whether the model was trained on" in said


def test_no_positive_and_no_flag(tmp_path: Path) -> None:
    images = screened(tmp_path / "negative", negatives=2)
    said, _ = told(images.assign(covid=0))
    assert "No image of this archive is labelled COVID-19" in said
    said, _ = told(screened(tmp_path / "none", p_covid=None, covid_flag=None))
    assert "Sensitivity is undefined: no image has both a label and a flag for COVID-19." in said


def test_what_was_left_out_on_purpose_is_in_no_figure(tmp_path: Path) -> None:
    images = screened(tmp_path)
    images.loc[images["image_id"] == "a/5", "reason"] = "duplicate"
    said, _ = told(images)
    assert "not in the protocol): 1. They are in no metric." in said
    assert "Images that are neither found nor missed: 1 (1 failed; 1 truncated)" in said
    assert "the sensitivity would be 0.50 [" in said
