"""Bins and their errors against scikit-learn, and by hand."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from comit_ray.statistics.calibration_metrics import BINS, Binned, ScoreBins, errors_by_chance

ONCE = np.ones(300, np.int64)


def sample(seed: int, count: int = 300):
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.7, 1.5, count).astype(np.float32).astype(float)
    return scores, rng.random(count) < scores**1.5


@pytest.mark.parametrize("seed", range(4))
def test_bins_of_equal_mass_are_scikit_learns_quantiles(seed: int) -> None:
    """Of a number of images that the bins divide, and no ties: both have 30 in each."""
    scores, positive = sample(seed)
    binned = ScoreBins(scores, positive).equal_mass(ONCE)
    observed, means = calibration_curve(positive, scores, n_bins=BINS, strategy="quantile")
    assert binned.images_B.tolist() == [30] * 10
    assert binned.positives_B / binned.images_B == pytest.approx(observed)
    assert binned.scores_B / binned.images_B == pytest.approx(means)
    assert binned.error() == pytest.approx(np.abs(observed - means).mean())


@pytest.mark.parametrize("seed", range(4))
def test_bins_of_equal_width_are_scikit_learns_uniform_ones(seed: int) -> None:
    scores, positive = sample(seed)
    binned = ScoreBins(scores, positive).equal_width(ONCE)
    observed, means = calibration_curve(positive, scores, n_bins=BINS, strategy="uniform")
    assert binned.positives_B / binned.images_B == pytest.approx(observed)
    assert binned.scores_B / binned.images_B == pytest.approx(means)
    share_B = binned.images_B / binned.images_B.sum()
    assert binned.error() == pytest.approx(np.sum(share_B * np.abs(observed - means))), "Guo et al. 2017, equation 3"


@pytest.mark.parametrize("levels", [5, 1000])
def test_a_weight_is_a_repetition(levels: int) -> None:
    """With many ties and with few; an image without a score is in no bin."""
    scores, positive = sample(9)
    scores = np.floor(scores * levels) / levels
    rows = np.random.default_rng(2).integers(0, 300, 300)
    weights = np.bincount(rows, minlength=300)
    whole, drawn = (
        ScoreBins(np.append(scores, np.nan), np.append(positive, True)),
        ScoreBins(scores[rows], positive[rows]),
    )
    for kind in ("equal_mass", "equal_width"):
        one, other = getattr(whole, kind)(np.append(weights, 7)), getattr(drawn, kind)(ONCE)
        assert one.images_B.tolist() == other.images_B.tolist()
        assert one.positives_B.tolist() == other.positives_B.tolist()
        assert one.scores_B == pytest.approx(other.scores_B)


def test_ties_stay_together_and_the_order_of_images_does_not_matter() -> None:
    """Six images of 0.5 among nine: with three bins they are all in the first that holds one."""
    scores = np.array([0.1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.8, 0.9])
    positive = np.array([0, 1, 1, 0, 0, 0, 0, 1, 1], bool)
    binned = ScoreBins(scores, positive).equal_mass(np.ones(9, np.int64), 3)
    assert binned.images_B.tolist() == [7, 2]
    assert binned.positives_B.tolist() == [2, 2]
    assert binned.error() == pytest.approx((abs(3.1 - 2) + abs(1.7 - 2)) / 9)
    order = np.random.default_rng(0).permutation(9)
    again = ScoreBins(scores[order], positive[order]).equal_mass(np.ones(9, np.int64), 3)
    assert again.error() == pytest.approx(binned.error())


def test_borders_of_bins_of_equal_width() -> None:
    binned = ScoreBins([0.0, 0.5, 1.0, 0.49], [0, 0, 1, 0]).equal_width(np.ones(4, np.int64), 2)
    assert binned.images_B.tolist() == [2, 2]


def test_places_are_those_of_the_bins() -> None:
    scores, positive = sample(4)
    scores[5] = np.nan
    bins = ScoreBins(scores, positive)
    places = bins.places("equal mass")
    assert places[5] == -1
    assert np.bincount(places[places >= 0]).tolist() == bins.equal_mass(ONCE).images_B.tolist()
    width = bins.places("equal width")
    assert (width[~np.isnan(scores)] == np.minimum(np.floor(scores[~np.isnan(scores)] * 10), 9)).all()


def test_nothing_drawn_has_no_error() -> None:
    assert np.isnan(ScoreBins([0.5], [1]).equal_mass(np.zeros(1, np.int64)).error())
    assert np.isnan(Binned(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)).error())


def test_chance_alone_makes_an_error_and_less_of_it_with_more_images() -> None:
    """Labels drawn here from the scores give the mean that the function says, within its own chance."""
    scores, _ = sample(1)
    found = errors_by_chance(scores, np.arange(300), draws=400)
    assert found.shape == (400,)
    rng = np.random.default_rng(5)
    mine = [ScoreBins(scores, rng.random(300) < scores).equal_mass(ONCE).error() for _ in range(400)]
    assert found.mean() == pytest.approx(np.mean(mine), abs=0.003)
    assert found.mean() > 2 * errors_by_chance(np.tile(scores, 10), np.arange(3000), draws=100).mean()
    width = errors_by_chance(scores, np.arange(300), "equal width", 400).mean()
    assert width == pytest.approx(
        np.mean([ScoreBins(scores, rng.random(300) < scores).equal_width(ONCE).error() for _ in range(400)]), abs=0.003
    )


def test_images_of_one_patient_agree() -> None:
    """Ten images a patient are hardly more than one: chance makes a larger error than of as many patients."""
    scores, _ = sample(1)
    one = errors_by_chance(scores, np.arange(300), draws=200).mean()
    assert errors_by_chance(np.sort(scores), np.arange(300) // 10, draws=200).mean() > 1.5 * one


def test_the_seed_decides() -> None:
    scores, _ = sample(1)
    one, again, other = (errors_by_chance(scores, np.arange(300), draws=5, seed=seed) for seed in (0, 0, 1))
    assert one.tolist() == again.tolist()
    assert one.tolist() != other.tolist()


def test_no_image_is_an_error() -> None:
    with pytest.raises(ValueError, match="got none"):
        errors_by_chance([], [])
