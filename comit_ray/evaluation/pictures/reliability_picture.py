"""Draws reliability diagrams: the share of positives in each bin of scores, and the distribution of scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from comit_ray.evaluation.pictures.curve_pictures import PANEL, finish
from comit_ray.evaluation.pictures.picture import BLACK, COLOURS, GREY, as_written, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


HISTOGRAM, HISTOGRAM_BINS = 2.0, 20  # inches; bars from 0 to 1
POSITIVE, NEGATIVE = COLOURS[4], COLOURS[5]
BIN, PERFECT = "bin with its 95% interval", "perfectly calibrated"


@dataclass(frozen=True)
class Reliability:
    """The data of one panel with B bins and N images.

    Args:
        means: (B,) mean score of each bin, 0 to 1.
        observed: (B,) share of positives in each bin, 0 to 1.
        lows: (B,) lower ends of the intervals of these shares; None without an interval.
        highs: (B,) upper ends; None without an interval.
        scores_N: (N,) scores from 0 to 1.
        positive_N: (N,) whether each image is positive.
    """

    means: Sequence[float]
    observed: Sequence[float]
    lows: Sequence[float | None]
    highs: Sequence[float | None]
    scores_N: npt.NDArray[np.float64]
    positive_N: npt.NDArray[np.bool_]


def draw(panels: Mapping[str, Reliability]) -> "Figure":
    """Draws a column for each panel: the diagram above, and below it the number of images by score.

    Positives are drawn over negatives. The axis of the number of images is logarithmic, because a screen has about a
    hundred negatives for each positive.

    Args:
        panels: title -> the data of the panel.

    Raises:
        ValueError: there is no panel.
    """
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    if not panels:
        raise ValueError("expected a panel for the reliability diagram, got none")
    figure = new_figure(PANEL * len(panels), PANEL + HISTOGRAM + 0.4)
    grid = figure.add_gridspec(2, len(panels), height_ratios=[PANEL, HISTOGRAM])
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    for column, (title, mine) in enumerate(panels.items()):
        above = figure.add_subplot(grid[0, column])
        above.set(title=title, xlabel="mean score of the bin", ylabel="share of positives in the bin (fraction)")
        above.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        above.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", label=PERFECT, zorder=1)
        for mean, low, high in zip(mine.means, mine.lows, mine.highs, strict=True):
            if low is not None and high is not None:
                above.plot([mean, mean], [low, high], color=BLACK, linewidth=1.0, label="_interval", zorder=2)
        above.plot(mine.means, mine.observed, color=BLACK, linewidth=0.8, marker="o", markersize=5, label=BIN, zorder=3)
        above.legend(loc="upper left", frameon=False, fontsize=9)
        below = figure.add_subplot(grid[1, column])
        below.set(xlabel="score", ylabel="number of images, logarithmic", xlim=(-0.01, 1.01))
        for label, chosen_N, colour, hatch in (
            ("negative", ~mine.positive_N, NEGATIVE, ""),
            ("positive", mine.positive_N, POSITIVE, "////"),
        ):
            below.hist(
                mine.scores_N[chosen_N], bins=edges.tolist(), histtype="step", color=colour, hatch=hatch, linewidth=1.4,
                label=f"{label} ({int(chosen_N.sum()):,})",
            )  # fmt: skip
        below.set_yscale("log", nonpositive="clip")
        below.set_ylim(bottom=0.8)
        below.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        below.yaxis.set_minor_formatter(NullFormatter())
        below.legend(loc="upper center", frameon=False, fontsize=9)
        for axes in (above, below):
            finish(axes)
    as_written(figure)
    return figure
