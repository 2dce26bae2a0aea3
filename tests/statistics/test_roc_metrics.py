import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve

from comit_ray.statistics import roc


def test_auroc_by_hand() -> None:
    # of the four pairs (positive, negative) three are in order, none is tied
    assert roc.auroc([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0]) == 0.75
    assert roc.auroc([0.5, 0.5], [1, 0]) == 0.5


@pytest.mark.parametrize("levels", [3, 100_000])
def test_auroc_is_that_of_scikit_learn(levels) -> None:
    generator = np.random.default_rng(levels)
    labels = generator.permutation(np.arange(200) < 40).astype(int)
    scores = (generator.integers(0, levels, 200) / levels + 0.2 * labels).astype(np.float32)
    assert roc.auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-14)


@pytest.mark.parametrize("labels", [[1, 1], [0, 0]])
def test_one_class_has_no_auroc(labels) -> None:
    assert roc.auroc([0.1, 0.2], labels) is None


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 0.0),  # parted
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 1.0),  # the wrong way round
        ([0.5, 0.5, 0.5, 0.5], [1, 1, 0, 0], 0.5),  # one threshold: the diagonal
        (
            [0.9, 0.4, 0.6, 0.1],
            [1, 1, 0, 0],
            0.5,
        ),  # at 0.6 one of two negatives is flagged, one of two positives missed
        # From 1/3 missed and none flagged, up to none missed and 2/4 flagged by one tie: on that line both are 0.2.
        ([0.9, 0.8, 0.5, 0.5, 0.5, 0.1, 0.1], [1, 1, 1, 0, 0, 0, 0], 0.2),
    ],
)
def test_equal_error_rate_by_hand(scores, labels, expected) -> None:
    assert roc.eer(scores, labels) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
def test_equal_error_rate_against_a_root_of_the_roc_curve(seed) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(60) < generator.integers(1, 60)).astype(int)
    scores = np.round(generator.normal(labels, 1), 1)  # with ties
    false_positive, true_positive, _ = roc_curve(labels, scores.astype(np.float32))
    root = brentq(lambda x: 1 - x - np.interp(x, false_positive, true_positive), 0, 1, xtol=1e-12)
    assert roc.eer(scores, labels) == pytest.approx(root, abs=1e-9)


@pytest.mark.parametrize("labels", [[1, 1], [0, 0]])
def test_one_class_has_no_equal_error_rate(labels) -> None:
    assert roc.eer([0.1, 0.2], labels) is None
    assert roc.eer([], []) is None


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, float("nan")], [0, 1], "1 of 2 scores are not finite"),
        ([0.1, float("inf")], [0, 1], "not finite"),
        ([0.1, 0.2], [0, 2], "labels must be 0 or 1"),
        ([0.1, 0.2], [0, -1], "labels must be 0 or 1"),
        ([0.1], [0, 1], "one score and one label"),
    ],
)
def test_wrong_input_is_an_error_not_a_number(scores, labels, message) -> None:
    for figure in (
        roc.auroc,
        roc.eer,
        lambda s, y: roc.sensitivity_at_specificity(s, y, 0.9),
        lambda s, y: roc.threshold_at_specificity(s, y, 0.9),
    ):
        with pytest.raises(ValueError, match=message):
            figure(scores, labels)


def test_ten_negatives_at_90_percent_allow_one_false_positive() -> None:
    """In floating point 1 - 0.9 is below 0.1: the one that is allowed must not be lost."""
    negatives = np.arange(10) / 10
    threshold = roc.threshold_at_specificity(negatives, np.zeros(10), 0.90)
    assert threshold is not None
    assert (negatives.astype(np.float32) >= np.float32(threshold)).sum() == 1
    assert threshold == pytest.approx(0.85)


