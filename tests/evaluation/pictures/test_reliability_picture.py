import numpy as np
import pytest

from comit_ray.evaluation.pictures.contact_sheet import NOT_FOR_DIAGNOSIS
from comit_ray.evaluation.pictures.reliability_picture import BIN, PERFECT, Reliability, draw

SCORES = np.array([0.02, 0.04, 0.3, 0.31, 0.97, 1.0])
POSITIVE = np.array([0, 0, 0, 1, 1, 1], bool)
PANEL = Reliability([0.03, 0.305, 0.985], [0.0, 0.5, 1.0], [0.0, 0.1, None], [0.6, 0.9, None], SCORES, POSITIVE)


def lines(axes, label):
    return [line for line in axes.get_lines() if line.get_label() == label]


def test_bins_their_intervals_and_the_diagonal():
    above = draw({"COVID-19": PANEL}).axes[0]
    (bins,) = lines(above, BIN)
    np.testing.assert_array_equal(bins.get_xydata(), [(0.03, 0), (0.305, 0.5), (0.985, 1)])
    intervals = [np.asarray(line.get_xydata()).tolist() for line in lines(above, "_interval")]
    assert intervals == [[[0.03, 0.0], [0.03, 0.6]], [[0.305, 0.1], [0.305, 0.9]]], "none where there is none"
    (diagonal,) = lines(above, PERFECT)
    np.testing.assert_array_equal(diagonal.get_xydata(), [(0, 0), (1, 1)])
    assert above.get_xlabel() == "mean score of the bin"
    assert "share of positives" in above.get_ylabel()


def test_the_histogram_counts_every_image_once():
    below = draw({"COVID-19": PANEL}).axes[1]
    assert (below.get_xlabel(), below.get_yscale()) == ("score", "log")
    labels = [text.get_text() for text in below.get_legend().get_texts()]
    assert labels == ["negative (3)", "positive (3)"]
    tops = [np.asarray(patch.get_path().vertices)[:, 1].max() for patch in below.patches]
    assert tops == [2, 2]
    ticks = [text.get_text() for text in below.get_yticklabels()]
    assert not any("$" in text for text in ticks), "plain numbers"


def test_a_column_a_panel():
    figure = draw({"COVID-19": PANEL, "unhealthy": PANEL})
    assert [axes.get_title() for axes in figure.axes] == ["COVID-19", "", "unhealthy", ""]
    assert figure.get_supxlabel() == NOT_FOR_DIAGNOSIS


def test_no_panel_is_an_error():
    with pytest.raises(ValueError, match="got none"):
        draw({})
