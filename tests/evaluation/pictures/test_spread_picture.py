import numpy as np
import pytest

from comit_ray.evaluation.pictures.spread_picture import MEAN, ONE_SEED, draw

VALUES: dict[str, list[float | None]] = {"A": [0.5, 0.7, 0.9], "B": [0.4], "C": [0.2, None, 0.4]}


def containers(figure, label):
    return [it for it in figure.axes[0].containers if it.get_label() == label]


def span(bar) -> tuple[float, float]:
    """Both ends of an error bar."""
    (segment,) = bar.lines[2][0].get_segments()
    return segment[0][0], segment[1][0]


def test_a_dot_a_seed_the_mean_and_the_sample_deviation():
    figure = draw(VALUES, "title", "sensitivity (fraction)")
    axes = figure.axes[0]
    dots = [line for line in axes.get_lines() if line.get_label() == ONE_SEED]
    assert [np.asarray(line.get_xdata()).tolist() for line in dots] == [[0.5, 0.7, 0.9], [0.4], [0.2, 0.4]]
    means = containers(figure, MEAN)
    assert [it.lines[0].get_xdata()[0] for it in means] == pytest.approx([0.7, 0.4, 0.3])
    assert span(means[0]) == pytest.approx((0.5, 0.9))
    deviation = np.std([0.2, 0.4], ddof=1)
    assert span(means[2]) == pytest.approx((0.3 - deviation, 0.3 + deviation))
    assert axes.get_xlabel() == "sensitivity (fraction)"


def test_one_seed_has_no_deviation():
    (only,) = containers(draw({"B": [0.4]}, "t", "x"), MEAN)
    assert not only.has_xerr


def test_rows_stand_under_each_other_with_their_seeds():
    axes = draw(VALUES, "title", "x").axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["A\n(3 seeds)", "B\n(1 seed)", "C\n(2 of 3 seeds)"]
    bottom, top = axes.get_ylim()
    assert bottom > top, "the first is on top"


def test_nothing_but_seeds_and_means_is_marked():
    """The paper's values stand in a table, never in a picture of ours."""
    legend = [text.get_text() for text in draw(VALUES, "t", "x").legends[0].get_texts()]
    assert set(legend) == {ONE_SEED, MEAN}


def test_a_variant_without_any_value_has_an_empty_row():
    figure = draw({**VALUES, "A": [None, None]}, "t", "x")
    assert len(containers(figure, MEAN)) == 2
    assert figure.axes[0].get_yticklabels()[0].get_text() == "A\n(0 of 2 seeds)"


def test_no_variant_is_an_error():
    with pytest.raises(ValueError, match="got none"):
        draw({}, "t", "x")
