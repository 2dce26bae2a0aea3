import json
import re

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from comit_ray.checkpoint import temperature
from comit_ray.errors import ConfigError


def labelled(truth: float, count: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `truth` times too large for the labels drawn from them."""
    generator = np.random.default_rng(seed)
    honest = generator.normal(0, 2, count)
    return truth * honest, (generator.random(count) < expit(honest)).astype(int)


def nll(logits: np.ndarray, labels: np.ndarray, by: float) -> float:
    """From the definition: the mean of -log of the probability of the label."""
    p = expit(np.asarray(logits, np.float64) / by)
    return float(-np.mean(np.where(labels == 1, np.log(p), np.log1p(-p))))


@pytest.mark.parametrize("truth", [0.5, 1.0, 3.0])
def test_the_temperature_of_over_and_underconfident_logits_is_recovered(truth) -> None:
    found = temperature.fit({"covid": labelled(truth)})["covid"]
    assert found.temperature == pytest.approx(truth, rel=0.05)
    assert found.reason is None


@pytest.mark.parametrize("seed", range(10))
def test_it_is_the_minimum_of_the_likelihood_and_never_above_the_start(seed) -> None:
    """Against scipy's bounded search over log T, from the definition of the likelihood."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, generator.uniform(0.5, 5), 200)
    labels = (generator.random(200) < expit(logits / generator.uniform(0.5, 4))).astype(int)
    found = temperature.fit({"covid": (logits, labels)})["covid"]
    assert found.temperature is not None
    bounds = (np.log(temperature.LOWEST), np.log(temperature.HIGHEST))
    search = minimize_scalar(lambda x: nll(logits, labels, np.exp(x)), bounds=bounds, method="bounded")
    assert found.temperature == pytest.approx(np.exp(search.x), rel=1e-3)
    assert found.nll_after == pytest.approx(nll(logits, labels, found.temperature), rel=1e-5)
    assert found.nll_before == pytest.approx(nll(logits, labels, 1), rel=1e-5)
    assert found.nll_after <= found.nll_before + 1e-12
    assert (found.positives, found.negatives) == (int(labels.sum()), 200 - int(labels.sum()))


def test_the_difference_of_two_logits_is_the_softmax() -> None:
    """softmax([a, b] / T)[1] = sigmoid((b - a) / T): one fit serves both kinds of head."""
    logits, labels = labelled(2.0, 500)
    other = np.random.default_rng(1).normal(0, 3, 500)
    pair = np.stack([other, other + logits])
    by = temperature.fit({"unhealthy": (pair[1] - pair[0], labels)})["unhealthy"].temperature
    powers = np.exp(pair / by)
    np.testing.assert_allclose(powers[1] / powers.sum(axis=0), expit(logits / by), rtol=1e-9)


@pytest.mark.parametrize(
    ("logits", "labels", "reason"),
    [
        ([1.0] * 30, [1] * 30, "30 positive and 0 negative images in the validation split: at least 10 of each"),
        ([1.0] * 9 + [-1.0] * 30, [1] * 9 + [0] * 30, "9 positive and 30 negative"),
        ([], [], "0 positive and 0 negative"),
        (np.linspace(-3, 3, 40), [0] * 20 + [1] * 20, "below 0.05: the scores separate the validation split"),
        (np.linspace(-3, 3, 40), [1] * 20 + [0] * 20, "above 20: .*no better as probabilities than 0.5"),
        ([0.0] * 40, [0] * 20 + [1] * 20, "above 20"),
    ],
)
def test_where_there_is_none_it_is_null_with_a_reason(logits, labels, reason) -> None:
    found = temperature.fit({"covid": (logits, labels)})["covid"]
    assert (found.temperature, found.nll_after) == (None, None)
    assert re.search(reason, found.reason or "")


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([0.1, np.nan], [0, 1], "not finite"),
        ([0.1, 0.2], [0, -1], "labels must be 0 or 1"),
        ([0.1], [0, 1], "one label"),
    ],
)
def test_wrong_input_is_an_error_not_a_number(logits, labels, message) -> None:
    with pytest.raises(ValueError, match=message):
        temperature.fit({"covid": (logits, labels)})


def test_extreme_logits_do_not_overflow() -> None:
    logits, labels = labelled(400.0, 2000)
    found = temperature.fit({"covid": (logits, labels)})["covid"]
    assert found.temperature is None, "400 is above what is searched"
    assert found.nll_before is not None
    assert np.isfinite(found.nll_before)


@pytest.mark.parametrize("by", [0.3, 1.0, 4.0])
def test_a_threshold_is_carried_with_the_scores(by) -> None:
    p = np.linspace(0.001, 0.999, 500)
    for threshold in (0.01, 0.5, 0.93):
        carried = temperature.carry(threshold, by)
        assert carried == pytest.approx(expit(logit(threshold) / by))
        assert ((expit(logit(p) / by) >= carried) == (p >= threshold)).all()


@pytest.mark.parametrize("threshold", [0.0, 1.0, 1.0000001, -1.0])
def test_a_threshold_that_all_or_none_reach_stays(threshold) -> None:
    assert temperature.carry(threshold, 2.0) == threshold


def test_the_order_of_the_scores_stays() -> None:
    logits, labels = labelled(3.0, 1000)
    found = temperature.fit({"covid": (logits, labels)})["covid"].temperature
    assert (np.argsort(expit(logits / found)) == np.argsort(logits)).all()


def test_a_file_reads_back_exactly() -> None:
    document = temperature.fit({"covid": labelled(2.0, 100), "other": ([1.0], [1])})
    data = temperature.to_json(document)
    assert temperature.parse(data, origin="x") == document
    assert json.loads(data)["other"]["temperature"] is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        '{"covid": 1.5}',
        '{"covid": {"temperature": 0}}',
        '{"covid": {"temperature": -1}}',
        '{"covid": {"temperature": Infinity}}',
        '{"covid": {"temprature": 1.5}}',
    ],
)
def test_another_file_is_refused_by_name(text) -> None:
    with pytest.raises(ConfigError, match=r"t\.json: expected JSON such as"):
        temperature.parse(text, origin="t.json")
