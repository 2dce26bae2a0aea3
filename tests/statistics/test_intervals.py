"""Intervals: Wilson's against statsmodels, the bootstrap's coverage, clusters and undefined draws."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import norm, rankdata
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from comit_ray.statistics.intervals import (
    IMAGES,
    NEWCOMBE,
    PATIENTS,
    IntArray,
    bootstrap,
    newcombe,
    patient_codes,
    varied,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (7, 7), (1, 1), (121, 125), (109, 125), (1_793, 2_098), (61, 6_174)])
def test_wilson_is_that_of_statsmodels(hits: int, n: int) -> None:
    found = wilson(hits, n)
    assert (found.low, found.high) == pytest.approx(proportion_confint(hits, n, method="wilson"), abs=1e-12)
    assert found.method == "wilson"
    surer = wilson(hits, n, 0.99)
    assert (surer.low, surer.high) == pytest.approx(proportion_confint(hits, n, 0.01, method="wilson"), abs=1e-12)


def test_none_and_all_have_an_exact_end() -> None:
    assert wilson(0, 10).low == 0
    assert wilson(10, 10).high == 1


@pytest.mark.parametrize(("area", "positives", "negatives"), [(0.8, 40, 60), (0.97, 20, 20), (0.99, 10, 80)])
def test_newcombes_interval_holds_the_true_area(area: float, positives: int, negatives: int) -> None:
    """Of 1,000 samples of normal scores; at least 93% are asked for, of those with an area of 1 too."""
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [positives, negatives])
    shift = np.sqrt(2) * norm.ppf(area)
    scores = rng.normal(size=(1_000, len(labels))) + shift * labels
    above = rankdata(scores, axis=1)[:, labels == 1].sum(axis=1) - positives * (positives + 1) / 2
    areas = above / (positives * negatives)  # Mann and Whitney; scikit-learn takes seconds for as many
    assert areas[0] == pytest.approx(roc_auc_score(labels, scores[0]))
    held, perfect = 0, 0
    for one in areas:
        found = newcombe(float(one), positives, negatives)
        held += found.low <= area <= found.high
        perfect += found.high == 1
    assert held >= 930
    assert perfect > 50 or area < 0.97, "samples with an area of 1 are among them"


def test_newcombes_interval_has_an_exact_end_at_0_and_1_and_is_symmetric() -> None:
    one, none = newcombe(1.0, 20, 30), newcombe(0.0, 20, 30)
    assert (one.high, none.low, one.method) == (1.0, 0.0, NEWCOMBE)
    assert 0.9 < one.low < 0.95
    assert none.high == pytest.approx(1 - one.low)
    assert newcombe(1.0, 200, 300).low > one.low
    assert newcombe(1.0, 0, 3).reason == "one class alone"


def test_wilson_of_nothing_is_none_and_of_nonsense_an_error() -> None:
    assert wilson(0, 0).low is None
    assert wilson(0, 0).reason == "there is nothing to count"
    for hits, n in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="from 0 to n"):
            wilson(hits, n)


def _mean(values_N: np.ndarray):
    return lambda rows: {"mean": float(values_N[rows].mean())}


def test_of_single_images_it_is_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).exponential(size=60)
    found = bootstrap(_mean(values), pd.Series([None] * 60, dtype=object), 4_000, 1)["mean"]
    expected = scipy_bootstrap((values,), np.mean, n_resamples=4_000, method="percentile", rng=2).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)
    assert found.method == IMAGES


def test_covers_the_truth_where_patients_have_several_images() -> None:
    """Four alike images a patient: about 95 of 100 intervals cover; drawn image by image, far fewer would."""
    rng = np.random.default_rng(5)
    covered, naively = 0, 0
    for number in range(100):
        values = np.repeat(rng.normal(size=40), 4) + 0.1 * rng.normal(size=160)
        clusters = np.repeat(np.arange(40), 4)
        found = bootstrap(_mean(values), clusters, 200, number)["mean"]
        naive = bootstrap(_mean(values), np.arange(160), 200, number)["mean"]
        covered += found.low <= 0 <= found.high
        naively += naive.low <= 0 <= naive.high
    assert 87 <= covered <= 99
    assert naively < 80


def test_a_patient_is_drawn_with_all_images() -> None:
    clusters = ["a", None, "b", "a", None, "b", "b"]
    seen: list[IntArray] = []

    def statistics(rows: IntArray) -> dict[str, float]:
        seen.append(rows)
        return {"x": 0.0}

    assert bootstrap(statistics, clusters, 50, 0)["x"].method == PATIENTS
    for rows in seen:
        counts = np.bincount(rows, minlength=7)
        assert counts[0] == counts[3]
        assert counts[2] == counts[5] == counts[6]
        assert counts[0] + counts[1] + counts[2] + counts[4] == 4
    assert any(np.bincount(rows, minlength=7)[1] != np.bincount(rows, minlength=7)[4] for rows in seen)


def test_undefined_draws_are_left_out_up_to_five_percent() -> None:
    def statistics(rows: IntArray) -> dict[str, float | None]:
        return {"seldom": None if (rows == 0).all() else 1.0, "often": 1.0 if 0 in rows else None}

    found = bootstrap(statistics, ["a", "b", "c", "d"], 400, 0)
    assert (found["seldom"].low, found["seldom"].high, found["seldom"].reason) == (1, 1, None)
    assert (found["often"].low, found["often"].high) == (None, None)
    assert found["often"].reason is not None
    assert "of 400 draws of patients have no value" in found["often"].reason


def test_one_patient_alone_has_no_interval() -> None:
    found = bootstrap(_mean(np.arange(3.0)), ["a", "a", "a"], 100)["mean"]
    assert (found.low, found.reason) == (None, "one patient alone: there is nothing to draw from")


def test_the_seed_decides() -> None:
    values, clusters = np.arange(20.0), np.arange(20)
    assert bootstrap(_mean(values), clusters, 50, 1) == bootstrap(_mean(values), clusters, 50, 1)
    assert bootstrap(_mean(values), clusters, 50, 1) != bootstrap(_mean(values), clusters, 50, 2)


@pytest.mark.parametrize(("clusters", "draws"), [([], 10), (["a"], 0)])
def test_nothing_to_draw_is_an_error(clusters: list[str], draws: int) -> None:
    with pytest.raises(ValueError, match="at least one image and one draw"):
        bootstrap(_mean(np.zeros(1)), clusters, draws)


def test_images_without_a_patient_are_patients_of_their_own() -> None:
    codes = patient_codes(pd.Series(["a", None, "b", None, "a"]))
    assert codes[0] == codes[4]
    assert len(set(codes.tolist())) == 4
    assert patient_codes(pd.Series([None, None], dtype=object)).tolist() == [0, 1]
    assert patient_codes(pd.Series([], dtype=object)).tolist() == []


def test_a_point_is_no_interval() -> None:
    found = varied(bootstrap(_mean(np.ones(9)), np.arange(9), 50)["mean"])
    assert (found.low, found.high, found.reason) == (None, None, "every draw of patients gives the same value")
    kept = bootstrap(_mean(np.arange(9.0)), np.arange(9), 50)["mean"]
    assert varied(kept) == kept
