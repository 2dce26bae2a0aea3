"""The whole report of a made-up study: files, numbers and words."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.data.masks.mask_references import boxes_reference
from comit_ray.data.masks.masks import to_png
from comit_ray.evaluation.study import study_report
from comit_ray.statistics import roc
from tests.evaluation.study_tree import Images, Outcome, write_study
from tests.support import mask_row

COUNT = 24
COVID: list[int | None] = [int(number < 8) for number in range(COUNT)]
DATASETS = ["b" if number % 2 else "a" for number in range(COUNT)]
NAMES = [f"{dataset}/{number:03d}" for number, dataset in enumerate(DATASETS)]


def _config(study: str, manifest: str, output: Path) -> EvaluateConfig:
    return EvaluateConfig(study=study, manifest=manifest, output=str(output), draws=60)


def _scores(seed: int, help_: float) -> list[float]:
    rng = np.random.default_rng(seed)
    return [float(np.float32(rng.random() * (1 - help_) + help_ * (covid or 0))) for covid in COVID]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    files = []
    for number in range(COUNT):
        file = root / f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8)).save(file)
        files.append(str(file))
    box = boxes_reference([(0, 0, 32, 64)], 64, 64)
    left = np.zeros((64, 64), bool)
    left[:, :24] = True
    masks = [mask_row(name, lung_png=to_png(left), disease_png=to_png(left)) for name in NAMES]
    variants: dict[str, Sequence[Outcome]] = {
        "All 4 tasks": [_scores(seed, 0.2) for seed in range(3)],
        "Task 4 only": [_scores(3, 0.1), "failed", "missing"],
        "Tasks 1 and 4": [_scores(seed, 0.15) for seed in range(4, 7)],
    }
    more: dict[str, Sequence[Any]] = {
        "uri": files,
        "lung_mask": [box] * COUNT,
        "disease_mask": [box] * 12 + [None] * 12,
    }
    return write_study(
        root,
        Images(COVID, datasets=DATASETS, more=more),
        variants,
        name="ablation",
        tasks={"Task 4 only": ["covid"], "Tasks 1 and 4": ["lung", "covid"]},
        masks={"All 4 tasks": masks},
        areas={"All 4 tasks": [{"lung_area": 0.375, "disease_area": 0.375}] * COUNT},
    )


@pytest.fixture(scope="module")
def report(made: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("report")
    study, manifest = made
    text = study_report.write(study, manifest, str(output), _config(study, manifest, output))
    assert (output / "report.md").read_text() == text
    return output


def test_tables_are_written_in_three_forms(report: Path) -> None:
    names = {"table_04_classification", "table_05_ablation", "figure_08_stability", "segmentation", "comparisons"}
    names |= {"trials", "summary", "paper"}
    assert {file.name for file in (report / "tables").iterdir()} == {
        f"{name}.{suffix}" for name in names for suffix in ("csv", "tex")
    }
    text = (report / "report.md").read_text()
    for name in names:
        lines = list(csv.reader((report / "tables" / f"{name}.csv").read_text().splitlines()))
        assert len({len(line) for line in lines}) == 1
        assert lines[1][0] in text
        assert (report / "tables" / f"{name}.tex").read_text().count("\\\\\n") == len(lines)


def test_metrics_are_those_of_the_scores(report: Path) -> None:
    records = json.loads((report / "metrics.json").read_text())
    keys = {"variant", "seed", "metric", "at", "group", "split", "value", "low", "high", "n", "interval", "reason"}
    assert all(set(record) == keys for record in records)
    mine = {
        record["seed"]: record
        for record in records
        if record["variant"] == "All 4 tasks" and record["metric"] == "auroc" and record["group"] == "all"
    }
    expected = [roc.auroc(_scores(seed, 0.2), np.array(COVID)) for seed in range(3)]
    assert [mine[seed]["value"] for seed in range(3)] == pytest.approx(expected)
    assert mine["mean"]["value"] == pytest.approx(np.mean(np.array(expected, float)))
    assert mine["sd"]["value"] == pytest.approx(np.std(np.array(expected, float), ddof=1))
    assert mine["mean"]["low"] < mine["mean"]["value"] <= mine["mean"]["high"]
    assert mine["mean"]["n"] == COUNT
    lung = [one["value"] for one in records if one["metric"] == "lung_iou" and one["seed"] == "mean"]
    assert lung == [pytest.approx(24 / 32)]
    inside = {one["group"] for one in records if one["metric"] == "auroc"}
    assert inside == {"all", "dataset=a", "dataset=b"}
    alone = [one for one in records if one["variant"] == "Task 4 only" and one["seed"] == "sd"]
    assert all(one["value"] is None and one["reason"] == "one seed has no standard deviation" for one in alone)


def test_what_was_not_scored_is_shown(report: Path) -> None:
    text = (report / "report.md").read_text()
    assert "Outcome of 9 planned trials: 7 ok, 1 failed, 1 missing" in text
    assert "1 of 3 (1 failed, 1 missing)" in text
    assert "ValueError: loss is not finite" in text
    assert "The test split has 8 patients with COVID-19: one patient is worth 12.5 percentage points" in text


def test_pictures_are_there_or_say_why_not(report: Path) -> None:
    text = (report / "report.md").read_text()
    shown = {file.name for file in (report / "figures").glob("*.png")}
    expected = {"figure_05_lung_masks", "figure_06_disease_masks", "figure_08_seed_spread", "figure_09_roc"}
    expected |= {"figure_09_precision_recall", "figure_11_embeddings"}
    assert {f"{name}.png" for name in expected} <= shown
    assert all(f"](figures/{name})" in text for name in shown)
    assert "Model: All 4 tasks, seed 0, the first seed that was scored." in text


def test_a_search_has_its_table_and_no_pictures(tmp_path: Path) -> None:
    variants: dict[str, Sequence[Outcome]] = {"lr=1": [_scores(0, 0.5)], "lr=2": ["stopped"]}
    rows = {"lr=1": {"val_judged": 0.9}, "lr=2": {"val_judged": 0.5}}
    more: dict[str, Any] = {"name": "tuning", "split": "val", "rows": rows, "judge": "val_auroc_covid"}
    study, manifest = write_study(tmp_path, Images(COVID), variants, **more)
    text = study_report.write(study, manifest, str(tmp_path / "out"), _config(study, manifest, tmp_path / "out"))
    assert "| 1 | lr=1 |" in text
    assert "| 2 | lr=2 |" in text
    assert "## Figures" not in text
    assert not (tmp_path / "out" / "tables" / "comparisons.csv").exists()
