"""Draws the spread of a metric over seeds (the paper's figure 8): dots, mean, one standard deviation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from comit_ray.evaluation.pictures.picture import BLACK, COLOURS, OTHER_DATA, as_written, new_figure, seeds_text
from comit_ray.statistics.intervals import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ROW = 0.5  # inches a variant
LIFT = 0.22  # of a row: seeds lie as far above their mean, the paper's value as far below it
SEED, PAPER = COLOURS[0], COLOURS[4]
ONE_SEED, MEAN = "one seed", "mean, and 1 standard deviation each way"


def draw(
    values: Mapping[str, Sequence[float | None]],
    paper: Mapping[str, tuple[float | None, float | None]],
    title: str,
    axis: str,
) -> "Figure":
    """A row a variant, the first on top, with the number of its seeds.

    Args:
        values: variant -> the figure of each seed, a fraction; None where it is undefined.
        paper: variant -> the paper's value and standard deviation, fractions; None where it prints none.
        title: of the plot.
        axis: what the figure is, with its unit.

    Raises:
        ValueError: there is no variant.
    """
    if not values:
        raise ValueError("the spread over seeds needs a variant, got none")
    figure = new_figure(8.0, 1.6 + ROW * len(values))
    axes = figure.add_subplot()
    for row, (variant, mine) in enumerate(values.items()):
        _draw_seeds(axes, row, mine)
        value, deviation = paper.get(variant, (None, None))
        if value is not None:
            axes.errorbar(
                value, row + LIFT, xerr=deviation, color=PAPER, marker="D", markerfacecolor="none", capsize=3,
                linestyle="none", elinewidth=1.2, markersize=6, label=OTHER_DATA,
            )  # fmt: skip
    axes.set(title=title, xlabel=axis, xlim=(-0.02, 1.02), ylim=(len(values) - 0.4, -0.6))
    axes.set_yticks(range(len(values)), [f"{name}\n({seeds_text(mine)})" for name, mine in values.items()], fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    by_label = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # one entry a kind of marker
    if by_label:
        figure.legend(
            by_label.values(),
            by_label.keys(),
            loc="outside upper center",
            ncols=len(by_label),
            frameon=False,
            fontsize=9,
        )
    as_written(figure)
    return figure


def _draw_seeds(axes: "Axes", row: int, values: Sequence[float | None]) -> None:
    """A dot a seed; below them the mean, with a bar where there are two seeds and so a deviation."""
    known = [value for value in values if value is not None]
    axes.plot(
        known, [row - LIFT] * len(known), linestyle="none", marker="o", markersize=6, color=SEED, alpha=0.6,
        markeredgewidth=0, label=ONE_SEED if known else "_none",
    )  # fmt: skip
    over = spread(values)
    if over.mean is not None:
        axes.errorbar(
            over.mean, row, xerr=over.deviation, color=BLACK, marker="|", markersize=11, capsize=4, linestyle="none",
            elinewidth=1.5, label=MEAN,
        )  # fmt: skip
