"""Reliability of scores: of each bin the share of positives over its mean score; and how many images have which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comit_ray.evaluation.plots.style import BLACK, COLOURS, GREY, as_written, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Bin:
    """Images of similar scores.

    Args:
        score: their mean score.
        share: of them that are positive.
        low: lower end of its 95% interval; None where there is none.
        high: upper end.
    """

    score: float
    share: float
    low: float | None
    high: float | None


def draw(bins: Mapping[str, Sequence[Bin]], scores: Mapping[str, Sequence[float]]) -> "Figure":
    """A panel a score, the number of images by score below it.

    Args:
        bins: name of the score -> its bins.
        scores: the same names -> the score of every image.

    Raises:
        ValueError: there is no score.
    """
    if not bins:
        raise ValueError("a reliability diagram needs a score, got none")
    figure = new_figure(4.6 * len(bins), 6.0)
    grid = figure.add_gridspec(2, len(bins), height_ratios=(3, 1))
    for column, (name, mine) in enumerate(bins.items()):
        axes = figure.add_subplot(grid[0, column])
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        for one in mine:
            if one.low is not None and one.high is not None:
                axes.plot([one.score, one.score], [one.low, one.high], color=COLOURS[0], linewidth=1.2)
        axes.plot(
            [one.score for one in mine], [one.share for one in mine], color=BLACK, marker="o", markersize=5, linewidth=1
        )
        axes.set(title=name, ylabel="share labelled so (fraction)", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        below = figure.add_subplot(grid[1, column], sharex=axes)
        below.hist(scores[name], bins=20, range=(0, 1), color=COLOURS[5])
        below.set(xlabel="score", ylabel="images", yscale="log")
        for one_axes in (axes, below):
            one_axes.grid(alpha=0.3)
            one_axes.set_axisbelow(True)
            one_axes.spines[["top", "right"]].set_visible(False)
    as_written(figure)
    return figure
