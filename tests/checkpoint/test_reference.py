import json

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from comit_ray.checkpoint import reference
from comit_ray.checkpoint.reference import Sample
from comit_ray.errors import ConfigError

RANDOM = np.random.default_rng(0)
MIXING = RANDOM.normal(size=(8, 8))
TRAINING, VALIDATION = (RANDOM.normal(size=(n, 8)) @ MIXING + 3 for n in (300, 99))
GROUPS = ["nih PA"] * 200 + ["siim AP"] * 100
SCORES = {"covid": RANDOM.random(120).astype(np.float32)}


def made(training=TRAINING, validation=VALIDATION, scores=SCORES):
    pixels = {"pixel_mean": np.arange(len(training)) / 1_000}
    sample = Sample(training, pixels, GROUPS[-len(training) :], [f"p{n // 2}" for n in range(len(training))])
    views, sources = ["PA"] * 3 + ["AP"], ["nih", "nih", "nih", "siim"]
    patients = ["p1", "p1", "p2", None, None]
    return reference.make(sample, validation, scores, views, sources, patients)


def test_distances_are_those_of_mahalanobis() -> None:
    """SciPy's distance with scikit-learn's covariance, a direction."""
    found = made().distances(VALIDATION)
    fitted = LedoitWolf().fit(TRAINING)
    inverse = np.linalg.inv(fitted.covariance_)
    expected = [mahalanobis(one, fitted.location_, inverse) / np.sqrt(8) for one in VALIDATION]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert 0.9 < np.median(found) < 1.1


def test_typicality_by_hand() -> None:
    known = made()
    distances_M = np.sort(known.distances(VALIDATION))
    assert known.facts.quantiles["embedding_distance"] == pytest.approx(distances_M)
    found = known.typicality(np.array([0.0, distances_M[0], distances_M[-1], distances_M[-1] + 1]))
    assert found.tolist() == pytest.approx([1.0, 1.0, 0.02, 0.01]), "99 validation images"


def test_new_images_like_the_others_are_as_typical_as_they_should_be() -> None:
    """Over 100 trainings, each with images of its own: 5% of new images have 0.05 or less, and so on."""
    found = []
    for seed in range(100):
        random = np.random.default_rng(seed)
        training, validation, new = (random.normal(size=(n, 8)) @ MIXING + 3 for n in (100, 99, 100))
        known = made(training, validation)
        found.append(known.typicality(known.distances(new)))
    for share in (0.05, 0.2, 0.5):
        assert (np.array(found) <= share).mean() == pytest.approx(share, abs=0.015)


def test_what_is_unlike_is_far() -> None:
    known = made()
    assert (known.typicality(known.distances(VALIDATION + 10 * MIXING[0])) == 0.01).all()


def test_counts_and_shares() -> None:
    facts = made().facts
    assert (facts.training_images, facts.validation_images, facts.validation_patients) == (4, 5, 4)
    assert facts.views == {"AP": 0.25, "PA": 0.75}
    assert facts.sources == {"nih": 0.75, "siim": 0.25}
    assert (facts.sampled_images, facts.sampled_patients) == (300, 150)
    assert {group: len(values["pixel_mean"]) for group, values in facts.pixels.items()} == {
        "nih PA": 200,
        "siim AP": 100,
    }
    assert facts.pixels["siim AP"]["pixel_mean"] == pytest.approx(np.arange(200, 300) / 1_000)
    assert facts.quantiles["covid"] == pytest.approx(sorted(SCORES["covid"]))


def test_no_more_than_quantiles_are_kept() -> None:
    values = np.random.default_rng(0).random(5_000)
    kept = made(scores={"covid": values}).facts.quantiles["covid"]
    assert len(kept) == reference.QUANTILES
    assert kept == pytest.approx(np.quantile(values, np.linspace(0, 1, reference.QUANTILES)))


@pytest.mark.parametrize(
    ("training", "validation", "reason"),
    [
        (TRAINING[:19], VALIDATION, "19 training images: at least 20 are needed"),
        (TRAINING, VALIDATION[:3], "3 validation images: at least 20 are needed"),
        (TRAINING, np.full((30, 8), np.nan), "embeddings of validation images are not finite"),
        (np.ones((30, 8)), VALIDATION, "all training images have the same embedding"),
    ],
)
def test_too_little_to_compare_with_is_said(training, validation, reason) -> None:
    found = made(training, validation)
    assert found.facts.reason == reason
    assert found.facts.quantiles == found.facts.pixels == {}
    assert found.distances(VALIDATION) is None
    assert found.facts.views, "shares are known all the same"
    again = reference.parse(*reference.to_files(found), origin="x")
    assert again.facts == found.facts


def test_channels_that_never_fire_do_not_break_it() -> None:
    dead = np.concatenate([TRAINING, np.zeros((300, 4))], axis=1)
    same = np.concatenate([VALIDATION, np.zeros((99, 4))], axis=1)
    distances = made(dead, same).distances(same)
    assert np.isfinite(distances).all()
    other = made(dead, same).distances(np.concatenate([VALIDATION, np.ones((99, 4))], axis=1))
    assert (other > distances).all(), "one that fires is strange"


def test_what_is_written_is_read() -> None:
    known = made()
    again = reference.parse(*reference.to_files(known), origin="x")
    assert again.facts == known.facts
    np.testing.assert_array_equal(again.distances(VALIDATION), known.distances(VALIDATION))


def test_broken_files_are_refused_by_name() -> None:
    facts, arrays = reference.to_files(made())
    without = json.loads(facts) | {"quantiles": {}}
    for broken in ((b"{", arrays), (b"{}", arrays), (facts, arrays[:50]), (json.dumps(without).encode(), arrays)):
        with pytest.raises(ConfigError, match=r"here/reference\.json: expected the statistics that a training writes"):
            reference.parse(*broken, origin="here/reference.json")
