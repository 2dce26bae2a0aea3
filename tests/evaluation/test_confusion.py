"""Counts by label and flag, by hand."""

from pathlib import Path
from typing import Any

from comit_ray.evaluation import confusion
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.screen_metrics import join_tables
from tests.support import manifest_row, prediction_row, write_results

IMAGES: list[tuple[int | None, int | None, bool | None, bool | None, int]] = [
    # covid, unhealthy, flagged COVID-19, flagged unhealthy, how many
    (1, 1, True, True, 5),
    (1, 0, False, True, 2),
    (1, None, False, False, 1),
    (0, 1, True, True, 3),
    (0, 1, False, None, 4),
    (0, 0, False, False, 6),
    (0, None, False, True, 2),
    (None, 1, True, False, 1),
]


def made(root: Path, images: list[tuple[int | None, int | None, bool | None, bool | None, int]]) -> dict[str, Table]:
    manifest: list[dict[str, Any]] = []
    predictions = [prediction_row("a/failed", None)]
    for covid, unhealthy, covid_flag, unhealthy_flag, count in images:
        for _ in range(count):
            name = f"a/{len(manifest):03d}"
            manifest.append(manifest_row(name, covid=covid, unhealthy=unhealthy))
            predictions.append(prediction_row(name, covid_flag=covid_flag, unhealthy_flag=unhealthy_flag))
    manifest.append(manifest_row("a/failed", covid=1, unhealthy=1))
    return confusion.tables(join_tables(*write_results(root, manifest, predictions, []), "test"))


def test_by_hand(tmp_path: Path) -> None:
    """An image without a flag of a score is in no count of it; a failed one is in none."""
    found = made(tmp_path, IMAGES)
    assert found["confusion"].rows == (
        ("all", "COVID-19", "specificity_0.90", "5", "3", "3", "12"),
        ("all", "unhealthy", "specificity_0.90", "8", "1", "2", "6"),
    )
    assert found["flags"].rows == (
        ("all", "COVID-19", "5", "3", "7", "1", "1", "8"),
        ("all", "other disease", "3", "4", "3", "0", "0", "7"),
        ("all", "healthy", "0", "6", "0", "6", "6", "6"),
        ("all", "not COVID-19, health not known", "0", "2", "2", "0", "0", "2"),
        ("all", "COVID-19 not known", "1", "0", "0", "1", "0", "1"),
    )


def test_no_flags_no_table(tmp_path: Path) -> None:
    assert made(tmp_path, [(1, 1, None, None, 3)]) == {}
