import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from comit_ray.evaluation.pictures.curve_pictures import draw_precision_recall
from comit_ray.statistics import roc


@pytest.fixture
def curve():
    labels = np.repeat([1, 0], [20, 60])
    return roc.precision_recall(np.random.default_rng(0).normal(labels, 1).astype(np.float32), labels)


def test_a_stepped_line_a_seed_with_the_curves_own_data(curve):
    figure = draw_precision_recall({"a": {"X": [curve, None, curve]}, "b": {"COMiT-Net": [curve]}})
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("a", "b")
    drawn = [line for line in left.get_lines() if line.get_label() == "X"]
    assert len(drawn) == 2
    for line in drawn:
        np.testing.assert_array_equal(line.get_xdata(), curve.x)
        np.testing.assert_array_equal(line.get_ydata(), curve.y)
        assert line.get_drawstyle() == "steps-post"
    assert [line.get_label() for line in right.get_lines()] == ["COMiT-Net"]
    assert "recall" in left.get_xlabel()
    assert "precision" in left.get_ylabel()


def test_the_area_under_the_steps_is_the_average_precision(curve):
    """Steps drawn to the wrong side would show another area."""
    line = draw_precision_recall({"a": {"X": [curve]}}).axes[0].get_lines()[0]
    recall, precision = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert recall[0] > recall[-1], "steps-post holds a precision down to the next lower recall"
    under = -np.sum(np.diff(recall) * precision[:-1])
    labels = np.repeat([1, 0], [20, 60])
    scores = np.random.default_rng(0).normal(labels, 1).astype(np.float32)
    assert under == pytest.approx(average_precision_score(labels, scores))


def test_no_panel_is_an_error():
    with pytest.raises(ValueError, match="got none"):
        draw_precision_recall({})
