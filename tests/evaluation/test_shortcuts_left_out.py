"""Leave one source out, on embeddings of which it is known what tells COVID-19 in each source."""

import numpy as np
import pandas as pd
import pytest

from comit_ray.evaluation.shortcuts import KEPT, LEFT_OUT, left_out_blocks
from comit_ray.statistics.measure import measure
from comit_ray.statistics.metric import Metric


def embedded(directions: dict[str, int], count: int = 60, both: bool = True) -> tuple[pd.DataFrame, np.ndarray]:
    """Per source, `count` images of as many patients; COVID-19 moves the embedding along the source's direction."""
    rng = np.random.default_rng(0)
    rows, vectors = [], []
    for source, direction in directions.items():
        for number in range(count):
            covid = number % 2 if both else 0
            vector = rng.normal(size=8)
            vector[direction] += 3 * covid
            rows.append({"dataset": source, "patient_id": f"{source}/{number}", "covid": covid})
            vectors.append(vector)
    return pd.DataFrame(rows), np.array(vectors)


def figures(images: pd.DataFrame, x_NC: np.ndarray) -> dict[tuple[str, str], Metric]:
    found = {}
    for source, (mine_N, made) in left_out_blocks(images, x_NC, 0).items():
        assert mine_N.tolist() == (images["dataset"] == source).tolist()
        for figure in measure(made, images["patient_id"], "test", source, 200, 0):
            found[source, figure.metric] = figure
    return found


def test_where_sources_agree_nothing_falls() -> None:
    found = figures(*embedded({"a": 0, "b": 0, "c": 0}))
    for source in "abc":
        assert found[source, LEFT_OUT].value > 0.95
        assert found[source, KEPT].value > 0.95
        assert (found[source, LEFT_OUT].n, found[source, LEFT_OUT].patients) == (60, 60)


def test_where_one_source_has_its_own_sign_it_is_seen() -> None:
    found = figures(*embedded({"a": 0, "b": 0, "alone": 5}))
    left, kept = found["alone", LEFT_OUT], found["alone", KEPT]
    assert left.high < 0.8
    assert left.high < kept.low
    assert found["a", LEFT_OUT].value > 0.9


def test_a_source_with_one_class_is_null_with_the_reason() -> None:
    one, first = embedded({"mixed": 0})
    other, second = embedded({"healthy": 0}, both=False)
    found = figures(pd.concat([one, other], ignore_index=True), np.concatenate([first, second]))
    assert found["healthy", LEFT_OUT].value is found["healthy", KEPT].value is None
    assert found["healthy", LEFT_OUT].reason == (
        "the source has images with COVID-19 of 0 patients, at least 5 are needed"
    )
    assert found["mixed", LEFT_OUT].reason == (
        "the other sources have images with COVID-19 of 0 patients, at least 5 are needed"
    )
    assert found["mixed", KEPT].value > 0.9


def test_patients_of_the_source_are_not_learned_from_elsewhere() -> None:
    """Source b holds the patients of source a too: without them nothing is left to learn from."""
    images, x_NC = embedded({"a": 0, "b": 0})
    images["patient_id"] = [name.split("/")[1] for name in images["patient_id"]]
    found = figures(images, x_NC)
    assert found["a", LEFT_OUT].value is None
    assert "the other sources have images with COVID-19 of 0 patients" in found["a", LEFT_OUT].reason


@pytest.mark.parametrize("sources", [{"a": 0}, {}])
def test_one_source_cannot_be_left_out(sources) -> None:
    images, x_NC = embedded(sources)
    if images.empty:
        images = pd.DataFrame({"dataset": [], "patient_id": [], "covid": []})
    assert left_out_blocks(images, x_NC, 0) == {}
