"""The report says by itself what its figures allow to be said."""

from pathlib import Path
from typing import Any

import numpy as np

from comit_ray.evaluation.study import study_results
from comit_ray.evaluation.study.study_metrics import compare, measure_covid, summarise
from comit_ray.evaluation.study.study_words import NO_SINGLE_SOURCE, THE_SOURCE, sentences
from tests.evaluation.study_tree import Images, Outcome, write_study

COVID: list[int | None] = [int(number < 17) for number in range(120)]


def _said(root: Path, images: Images, variants: dict[str, list[Outcome]], draws: int = 400, **more: Any) -> str:
    taken = study_results.read(*write_study(root, images, variants, **more))
    measured = measure_covid(taken, [0.99, 0.9])
    if measured is None:
        return "\n".join(sentences(taken, [], [], draws))
    rows, pairs = summarise(taken, measured, draws, 0), compare(taken, measured, draws, 0)
    return "\n".join(sentences(taken, rows, pairs, draws))


def _seeds(shift: float, first: int) -> list[Outcome]:
    """Three seeds, alike but for a little noise: positives lie higher by `shift`."""
    found: list[Outcome] = []
    common = np.random.default_rng(0).normal(size=len(COVID))
    for seed in range(first, first + 3):
        noise = np.random.default_rng(seed).normal(size=len(COVID))
        values = common + 0.3 * noise + shift * np.array(COVID, float)
        found.append([float(value) for value in 1 / (1 + np.exp(-values))])
    return found


def test_rows_that_cannot_be_told_apart(tmp_path: Path) -> None:
    variants = {"All 4 tasks": _seeds(1.5, 1), "Task 4 only": _seeds(1.5, 11), "Tasks 1 and 4": _seeds(1.5, 21)}
    said = _said(tmp_path, Images(COVID), variants)
    assert (
        "The test split has 17 patients with COVID-19: one patient is worth 5.9 percentage points of sensitivity."
        in said
    )
    assert "None of the 2 variants differs significantly from All 4 tasks" in said
    assert "after correction for 4 comparisons (smallest adjusted p " in said
    assert "Do not read the order of the rows as a ranking" in said
    assert "125 images with COVID-19 and 6,174 others" in said


def test_a_variant_that_is_clearly_worse(tmp_path: Path) -> None:
    variants = {"All 4 tasks": _seeds(3, 1), "Task 4 only": _seeds(3, 11), "Tasks 1 and 4": _seeds(-1, 21)}
    said = _said(tmp_path, Images(COVID), variants)
    assert "1 of 2 other variants differs significantly from All 4 tasks." in said
    assert "In AUROC, compared with All 4 tasks: Tasks 1 and 4, 0." in said
    assert " lower (95% interval [-0." in said
    assert "No difference from All 4 tasks was found for: Task 4 only. Do not read" in said
    assert "None of the" not in said


def test_too_few_draws_are_said(tmp_path: Path) -> None:
    variants = {"All 4 tasks": _seeds(3, 1), "Tasks 1 and 4": _seeds(-1, 21)}
    said = _said(tmp_path, Images(COVID), variants, draws=30)
    assert "The one other variant does not differ significantly from All 4 tasks" in said
    assert "With 30 draws and 2 comparisons, p cannot fall below 0.065 after correction" in said
    assert "Give more than --draws 40." in said


def test_images_and_patients_are_told_apart(tmp_path: Path) -> None:
    images = Images(COVID, patients=[f"p{number // 2}" for number in range(120)])
    said = _said(tmp_path, images, {"A": _seeds(1, 1)})
    assert "The test split has 17 images of 9 patients with COVID-19: one image is worth 5.9 percentage points" in said
    assert "No variants were compared with each other" in said
    assert "The paper's" not in said


def test_seeds_alike_and_seeds_alone(tmp_path: Path) -> None:
    same = _seeds(1, 1)[0]
    said = _said(tmp_path, Images(COVID), {"A": [same, same], "B": [same]})
    assert "All seeds give the same sensitivity at 99% specificity for A. This is no sign" in said
    assert "Only one seed was scored for B:" in said


def test_the_source_may_have_been_learned(tmp_path: Path) -> None:
    """Every image of dataset b scores high, whether it has COVID-19 or not; dataset a has none."""
    rng = np.random.default_rng(2)
    covid: list[int | None] = [int(number % 2) if number < 40 else 0 for number in range(120)]
    datasets = ["b" if number < 40 else "a" for number in range(120)]
    scores: Outcome = [float(rng.random() * 0.4 + (0.6 if number < 40 else 0)) for number in range(120)]
    told = [0.9 if value else 0.1 for value in covid]
    said = _said(tmp_path, Images(covid, datasets=datasets), {"source": [scores], "disease": [told]})
    assert THE_SOURCE in said
    assert "AUROC is 0." in said
    assert "inside b alone (n=40), where its interval reaches down to 0.5 (chance) or does not exist" in said
    assert "This concerns source." in said
    assert "The test split has 20 patients with COVID-19" in said


def test_no_dataset_has_both_classes(tmp_path: Path) -> None:
    images = Images([1, 1, 0, 0], datasets=["a", "a", "b", "b"])
    assert NO_SINGLE_SOURCE in _said(tmp_path, images, {"A": [[0.9, 0.8, 0.2, 0.1]]}, 20)


def test_accounts_and_one_class(tmp_path: Path) -> None:
    said = _said(tmp_path, Images([0, 0]), {"A": [[0.9, 0.8], "failed", "missing"]}, 20)
    assert said.startswith("Outcome of 3 planned trials: 1 ok, 1 failed, 1 missing. The tables give the reason")
    assert "The test split has 0 images with COVID-19 and 2 without: no metric of COVID-19 is defined." in said


def test_the_validation_split_flatters(tmp_path: Path) -> None:
    said = _said(tmp_path, Images([1, 0]), {"A": [[0.9, 0.8]]}, 20, split="val", tasks={"A": ["lung"]})
    assert said.startswith("Outcome of 1 planned trial: 1 ok.\nThe metrics are measured on the validation split")
    assert "points of sensitivity" not in said
