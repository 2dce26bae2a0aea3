"""Draws the spread of a metric over seeds (the paper's figure 8): a dot for each seed, mean, standard deviation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from comit_ray.evaluation.pictures.picture import BLACK, COLOURS, as_written, new_figure, seeds_text
from comit_ray.statistics.intervals import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ROW = 0.5  # inches for each variant
LIFT = 0.22  # fraction of a row: how far the dots of the seeds lie above their mean
SEED = COLOURS[0]
ONE_SEED, MEAN = "one seed", "mean, and 1 standard deviation each way"


def draw(
    values: Mapping[str, Sequence[float | None]],
    title: str,
    axis: str,
) -> "Figure":
    """Draws a row for each variant, the first on top, labelled with the number of its seeds.

    Args:
        values: variant -> the metric of each seed, a fraction; None if it is undefined.
        title: title of the plot.
        axis: name of the metric, with its unit.

    Raises:
        ValueError: there is no variant.
    """
    if not values:
        raise ValueError("expected a variant for the spread over seeds, got none")
    figure = new_figure(8.0, 1.6 + ROW * len(values))
    axes = figure.add_subplot()
    for row, mine in enumerate(values.values()):
        _draw_seeds(axes, row, mine)
    axes.set(title=title, xlabel=axis, xlim=(-0.02, 1.02), ylim=(len(values) - 0.4, -0.6))
    axes.set_yticks(range(len(values)), [f"{name}\n({seeds_text(mine)})" for name, mine in values.items()], fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    by_label = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # one entry for each kind of marker
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
    """Draws a dot for each seed, and below them the mean, with a bar if two seeds or more give a deviation."""
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