@pytest.mark.parametrize(
    ("count", "specificity", "allowed"), [(19, 0.90, 1), (20, 0.90, 2), (9, 0.90, 0), (99, 0.99, 0), (100, 0.99, 1)]
)
def test_the_share_is_never_rounded_up(count, specificity, allowed) -> None:
    negatives = np.random.default_rng(0).random(count).astype(np.float32)
    threshold = roc.threshold_at_specificity(negatives, np.zeros(count), specificity)
    assert (negatives >= threshold).sum() == allowed
    # and it flags as much as it may: below the next lower negative one more would be flagged
    assert (negatives >= negatives[negatives < threshold].max()).sum() == allowed + 1


def test_rounding_of_scores_flips_no_flag() -> None:
    """Screening's batches and memory layout are not those of validation: scores differ by some 1e-7."""
    generator = np.random.default_rng(0)
    scores = np.append(np.round(generator.random(60), 4), [0.5, 0.5]).astype(np.float32)
    labels = np.append(generator.integers(0, 2, 60), [0, 1])
    for specificity in (0.5, 0.9, 0.99, 1.0):
        threshold = roc.threshold_at_specificity(scores, labels, specificity)
        assert threshold is not None
        for shift in (-2e-6, 2e-6):
            shifted = (scores + np.float32(shift)).astype(np.float32)
            assert ((shifted >= threshold) == (scores >= threshold)).all()


def test_the_next_higher_score_may_be_a_positives() -> None:
    scores = np.array([0.25, 0.5, 0.75], dtype=np.float32)
    assert roc.threshold_at_specificity(scores, [0, 1, 0], 0.5) == 0.375
    assert roc.threshold_at_specificity(scores, [0, 1, 0], 1.0) == 0.875, "midway to 1"
    assert roc.threshold_at_specificity(scores, [0, 0, 1], 1.0) == 0.625


@pytest.mark.parametrize("highest", [1.0, 2.0, np.nextafter(np.float32(1), np.float32(0)), 0.5])
def test_the_highest_negative_is_never_flagged_at_full_specificity(highest) -> None:
    """Nor is a positive just above it lost, where no float32 lies between the two."""
    above = np.nextafter(np.float32(highest), np.float32(9))
    for scores, labels in (([highest], [0]), ([highest, above], [0, 1])):
        threshold = roc.threshold_at_specificity(scores, labels, 1.0)
        assert threshold is not None
        assert np.float32(threshold) == threshold
        assert ((np.array(scores, np.float32) >= threshold) == np.array(labels, bool)).all()


def test_ties_are_never_split() -> None:
    scores = np.array([0.5] * 5 + [0.1] * 15, dtype=np.float32)
    threshold = roc.threshold_at_specificity(scores, np.zeros(20), 0.90)
    assert (scores >= threshold).sum() == 0


def test_threshold_without_negatives_is_undefined() -> None:
    assert roc.threshold_at_specificity([0.2], [1], 0.9) is None
    assert roc.sensitivity_at_specificity([0.2], [1], 0.9) is None
    assert roc.sensitivity_at_specificity([0.2], [0], 0.9) is None


@pytest.mark.parametrize("specificity", [0.0, 1.1, -1])
def test_a_specificity_out_of_range_is_refused(specificity) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        roc.threshold_at_specificity([0.1], [0], specificity)


def test_sensitivity_at_specificity_by_hand() -> None:
    scores = [*np.arange(10) / 10, 0.85, 0.95, 0.2, 0.81]
    labels = [0] * 10 + [1] * 4
    assert roc.sensitivity_at_specificity(scores, labels, 0.90) == 0.75
    assert roc.specificity_at(scores, labels, 0.85) == 0.9
    assert roc.sensitivity_at(scores, labels, 0.85) == 0.5


def test_iou_counts_known_pixels_only() -> None:
    prediction = np.array([[1, 1, 0, 0]], dtype=bool)
    truth = np.array([[1, 0, 1, 0]], dtype=bool)
    assert roc.iou(prediction, truth) == pytest.approx(1 / 3)
    assert roc.iou(prediction, truth, np.array([[True, False, True, True]])) == 0.5
    assert roc.iou(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) is None
    assert roc.iou(np.ones((2, 2), bool), np.zeros((2, 2), bool)) == 0
    with pytest.raises(ValueError, match="one shape"):
        roc.iou(prediction, truth[:, :2])
