"""Two models on the images of many patients: draws of some of them against draws and exchanges of all."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from comit_ray.statistics import comparison, exchange
from comit_ray.statistics.comparison import MANY_FLAGS, NORMAL, RANKS, compare_flags, compare_ranked
from comit_ray.statistics.exchange import flag_test, rank_test
from comit_ray.statistics.intervals import some_patients
from comit_ray.statistics.weighted import Rates

PATIENTS, SOME = 2_000, 1_000


def _images(gain: float, positives: float = 0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray, pd.Series]:
    """Scores of two models, the first better by `gain`, labels, and patients of two images each."""
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(PATIENTS), 2)
    labels = (rng.random(PATIENTS) < positives)[patients]
    truth = rng.normal(size=PATIENTS)[patients] + labels
    first, second = (truth + own * labels + rng.normal(size=labels.size) for own in (gain, 0))
    return first.astype(np.float32), second.astype(np.float32), labels.astype(int), pd.Series(patients)


@pytest.fixture
def some(monkeypatch) -> None:
    monkeypatch.setattr(comparison, "some_patients", partial(some_patients, most=SOME))


@pytest.mark.parametrize("gain", [0.0, 0.3])
def test_ranked_metrics_are_close_to_those_of_all_patients(gain: float, some: None, monkeypatch) -> None:
    first, second, labels, patients = _images(gain)
    found = compare_ranked(first, second, labels, patients, Rates.auroc, 200, 2)
    monkeypatch.undo()
    whole = compare_ranked(first, second, labels, patients, Rates.auroc, 200, 2)
    assert (found.method, whole.method) == (NORMAL.format(SOME), RANKS)
    assert (found.first, found.second, found.difference, found.n) == (
        *(whole.first, whole.second, whole.difference, whole.n),
    )
    assert found.low == pytest.approx(whole.low, abs=0.006)
    assert found.high == pytest.approx(whole.high, abs=0.006)
    assert found.p_value == pytest.approx(whole.p_value, abs=0.1)
    assert found.p_value is not None
    assert (found.p_value < 0.05) == (gain > 0)


def test_one_model_twice_does_not_differ(some: None) -> None:
    first, _, labels, patients = _images(0.0)
    found = compare_ranked(first, first, labels, patients, Rates.auroc, 100, 0)
    assert (found.method, found.difference, found.p_value) == (NORMAL.format(SOME), 0, 1)


def test_with_few_patients_of_a_class_the_ranks_of_all_are_exchanged(some: None) -> None:
    """Because a deviation from draws would make p too small."""
    found = compare_ranked(*_images(0.1, positives=0.02), Rates.auroc, 100, 0)
    assert found.method == RANKS


def test_flags_are_close_to_those_of_all_patients(some: None, monkeypatch) -> None:
    first, second, _, patients = _images(0.2)
    flags = first > 1, second > 1
    found = compare_flags(*flags, patients, 500, 2)
    monkeypatch.undo()
    whole = compare_flags(*flags, patients, 500, 2)
    assert (found.difference, found.p_value) == (whole.difference, whole.p_value)
    assert (found.low, found.high) == pytest.approx((whole.low, whole.high), abs=0.006)


def test_flags_of_many_patients_have_the_p_of_the_exact_test(monkeypatch) -> None:
    first, second, _, patients = _images(0.1)
    flags = first > 1, second > 1
    exact = flag_test(*flags, patients)
    assert compare_flags(*flags, patients, 10).method != MANY_FLAGS
    for module in (exchange, comparison):
        monkeypatch.setattr(module, "MOST_STEPS", 100)
    assert compare_flags(*flags, patients, 10).method == MANY_FLAGS
    assert flag_test(*flags, patients) == pytest.approx(exact, abs=0.01)


def test_the_size_of_a_block_of_exchanges_changes_nothing(monkeypatch) -> None:
    first, second, labels, patients = _images(0.1)
    first, second, labels, patients = first[:400], second[:400], labels[:400], patients[:400]
    metrics = {"auroc": Rates.auroc}
    whole = rank_test(first[None], second[None], labels, patients, metrics, 120, 3)
    monkeypatch.setattr(exchange, "NUMBERS", 6_000)  # seven tables of each model
    assert rank_test(first[None], second[None], labels, patients, metrics, 120, 3) == whole
