"""Comparisons of the variants of a study: alike and different, and which seeds count."""

from pathlib import Path

import numpy as np
import pytest

from comit_ray.evaluation.study import study_results
from comit_ray.evaluation.study.study_metrics import (
    AUROC,
    COMPARED,
    Pair,
    compare,
    measure_covid,
    reference_of,
    sensitivity,
)
from tests.evaluation.study_tree import Images, Outcome, write_study

AT_90 = sensitivity(0.9)


def _pairs(root: Path, covid: list[int | None], variants: dict[str, list[Outcome]]) -> list[Pair]:
    taken = study_results.read(*write_study(root, Images(covid), variants))
    measured = measure_covid(taken, [0.9])
    assert measured is not None
    return compare(taken, measured, 400, 0)


def test_means_over_the_seeds_that_both_have(tmp_path: Path) -> None:
    variants: dict[str, list[Outcome]] = {
        "A": [[0.9, 0.8, 0.2, 0.1], [0.9, 0.1, 0.5, 0.2], "failed"],
        "COMiT-Net": ["failed", [0.9, 0.8, 0.2, 0.1], [0.5, 0.5, 0.5, 0.5]],
        "B": [[0.9, 0.8, 0.2, 0.1], "failed", "missing"],
        "C": ["missing", "missing", "missing"],
    }
    pairs = {(pair.variant, pair.key): pair for pair in _pairs(tmp_path, [1, 1, 0, 0], variants)}
    assert {variant for variant, _ in pairs} == {"A", "B"}
    pair = pairs["A", AUROC]
    assert (pair.reference, pair.seeds) == ("COMiT-Net", (1,))
    assert (pair.result.first, pair.result.second, pair.result.difference) == (0.5, 1.0, -0.5)
    assert pairs["A", AT_90].result.difference == -0.5
    pair = pairs["B", AUROC]
    assert (pair.seeds, pair.result.difference, pair.result.adjusted) == ((), None, None)
    assert pair.result.reason == "no seed was scored both for this variant and for the reference"


def test_alike_and_different(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    covid: list[int | None] = [int(number < 30) for number in range(100)]
    good: list[Outcome] = [[float(c or 0) * 0.5 + 0.5 * rng.random() for c in covid] for _ in range(2)]
    poor: list[Outcome] = [[rng.random() for _ in covid] for _ in range(2)]
    pairs = {
        (pair.variant, pair.key): pair.result
        for pair in _pairs(tmp_path, covid, {"All 4 tasks": good, "the same": good, "poor": poor})
    }
    for key in COMPARED:
        same, worse = pairs["the same", key], pairs["poor", key]
        assert (same.difference, same.low, same.high, same.p_value, same.adjusted) == (0, 0, 0, 1, 1)
        assert worse.p_value == pytest.approx(1 / 401)
        assert worse.adjusted == pytest.approx(4 / 401)  # all four p-values, the smallest first
        assert worse.difference is not None
        assert worse.high is not None
        assert worse.difference < worse.high < 0


def test_reference(tmp_path: Path) -> None:
    """COMiT-Net if the study has it, else the first that was measured."""
    scores: Outcome = [0.9, 0.1]
    for number, (variants, expected) in enumerate([(["A", "COMiT-Net"], "COMiT-Net"), (["lungs", "A", "B"], "A")]):
        made = write_study(
            tmp_path / str(number), Images([1, 0]), {name: [scores] for name in variants}, tasks={"lungs": ["lung"]}
        )
        taken = study_results.read(*made)
        measured = measure_covid(taken, [0.9])
        assert measured is not None
        assert reference_of(taken, measured) == expected
