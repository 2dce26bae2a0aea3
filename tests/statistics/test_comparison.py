"""Two models on the same images: McNemar and DeLong where they hold, else patients are exchanged."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, mannwhitneyu
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from comit_ray.statistics import comparison, roc
from comit_ray.statistics.comparison import Comparison, compare_auroc, compare_flags, delong_covariance, holm


def _alone(count: int) -> pd.Series:
    return pd.Series([None] * count, dtype=object)


def _scores(seed: int, images: int = 120, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two models' scores, the first the better, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 3 == 0
    shared = rng.normal(size=images)
    first, second = (shared + factor * labels + rng.normal(size=images) for factor in (1 + gain, 1))
    return first.astype(np.float32), second.astype(np.float32), labels.astype(int)


def _by_definition(scores_TN: np.ndarray, positive_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components, pair by pair (equations 4 to 6 of the paper)."""
    x_TM, y_TN = scores_TN[:, positive_N], scores_TN[:, ~positive_N]
    pairs_TMN = (x_TM[:, :, None] > y_TN[:, None]) + 0.5 * (x_TM[:, :, None] == y_TN[:, None])
    covariance = np.cov(pairs_TMN.mean(axis=2)) / x_TM.shape[1] + np.cov(pairs_TMN.mean(axis=1)) / y_TN.shape[1]
    return pairs_TMN.mean(axis=(1, 2)), covariance


@pytest.mark.parametrize("seed", range(4))
def test_delong_is_its_definition(seed: int) -> None:
    first, second, labels = _scores(seed)
    tables = np.stack([first, second, np.round(first)])  # the last has ties
    areas, covariance = _by_definition(tables, labels == 1)
    assert delong_covariance(tables, labels == 1) == pytest.approx(covariance)
    assert areas == pytest.approx([roc.auroc(table, labels) for table in tables])
    assert areas == pytest.approx([roc_auc_score(labels, table) for table in tables])


def test_delongs_variance_is_that_of_many_samples() -> None:
    errors, differences = [], []
    for seed in range(400):
        first, second, labels = _scores(seed)
        c = delong_covariance(np.stack([first, second]), labels == 1)
        errors.append(c[0, 0] + c[1, 1] - 2 * c[0, 1])
        differences.append(roc.auroc(first, labels) - roc.auroc(second, labels))
    assert np.mean(errors) == pytest.approx(np.var(differences), rel=0.25)


def test_delong_where_it_holds() -> None:
    first, second, labels = _scores(0)
    found = compare_auroc(first, second, labels, _alone(120))
    assert (found.method, found.n, found.reason) == ("DeLong", 120, None)
    assert found.difference == pytest.approx(roc_auc_score(labels, first) - roc_auc_score(labels, second))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.difference < found.high
    assert (found.low > 0) == (found.p_value < 0.05)
    pooled = mannwhitneyu(first[labels == 1], first[labels == 0]).statistic
    assert found.first == pytest.approx(pooled / (40 * 80))


def test_patients_with_several_images_are_exchanged() -> None:
    first, second, labels = _scores(1)
    patients = pd.Series([f"p{number // 2}" for number in range(120)])
    found = compare_auroc(first, second, labels, patients, 300, 0)
    assert found.method == "exchange of patients' ranks"
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.difference < found.high
    few = compare_auroc(first[:20], second[:20], labels[:20], _alone(20), 300, 0)  # 7 positives
    assert few.method == "exchange of patients' ranks"


def test_two_that_are_alike() -> None:
    first, _, labels = _scores(2)
    found = compare_auroc(first, first * 2, labels, _alone(120), 200)
    assert (found.difference, found.p_value, found.low, found.high) == (0, 1, 0, 0)
    flags = compare_flags([True, False, True], [True, False, True], _alone(3))
    assert (flags.difference, flags.p_value, flags.low) == (0, 1, None)
    assert flags.reason == "both flag the same images"


def test_one_class_and_nothing_are_undefined() -> None:
    found = compare_auroc([0.1, 0.2], [0.2, 0.1], [1, 1], _alone(2))
    assert (found.first, found.p_value, found.reason) == (None, None, "the images have one class alone")
    none = compare_flags([], [], _alone(0))
    assert (none.difference, none.n, none.reason) == (None, 0, "there is nothing to compare")


def test_input_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="not finite"):
        compare_auroc([0.1, np.nan], [0.2, 0.1], [1, 0], _alone(2))
    with pytest.raises(ValueError, match="a patient an image"):
        compare_auroc([0.1, 0.2], [0.2, 0.1], [1, 0], _alone(3))
    with pytest.raises(ValueError, match="as many flags"):
        compare_flags([True], [True, False], _alone(2))


def test_flags_of_single_images_and_of_patients() -> None:
    first, second = np.arange(20) < 15, np.arange(20) < 9
    alone = compare_flags(first, second, _alone(20), 500)
    assert (alone.first, alone.second, alone.method) == (0.75, 0.45, "McNemar, exact")
    assert alone.difference == pytest.approx(0.3)
    assert alone.p_value == pytest.approx(2 / 2**6)
    patients = pd.Series([f"p{number // 4}" for number in range(20)])
    together = compare_flags(first, second, patients, 500)
    assert together.method == "exchange of patients' flags, exact"
    assert together.p_value == 0.5  # the six images are of two patients
    assert together.low is not None
    assert alone.low is not None
    assert together.low < alone.low


def _with(p_value: float | None) -> Comparison:
    return Comparison(0.5, 0.4, 0.1, 0.0, 0.2, p_value, None, "m", 10)


def test_holm_is_that_of_statsmodels() -> None:
    p_values = [0.04, 0.001, 0.03, 0.2, 0.03]
    found = holm([_with(p_values[0]), _with(None), *map(_with, p_values[1:])])
    assert found[1].adjusted is None
    adjusted = [one.adjusted for one in found if one.adjusted is not None]
    assert adjusted == pytest.approx(multipletests(p_values, method="holm")[1])
    assert all(mine >= other for mine, other in zip(adjusted, false_discovery_control(p_values), strict=True))
    assert holm([]) == []


def test_levels_hold_where_nothing_differs() -> None:
    """Of 200 pairs without a difference about 5% are below 0.05, by DeLong's test."""
    low = 0
    for seed in range(200):
        first, second, labels = _scores(seed, gain=0.0)
        found = compare_auroc(first, second, labels, _alone(120))
        assert found.method == comparison.DELONG
        low += found.p_value < 0.05
    assert 2 <= low <= 20
