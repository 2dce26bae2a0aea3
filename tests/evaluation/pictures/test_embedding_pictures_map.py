import numpy as np
import pytest
from matplotlib.colors import to_hex

from comit_ray.evaluation.pictures.contact_sheet import NOT_FOR_DIAGNOSIS
from comit_ray.evaluation.pictures.embedding_pictures import (
    PREDICTED_CLASSES,
    TRUE_CLASSES,
    draw_embedding_map,
    project,
)


def clusters(each: int, seed: int = 0) -> np.ndarray:
    """Two groups of embeddings far from one another."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 1, (each, 16)), rng.normal(20, 1, (each, 16))]).astype(np.float32)


def test_who_lies_together_stays_together():
    places = project(clusters(30), seed=0)
    assert places.shape == (60, 2)
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    nearest = distance.argmin(axis=1)
    assert ((nearest < 30) == (np.arange(60) < 30)).all()


def test_the_same_embeddings_and_seed_give_the_same_places():
    x_NC = clusters(20)
    assert np.array_equal(project(x_NC, seed=3), project(x_NC, seed=3))


@pytest.mark.parametrize("count", [5, 6, 31])
def test_few_images_have_a_smaller_neighbourhood(count):
    x_NC = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    assert np.isfinite(project(x_NC, seed=0)).all()


@pytest.mark.parametrize(
    ("x_NC", "message"),
    [
        (np.zeros((4, 8), np.float32), "at least 5 images"),
        (np.zeros((9, 1), np.float32), "two values each"),
        (np.ones((9, 8), np.float32), "embeddings that differ, got equal ones"),
        (np.full((9, 8), np.nan, np.float32), "finite"),
    ],
)
def test_what_cannot_be_laid_out_is_an_error(x_NC, message):
    with pytest.raises(ValueError, match=message):
        project(x_NC, seed=0)


POINTS = np.arange(12, dtype=np.float32).reshape(6, 2)
TRUTH = ["healthy", "COVID-19", "COVID-19", "other disease", "not known", "healthy"]
FLAGS = ["not flagged", "flagged COVID-19", "not flagged", "flagged unhealthy, not COVID-19", "without a flag"]
FLAGS.append("not flagged")


def coloured(axes) -> dict[str, set[tuple[float, ...]]]:
    """Colour -> places in it."""
    found: dict[str, set[tuple[float, ...]]] = {}
    for collection in axes.collections:
        colour = to_hex(collection.get_facecolor()[0]).upper()
        found.setdefault(colour, set()).update(map(tuple, np.asarray(collection.get_offsets()).tolist()))
    return found


def test_the_same_places_coloured_by_label_and_by_flag():
    figure = draw_embedding_map(POINTS, TRUTH, FLAGS)
    left, right = figure.axes
    for axes, classes, colours in ((left, TRUTH, TRUE_CLASSES), (right, FLAGS, PREDICTED_CLASSES)):
        expected = {
            colours[name].upper(): {tuple(POINTS[i].tolist()) for i in range(6) if classes[i] == name}
            for name in set(classes)
        }
        assert coloured(axes) == expected
    assert "labels" in left.get_title()
    assert "flags" in right.get_title()
    assert figure.get_supxlabel() == NOT_FOR_DIAGNOSIS


def test_the_legend_counts_and_never_calls_what_is_not_flagged_healthy():
    left, right = draw_embedding_map(POINTS, TRUTH, FLAGS).axes
    legend = [text.get_text() for text in left.get_legend().get_texts()]
    assert legend == ["healthy (2)", "other disease (1)", "COVID-19 (2)", "not known (1)"]
    flags = " ".join(text.get_text() for text in right.get_legend().get_texts())
    assert "not flagged (3)" in flags
    assert "healthy" not in flags.replace("unhealthy", "")
    assert "normal" not in flags


def test_data_sets_differ_in_shape():
    datasets = ["nih", "nih", "nih", "nih", "covid-chestxray", "bimcv"]
    axes = draw_embedding_map(POINTS, TRUTH, FLAGS, datasets).axes[0]
    legend = [text.get_text() for text in axes.get_legend().get_texts()][-3:]
    assert legend == ["nih", "bimcv", "covid-chestxray"], "the most frequent first"
    shapes = {len(np.asarray(collection.get_paths()[0].vertices)) for collection in axes.collections}
    assert len(shapes) == 3


def test_many_data_sets_share_the_last_shape():
    points = np.zeros((40, 2), np.float32)
    datasets = [f"source {number:02d}" for number in range(20)] * 2
    legend = (
        draw_embedding_map(points, ["COVID-19"] * 40, ["not flagged"] * 40, datasets).axes[0].get_legend().get_texts()
    )
    assert legend[-1].get_text() == "further data sets"


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match=r"one label, flag and data set for each of 6 points, got 5, 6 and 6"):
        draw_embedding_map(POINTS, TRUTH[:5], FLAGS)
    with pytest.raises(ValueError, match="got normal"):
        draw_embedding_map(POINTS, ["normal"] * 6, FLAGS)
