import numpy as np
import pytest

from comit_ray.evaluation.pictures.contact_sheet import NOT_FOR_DIAGNOSIS
from comit_ray.evaluation.pictures.curve_pictures import draw_roc
from comit_ray.statistics import roc


def curves(count: int, start: int = 0):
    found = []
    for seed in range(start, start + count):
        rng = np.random.default_rng(seed)
        labels = np.repeat([1, 0], [20, 60])
        found.append(roc.roc(rng.normal(labels, 1).astype(np.float32), labels))
    return found


@pytest.fixture
def panels():
    return {"deep": {"ResNet18 + FC": curves(3), "COMiT-Net": curves(2, 9)}, "embeddings": {"COMiT-Net": curves(2, 9)}}


def lines(axes, variant):
    return [line for line in axes.get_lines() if line.get_label() == variant]


def test_a_line_a_seed_with_the_curves_own_data_over_both_axes(panels):
    figure = draw_roc(panels)
    assert [axes.get_title() for axes in figure.axes] == ["deep", "", "embeddings", ""]
    for axes, title in zip(figure.axes, ("deep", "deep", "embeddings", "embeddings"), strict=True):
        for variant, mine in panels[title].items():
            drawn = lines(axes, variant)
            assert len(drawn) == len(mine)
            for line, curve in zip(drawn, mine, strict=True):
                np.testing.assert_array_equal(line.get_xdata(), curve.x)
                np.testing.assert_array_equal(line.get_ydata(), curve.y)
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "log", "linear", "log"]
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)


def test_a_variant_looks_the_same_in_every_panel_and_unlike_the_others(panels):
    figure = draw_roc(panels)
    looks = [(line.get_color(), line.get_linestyle()) for axes in figure.axes for line in lines(axes, "COMiT-Net")]
    assert set(looks) == {("#000000", "-")}
    other = lines(figure.axes[0], "ResNet18 + FC")[0]
    assert other.get_color() != "#000000"
    assert other.get_linestyle() != "-"


def test_no_marker_stands_on_the_curves(panels):
    """The paper's values stand in a table, never in a picture of ours."""
    figure = draw_roc(panels)
    assert {line.get_marker() for axes in figure.axes for line in axes.get_lines()} == {"None"}
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend == ["ResNet18 + FC (3 seeds)", "COMiT-Net (2 seeds)"]


def test_a_seed_without_a_curve_is_counted_not_drawn():
    figure = draw_roc({"one": {"A": [None, *curves(1)], "B": [None]}})
    assert len(lines(figure.axes[0], "A")) == 1
    assert lines(figure.axes[0], "B") == []
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend == ["A (1 of 2 seeds)", "B (0 of 1 seed)"]


def test_it_says_that_it_is_not_for_diagnosis(panels):
    assert draw_roc(panels).get_supxlabel() == NOT_FOR_DIAGNOSIS


def test_ticks_of_the_logarithmic_axis_are_plain_numbers(panels):
    ticks = [label.get_text() for label in draw_roc(panels).axes[1].get_xticklabels()]
    assert ticks == ["0.001", "0.01", "0.1", "1"]


def test_no_panel_is_an_error():
    with pytest.raises(ValueError, match="got none"):
        draw_roc({})
