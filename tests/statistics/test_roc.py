"""The paper's own arithmetic, curves and counts against scikit-learn, and degenerate input."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from comit_ray.statistics import roc as metrics
from comit_ray.statistics import roc as shared
from comit_ray.statistics.roc import Confusion

SEEDS = range(5)


def _paper() -> tuple[np.ndarray, np.ndarray]:
    """Scores of 125 images with COVID-19 and 6,174 others as section 4.2 and table 4 describe them.

    109 of the 125 lie above all but 61 others (1% of 6,174 is 61.74), 12 more above all but 617
    (10% is 617.4), 4 below.
    """
    others = np.concatenate([np.full(61, 0.95), np.full(556, 0.60), np.linspace(0, 0.3, 5_557)])
    covid = np.concatenate([np.full(109, 0.97), np.full(12, 0.50), np.full(4, 0.1)])
    return np.concatenate([covid, others]), np.arange(6_299) < 125


def test_the_papers_arithmetic() -> None:
    scores, labels = _paper()
    assert shared.sensitivity_at_specificity(scores, labels, 0.90) == 121 / 125  # 96.80
    assert shared.sensitivity_at_specificity(scores, labels, 0.99) == 109 / 125  # 87.20
    strict = shared.threshold_at_specificity(scores, labels, 0.99)
    assert strict is not None
    assert Confusion.of(scores >= strict, labels) == Confusion(109, 61, 6_113, 16)
    assert round(100 * 109 / (109 + 61), 2) == 64.12  # precision
    assert round(100 * (109 + 6_113) / 6_299, 2) == 98.78  # accuracy: the paper prints 98.79
    assert round(100 * 2 * 109 / (2 * 109 + 61 + 16), 2) == 73.90  # F1


def _random(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """300 scores with ties, 60 of them positive."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(300) < 60).astype(int)
    return np.round(1 / (1 + np.exp(-rng.normal(labels))), 2).astype(np.float32), labels


@pytest.mark.parametrize("seed", SEEDS)
def test_curves_are_those_of_scikit_learn(seed: int) -> None:
    scores, labels = _random(seed)
    curve = metrics.roc(scores, labels)
    assert curve is not None
    false, true, _ = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    assert curve.x == pytest.approx(false)
    assert curve.y == pytest.approx(true)
    assert (np.diff(curve.x) >= 0).all()
    assert np.isinf(curve.thresholds[0])
    precision, recall, _ = sklearn_metrics.precision_recall_curve(labels, scores)
    curve = metrics.precision_recall(scores, labels)
    assert curve is not None
    assert curve.x == pytest.approx(recall)
    assert curve.y == pytest.approx(precision)
    assert len(curve.thresholds) == len(curve.x)
    assert shared.auroc(scores, labels) == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_point_of_a_curve_is_what_its_threshold_flags(seed: int) -> None:
    scores, labels = _random(seed)
    roc, precision_recall = metrics.roc(scores, labels), metrics.precision_recall(scores, labels)
    assert roc is not None
    assert precision_recall is not None
    for x, y, threshold in zip(roc.x, roc.y, roc.thresholds, strict=True):
        counts = Confusion.of(scores >= threshold, labels)
        assert counts.false_positives / 240 == pytest.approx(x)
        assert counts.true_positives / 60 == pytest.approx(y)
    for x, y, threshold in zip(precision_recall.x, precision_recall.y, precision_recall.thresholds, strict=True):
        counts = Confusion.of(scores >= threshold, labels)
        flagged = counts.true_positives + counts.false_positives
        assert counts.true_positives / 60 == pytest.approx(x)
        assert (counts.true_positives / flagged if flagged else 1) == pytest.approx(y)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("at", [0.5, 0.9, 0.99])
def test_sensitivity_at_specificity_is_the_best_of_scikit_learns_curve(seed: int, at: float) -> None:
    scores, labels = _random(seed)
    false, true, _ = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    expected = true[1 - false >= at].max()
    assert shared.sensitivity_at_specificity(scores, labels, at) == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_are_those_of_scikit_learn(seed: int) -> None:
    scores, labels = _random(seed)
    flags = scores >= 0.5
    counts = Confusion.of(flags, labels)
    negative, false, missed, hits = sklearn_metrics.confusion_matrix(labels, flags).ravel()
    assert counts == Confusion(hits, false, negative, missed)


def test_equal_error_rates_by_hand() -> None:
    """One of four missed where one of four is flagged; and the step between 0/2 and 1/2 cut at a third."""
    assert shared.eer([0.9, 0.8, 0.7, 0.2, 0.6, 0.3, 0.1, 0.05], [1, 1, 1, 1, 0, 0, 0, 0]) == pytest.approx(0.25)
    assert shared.eer([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0]) == pytest.approx(0.5)
    assert shared.eer([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0]) == 0


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0], []])
def test_one_class_has_no_curve(labels: list[int]) -> None:
    scores = np.linspace(0.1, 0.9, len(labels))
    assert metrics.roc(scores, labels) is None
    assert metrics.precision_recall(scores, labels) is None


@pytest.mark.parametrize(
    "measure",
    [metrics.roc, metrics.precision_recall],
)
def test_bad_input_is_an_error(measure) -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        measure([np.nan, 0.5], [0, 1])
    with pytest.raises(ValueError, match="labels must be 0 or 1, got \\[2\\]"):
        measure([0.1, 0.5], [0, 2])
    with pytest.raises(ValueError, match="one score and one label"):
        measure([0.1], [0, 1])
