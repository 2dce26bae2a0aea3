"""ROC curves of several variants (figure 9 of the paper), a thin line a seed.

Below every panel the same curves over a logarithmic axis: screening works at false positive rates of 1 to 10%, which
are a tenth of the upper panel.
"""

from typing import TYPE_CHECKING

from comit_ray.evaluation.plots.lines import PANEL, Panels, Points, draw_lines, finish, legend, looks_of
from comit_ray.evaluation.plots.style import GREY, as_written, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOWEST = 0.001
"""Left end of the logarithmic axis."""
DECADES = (0.001, 0.01, 0.1, 1.0)


def draw(panels: Panels, paper: Points) -> "Figure":
    """One column a panel: the curves over a linear axis above, over a logarithmic one below.

    Args:
        panels: title -> variant -> a curve a seed (x the false positive rate, y the sensitivity).
        paper: variant -> the paper's points (false positive rate, sensitivity), drawn as hollow markers.

    Raises:
        ValueError: there is no panel.
    """
    from matplotlib.ticker import NullFormatter

    if not panels:
        raise ValueError("ROC curves need a panel with a variant, got none")
    look = looks_of(panels)
    most = max(len(variants) for variants in panels.values())
    figure = new_figure(PANEL * len(panels), 2 * PANEL + 0.22 * (most + 2))
    for column, (title, variants) in enumerate(panels.items()):
        linear = figure.add_subplot(2, len(panels), 1 + column)
        linear.set(title=title, xlabel="false positive rate (1 - specificity)", ylabel="sensitivity")
        linear.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        draw_lines(linear, variants, paper, look)
        linear.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", label="_chance", zorder=1)
        low = figure.add_subplot(2, len(panels), 1 + len(panels) + column)
        low.set(xlabel="false positive rate (1 - specificity), logarithmic", ylabel="sensitivity")
        low.set_xscale("log", nonpositive="clip")
        low.set(xlim=(LOWEST, 1.0), ylim=(-0.01, 1.01))
        low.set_xticks(DECADES, [f"{rate:g}" for rate in DECADES])
        low.xaxis.set_minor_formatter(NullFormatter())
        draw_lines(low, variants, paper, look)
        legend(low, variants, paper, look)
        for rate in (0.01, 0.1):
            low.axvline(rate, color=GREY, linewidth=0.8, linestyle=":", zorder=1, label="_operating point")
        for axes in (linear, low):
            finish(axes)
    as_written(figure)
    return figure
