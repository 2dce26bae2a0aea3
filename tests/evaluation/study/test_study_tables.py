"""The tables of a study: what is in their cells."""

import csv
import io
from pathlib import Path

import pytest

from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.study import study_results, study_tables, study_words
from comit_ray.evaluation.study.study_metrics import StudyRow, compare, measure_covid, summarise
from comit_ray.evaluation.study.study_results import Study
from tests.evaluation.study_tree import Images, Outcome, write_study

GOOD, MIDDLE, BAD = [0.9, 0.8, 0.2, 0.1], [0.9, 0.1, 0.5, 0.2], [0.5, 0.5, 0.5, 0.5]


def _study(root: Path, variants: dict[str, list[Outcome]], **more: object) -> tuple[Study, list[StudyRow]]:
    taken = study_results.read(*write_study(root, Images([1, 1, 0, 0]), variants, **more))  # type: ignore[arg-type]
    measured = measure_covid(taken, [0.99, 0.9])
    assert measured is not None
    return taken, summarise(taken, measured, 20, 0)


def _lines(table: Table) -> dict[str, dict[str, str]]:
    """First cell -> column -> cell, read back from the CSV."""
    read = list(csv.DictReader(io.StringIO(table.csv(), newline="")))
    return {line[table.columns[0]]: line for line in read}


def test_classification(tmp_path: Path) -> None:
    variants: dict[str, list[Outcome]] = {
        "COMiT-Net": [GOOD, MIDDLE, BAD],
        "VGG19 + FC": [GOOD, "failed", "missing"],
        "my own": [BAD],
        "ResNet18 + FC": ["missing"],
        "U-Net (lung)": [GOOD],
    }
    taken, rows = _study(tmp_path, variants, tasks={"U-Net (lung)": ["lung"]})
    table = study_tables.classification(taken, rows, [0.9, 0.99])
    lines = _lines(table)
    assert set(lines) == {"COMiT-Net", "VGG19 + FC", "my own", "ResNet18 + FC"}
    line = lines["COMiT-Net"]
    assert line["seeds"] == "3 of 3"
    assert line["sensitivity at 90% specificity (%)"].startswith("50.00 ± 50.00")
    assert line["AUROC"].startswith("0.667 ± 0.289")
    line = lines["VGG19 + FC"]
    assert line["seeds"] == "1 of 3 (1 failed, 1 missing)"
    assert line["sensitivity at 99% specificity (%)"].startswith("100.00")
    assert "±" not in line["AUROC"]
    assert lines["ResNet18 + FC"]["AUROC"] == "not scored"
    assert "VGG19 + FC, seed 1: failed (ValueError: loss is not finite)" in table.note
    assert "ResNet18 + FC, seed 0: missing" in table.note
    assert "aper" not in table.title + table.note + "".join(table.columns)


def test_a_study_unknown_to_the_paper(tmp_path: Path) -> None:
    taken, rows = _study(tmp_path, {"one": [GOOD], "two": [BAD]})
    table = study_tables.classification(taken, rows, [0.95, 0.9])
    assert study_tables.paper(taken, rows) is None
    assert list(table.columns)[2:4] == ["sensitivity at 95% specificity (%)", "sensitivity at 90% specificity (%)"]
    assert _lines(table)["one"]["sensitivity at 95% specificity (%)"] == "undefined"  # was not asked for


def test_ablation(tmp_path: Path) -> None:
    taken, rows = _study(tmp_path, {"All 4 tasks": [GOOD, MIDDLE], "Task 4 only": [BAD, BAD]})
    lines = _lines(study_tables.ablation(taken, rows))
    assert lines["All 4 tasks"]["sensitivity at 90% specificity (%)"].startswith("75.00 ± 35.36")
    assert lines["Task 4 only"]["sensitivity at 90% specificity (%)"].startswith("0.00 ± 0.00")


def test_the_papers_values_have_a_table_of_their_own(tmp_path: Path) -> None:
    taken, rows = _study(tmp_path, {"COMiT-Net": [GOOD, MIDDLE], "Task 4 only": [BAD], "my own": [BAD]})
    table = study_tables.paper(taken, rows)
    assert table is not None
    found = {(row[0], row[1], row[4]): (row[2], row[3]) for row in table.rows}
    assert {name for name, _, _ in found} == {"COMiT-Net", "Task 4 only"}
    printed, here = found["COMiT-Net", "sensitivity at 90% specificity", "table 4"]
    assert printed == "96.80%"
    assert here.startswith("75.00 ± 35.36")
    assert found["COMiT-Net", "sensitivity at 99% specificity", "table 4"][0] == "87.20%"
    assert found["COMiT-Net", "EER", "table 4"][0] == "7.30%"
    assert found["Task 4 only", "sensitivity at 90% specificity", "table 5"][0] == "84.40%"
    assert found["COMiT-Net", "lung IoU, mean", "section 4.1"] == ("0.85", "undefined")
    assert "other data" in table.title
    assert "other data" in table.note


