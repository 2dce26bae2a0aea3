"""Precision-recall curves of several variants, a thin line a seed.

Between two thresholds precision is not linear in recall (Davis and Goadrich, 2006): curves are steps.
"""

from typing import TYPE_CHECKING

from comit_ray.evaluation.plots.lines import PANEL, Panels, Points, draw_lines, finish, legend, looks_of
from comit_ray.evaluation.plots.style import as_written, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(panels: Panels, paper: Points) -> "Figure":
    """One panel beside the other.

    Args:
        panels: title -> variant -> a curve a seed (x the recall, falling as of scikit-learn, y the precision).
        paper: variant -> the paper's points (recall, precision), drawn as hollow markers.

    Raises:
        ValueError: there is no panel.
    """
    if not panels:
        raise ValueError("precision-recall curves need a panel with a variant, got none")
    look = looks_of(panels)
    most = max(len(variants) for variants in panels.values())
    figure = new_figure(PANEL * len(panels), PANEL + 0.22 * (most + 2))
    for column, (title, variants) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), 1 + column)
        axes.set(title=title, xlabel="recall (sensitivity)", ylabel="precision (positive predictive value)")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        draw_lines(axes, variants, paper, look, steps="steps-post")
        legend(axes, variants, paper, look)
        finish(axes)
    as_written(figure)
    return figure
