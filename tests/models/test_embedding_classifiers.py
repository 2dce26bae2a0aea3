import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from comit_ray.config.embedding_config import MethodConfig
from comit_ray.models import embedding_classifiers
from comit_ray.statistics import roc

METHODS = ["random_forest", "svm_sigmoid", "svm_gaussian", "svm_rbf"]


def clouds(count: int = 200, apart: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two clouds of embeddings of 16 values, `apart` standard deviations; the columns' scales differ a thousandfold."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int8) % 2
    x = random.normal(size=(count, 16))
    x[:, 0] += apart * labels
    return (x * np.logspace(0, 3, 16)).astype(np.float32), labels


@pytest.mark.parametrize("name", METHODS)
def test_it_learns_what_can_be_learned_and_nothing_else(name):
    method = MethodConfig(name=name)
    for apart, low, high in ((6.0, 0.95, 1.0), (0.0, 0.35, 0.65)):
        classifier = embedding_classifiers.fit(method, *clouds(400, apart))
        x, labels = clouds(400, apart, seed=1)
        scores = classifier.score(x)
        assert scores.dtype == np.float32
        assert scores.shape == (400,)
        assert ((scores >= 0) & (scores <= 1)).all()
        assert low <= roc.auroc(scores, labels) <= high


def test_the_defaults_are_scikit_learns_own():
    x, labels = clouds()
    new, _ = clouds(seed=1)
    forest = RandomForestClassifier(random_state=0).fit(x, labels)
    np.testing.assert_allclose(
        embedding_classifiers.fit(MethodConfig(name="random_forest"), x, labels).score(new),
        forest.predict_proba(new)[:, 1],
        rtol=1e-6,
    )
    for name, kernel in (("svm_sigmoid", "sigmoid"), ("svm_gaussian", "rbf"), ("svm_rbf", "rbf")):
        machine = make_pipeline(StandardScaler(), SVC(kernel=kernel)).fit(x.astype(np.float64), labels)
        decision = machine.decision_function(new.astype(np.float64))
        scores = embedding_classifiers.fit(MethodConfig(name=name), x, labels).score(new)
        assert (scores >= 0.5).tolist() == (decision >= 0).tolist()
        assert (
            np.argsort(scores, kind="stable").tolist()
            == np.argsort(decision.astype(np.float32), kind="stable").tolist()
        )


def test_gaussian_and_rbf_are_one_kernel_under_two_names():
    x, labels = clouds(apart=1.0)
    gaussian, rbf = (
        embedding_classifiers.fit(MethodConfig(name=name), x, labels) for name in ("svm_gaussian", "svm_rbf")
    )
    assert gaussian.score(x).tolist() == rbf.score(x).tolist()


def test_large_decision_values_do_not_tie():
    """A sigmoid kernel on columns that agree has decision values of hundreds, whose plain logistic is 0 or 1."""
    random = np.random.default_rng(0)
    x = random.normal(size=(2000, 1)) + 0.01 * random.normal(size=(2000, 16))
    labels = (random.normal(size=2000) > 0).astype(np.int8)
    classifier = embedding_classifiers.fit(MethodConfig(name="svm_sigmoid", cost=10.0), x.astype(np.float32), labels)
    decision = classifier.estimator.decision_function(
        classifier.scaler.transform(x.astype(np.float32).astype(np.float64))
    )
    assert np.abs(decision).max() > 100
    scores = classifier.score(x.astype(np.float32))
    assert ((scores > 0) & (scores < 1)).all()
    assert len(np.unique(scores)) > 0.99 * len(np.unique(decision))
    assert (np.diff(scores[np.argsort(decision)]) >= 0).all()


def test_the_same_images_and_seed_give_the_same_scores_with_any_threads():
    x, labels = clouds(apart=1.0)
    first, same, more, other = (
        embedding_classifiers.fit(MethodConfig(name="random_forest", seed=seed), x, labels, threads).score(x)
        for seed, threads in ((0, 1), (0, 1), (0, 2), (1, 1))
    )
    assert first.tolist() == same.tolist() == more.tolist()
    assert first.tolist() != other.tolist()


def test_balanced_classes_move_the_border_towards_the_larger_one():
    x, labels = clouds(600, apart=1.0)
    kept = (labels == 0) | (np.arange(600) % 20 == 1)
    plain, balanced = (
        embedding_classifiers.fit(MethodConfig(name="svm_rbf", class_weight=weight), x[kept], labels[kept]).score(x)
        for weight in ("none", "balanced")
    )
    assert (balanced >= 0.5).sum() > 2 * (plain >= 0.5).sum()


@pytest.mark.parametrize("name", METHODS)
def test_no_image_has_no_score(name):
    assert embedding_classifiers.fit(MethodConfig(name=name), *clouds()).score(np.zeros((0, 16), np.float32)).shape == (
        0,
    )


def test_one_class_or_values_that_are_not_finite_are_refused():
    x, labels = clouds()
    with pytest.raises(ValueError, match=r"labels 0 and 1 are needed, got \[0\]"):
        embedding_classifiers.fit(MethodConfig(), x, np.zeros_like(labels))
    x[3, 3] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        embedding_classifiers.fit(MethodConfig(), x, labels)


def test_the_parameters_name_everything_that_decides():
    found = [embedding_classifiers.parameters(MethodConfig(name=name)) for name in METHODS]
    assert (found[0]["n_estimators"], found[0]["random_state"], found[0]["standardised"]) == (100, 0, False)
    assert [(p["kernel"], p["C"], p["gamma"], p["standardised"]) for p in found[1:]] == [
        ("sigmoid", 1.0, "scale", True),
        ("rbf", 1.0, "scale", True),
        ("rbf", 1.0, "scale", True),
    ]
    changes: list[dict] = [{"cost": 2.0}, {"gamma": 0.5}, {"class_weight": "balanced"}]
    for change in changes:
        assert embedding_classifiers.parameters(MethodConfig(**change)) != embedding_classifiers.parameters(
            MethodConfig()
        )