def test_stability(tmp_path: Path) -> None:
    taken, rows = _study(tmp_path, {"A": [GOOD, MIDDLE, BAD], "B": [GOOD], "C": ["failed"]})
    lines = _lines(study_tables.stability(taken, rows))
    assert list(lines["A"].values())[1:] == ["3 of 3", "50.00", "50.00", "0.00", "100.00"]
    assert list(lines["B"].values())[1:] == ["1 of 1", "100.00", "-", "100.00", "100.00"]
    assert list(lines["C"].values())[1:] == ["0 of 1 (1 failed)", "undefined", "-", "undefined", "undefined"]


def test_comparisons(tmp_path: Path) -> None:
    made = write_study(
        tmp_path, Images([1, 1, 0, 0]), {"COMiT-Net": [GOOD, "failed"], "B": [BAD], "C": ["failed", BAD]}
    )
    taken = study_results.read(*made)
    measured = measure_covid(taken, [0.99, 0.9])
    assert measured is not None
    table = study_tables.comparisons(compare(taken, measured, 100, 0), 100)
    rows = {(row[0], row[1]): row for row in table.rows}
    assert rows["AUROC", "B"][2:6] == ("0", "0.500", "1.000", "-0.500")
    assert rows["sensitivity at 90% specificity (%)", "B"][3:6] == ("0.00", "100.00", "-100.00")
    assert rows["AUROC", "C"][2:] == (
        "-", "undefined", "undefined", "undefined", "-", "-", "-",
        "no seed was scored both for this variant and for the reference",
    )  # fmt: skip
    assert "4 rows" in table.note
    assert "the smallest possible p is 0.010" in table.note


def test_every_trial_with_its_reason(tmp_path: Path) -> None:
    taken, _ = _study(tmp_path, {"A": [GOOD, "failed", "missing", "stopped"]})
    lines = _lines(study_tables.trials(taken))
    assert [line["status"] for line in lines.values()] == ["ok", "failed", "missing", "stopped"]
    assert lines["00-s0"]["seconds"] == "61"
    assert lines["00-s0"]["detail"] == ""
    assert lines["01-s1"]["detail"] == "ValueError: loss is not finite"
    assert lines["02-s2"]["detail"].startswith("not run yet")
    assert lines["02-s2"]["epochs"] == "-"


@pytest.mark.parametrize(
    ("judge", "order"),
    [("val_auroc_covid", ["lr=1", "lr=3", "lr=2"]), ("val_loss_covid", ["lr=2", "lr=3", "lr=1"])],
)
def test_a_search_is_ranked_by_what_it_judged_by(tmp_path: Path, judge: str, order: list[str]) -> None:
    """Higher is better of an AUROC, lower of a loss; the weighted loss has no say."""
    rows = {
        "lr=1": {"val_judged": 0.9, "val_loss": 0.3, "val_auroc": 0.9},
        "lr=2": {"val_judged": 0.7, "val_loss": 0.4, "val_auroc": 0.7},
        "lr=3": {"val_judged": 0.8, "val_loss": 0.2, "val_auroc": 0.8},
    }
    variants: dict[str, list[Outcome]] = {"lr=1": [GOOD], "lr=2": ["stopped"], "lr=3": [GOOD], "lr=4": ["failed"]}
    taken, _ = _study(tmp_path, variants, rows=rows, split="val", judge=judge)
    table = study_tables.search(taken)
    assert [(row[0], row[1]) for row in table.rows] == [*zip("123", order, strict=True), ("-", "lr=4")]
    stopped = next(row for row in table.rows if row[1] == "lr=2")
    assert stopped[3:8] == ("stopped", "3", "0.70000", "0.40000", "0.700")
    assert f"Ranked by {judge}" in table.note


@pytest.mark.parametrize(
    ("value", "percent", "fraction"),
    [
        (0.8720, "87.20", "0.872"),
        (0.99999, "100.00", "1.000"),
        (-0.12349, "-12.35", "-0.123"),
        (None, "undefined", "undefined"),
    ],
)
def test_values_are_rounded(value: float | None, percent: str, fraction: str) -> None:
    assert study_words.percent(value) == percent
    assert study_words.fraction(value) == fraction


@pytest.mark.parametrize(("value", "text"), [(0.0121, "0.013"), (0.05, "0.050"), (1.0, "1.000"), (None, "-")])
def test_a_p_value_is_rounded_up(value: float | None, text: str) -> None:
    assert study_words.p_value(value) == text
