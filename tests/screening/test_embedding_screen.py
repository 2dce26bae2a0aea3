from typing import Any

import numpy as np
import pytest

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.embedding_config import EmbeddingClassifierConfig
from comit_ray.errors import ConfigError, ManifestError
from comit_ray.screening import embedding_screen
from comit_ray.screening.embedding_tables import EmbeddedChunk, Labelled
from tests.screening.embedded_screens import labelled_rows, separable

ROW = {"height": 64, "width": 48, "view": "PA", "model_id": "network", "reason": None, "detail": None, "status": "ok"}


def config(**options: Any) -> EmbeddingClassifierConfig:
    return EmbeddingClassifierConfig.parse({"results": "r", "manifest": "m", "output": "o"} | options, origin="test")


def images(per_split: dict[str, int], **covid: Any) -> Labelled:
    """Separable embeddings; `covid` sets that label for a whole split."""
    rows = labelled_rows(per_split)
    vectors = separable(rows)
    labels: dict[str, np.ndarray] = {
        name: np.array([row[name] for row in rows], float) for name in ("covid", "unhealthy")
    }
    splits = np.array([row["split"] for row in rows], object)
    for split, value in covid.items():
        labels["covid"][splits == split] = value
    ids = np.array([row["image_id"] for row in rows], object)
    return Labelled(ids, splits, np.stack([vectors[i] for i in ids]).astype(np.float32), labels)


def test_each_label_has_its_own_classifier_thresholds_and_counts():
    data = images({"train": 60, "val": 40})
    data.labels["covid"][0] = np.nan  # one positive of the training split
    fitted = embedding_screen.fit_classifiers(data, "network", config())
    assert fitted.counts == {"covid": (40, 19), "unhealthy": (20, 40)}
    document, point = embedding_screen.choose_thresholds(fitted, data, config(operating_point="specificity_0.99"))
    assert list(document) == ["specificity_0.90", "specificity_0.99"]
    assert point.name == "specificity_0.99"
    for label in ("covid", "unhealthy"):
        chosen = document["specificity_0.99"][label]
        assert point.threshold(label) == chosen.threshold
        assert (chosen.specificity, chosen.sensitivity) == (1.0, 1.0)
    assert document["specificity_0.90"]["covid"].positives == 14


def test_only_the_training_split_decides_the_model():
    data, config_ = images({"train": 60, "val": 40}), config(tasks=["covid"])
    first = embedding_screen.fit_classifiers(data, "network", config_)
    data.x_NC[60:] = 0
    data.labels["covid"][60:] = 1
    again = embedding_screen.fit_classifiers(data, "network", config_)
    assert again.model_id == first.model_id
    assert again.classifiers["covid"].score(data.x_NC).tolist() == first.classifiers["covid"].score(data.x_NC).tolist()


def test_the_model_id_names_everything_that_decides():
    data = images({"train": 60})
    changed = images({"train": 60})
    changed.labels["covid"][0] = 0
    renamed = images({"train": 60})
    renamed.ids[0] = "a/another"
    found = [
        embedding_screen.fit_classifiers(some, network, config(**options)).model_id
        for some, network, options in (
            (data, "network", {}),
            (data, "another", {}),
            (data, "network", {"tasks": ["covid"]}),
            (data, "network", {"method": {"name": "random_forest"}}),
            (data, "network", {"method": {"cost": 2.0}}),
            (changed, "network", {}),
            (renamed, "network", {}),
        )
    ]
    assert len(set(found)) == len(found)
    assert embedding_screen.fit_classifiers(data, "network", config(tasks=["unhealthy", "covid"])).model_id == found[0]


@pytest.mark.parametrize(("label", "counts"), [(0, "got 0 and 60"), (1, "got 60 and 0"), (np.nan, "got 0 and 0")])
def test_one_class_alone_in_train_is_refused(label, counts):
    data = images({"train": 60, "val": 40}, train=label)
    with pytest.raises(
        ManifestError, match=rf"training images with covid 1 and with covid 0, {counts}.*--tasks '\[unhealthy\]'"
    ):
        embedding_screen.fit_classifiers(data, "network", config())
    with pytest.raises(ManifestError, match=r"train split has both$"):
        embedding_screen.fit_classifiers(data, "network", config(tasks=["covid"]))


def test_a_threshold_that_cannot_be_chosen_is_an_error_for_covid_and_a_reason_for_the_unhealthy():
    data = images({"train": 60, "val": 40}, val=0)
    fitted = embedding_screen.fit_classifiers(data, "network", config())
    with pytest.raises(ConfigError, match="no threshold for covid: no positive image in the validation split"):
        embedding_screen.choose_thresholds(fitted, data, config())
    data = images({"train": 60, "val": 40})
    data.labels["unhealthy"][60:] = np.nan
    _, point = embedding_screen.choose_thresholds(fitted, data, config())
    assert point.missing == {"unhealthy": "no negative image in the validation split"}


def test_rows_keep_what_they_were_and_take_nothing_of_the_network():
    data = images({"train": 60, "val": 40})
    fitted = embedding_screen.fit_classifiers(data, "network", config())
    rows: list[dict[str, Any]] = [
        ROW | {"image_id": "a/covid"},
        ROW | {"image_id": "a/broken", "status": "failed", "reason": "truncated", "detail": "half a file"},
        ROW | {"image_id": "a/infinite"},
        ROW | {"image_id": "a/healthy"},
    ]
    x = np.stack([data.x_NC[0], np.full(8, np.inf, np.float32), data.x_NC[1]])
    point = OperatingPoint("mine", {"covid": 0.5})
    found = embedding_screen.predict(EmbeddedChunk("f", rows, x), fitted, point, "run")
    assert [(r["image_id"], r["status"], r["reason"]) for r in found] == [
        ("a/covid", "ok", None),
        ("a/broken", "failed", "truncated"),
        ("a/infinite", "failed", "model_failed"),
        ("a/healthy", "ok", None),
    ]
    assert {(r["model_id"], r["run_id"]) for r in found} == {(fitted.model_id, "run")}
    assert [r.get("covid_flag") for r in found] == [True, None, None, False]
    assert found[0]["p_covid"] > 0.5 > found[3]["p_covid"]
    for row in found:
        assert "unhealthy_flag" not in row  # this point has no threshold for it
        assert ("p_unhealthy" in row) == (row["status"] == "ok") == (row.get("operating_point") == "mine")
        assert (row["height"], row["width"], row["view"]) == (64, 48, "PA")


def test_a_score_at_the_threshold_is_flagged():
    data = images({"train": 60})
    fitted = embedding_screen.fit_classifiers(data, "network", config())
    score = float(fitted.classifiers["covid"].score(data.x_NC[:1])[0])
    chunk = EmbeddedChunk("f", [ROW | {"image_id": "a/1"}], data.x_NC[:1])
    for threshold, flagged in ((score, True), (float(np.nextafter(np.float32(score), np.float32(2))), False)):
        point = OperatingPoint("mine", {"covid": threshold})
        assert embedding_screen.predict(chunk, fitted, point, "run")[0]["covid_flag"] == flagged
