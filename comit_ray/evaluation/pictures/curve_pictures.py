"""Draws ROC and precision-recall curves (the paper's figure 9), and the spread over seeds (figure 8).

A panel shows several variants, with a thin line for each seed. Below each ROC panel the same curves stand over a
logarithmic axis, because screening works at false positive rates of 1 to 10%, a tenth of the upper panel.
Precision-recall curves are drawn as steps: between two thresholds precision is not linear in recall (Davis and
Goadrich, 2006).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy.typing as npt
import pandas as pd

from comit_ray.evaluation.classification import labelled
from comit_ray.evaluation.pictures import spread_picture
from comit_ray.evaluation.pictures.picture import (
    GREY,
    PROPOSED,
    Look,
    Picture,
    as_written,
    looks,
    new_figure,
    nothing,
    seeds_text,
    span,
    written,
)
from comit_ray.statistics import roc as metrics
from comit_ray.statistics.roc import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Panels = Mapping[str, Mapping[str, Sequence[Curve | None]]]
"""Title of a panel -> variant -> the curve of each seed; None if the seed has no curve."""

PANEL = 5.2  # inches: width of a panel, and height of its axes


def looks_of(panels: Panels) -> dict[str, Look]:
    """The colour, line style and marker of every variant, the same in all panels."""
    return looks(variant for variants in panels.values() for variant in variants)


def draw_lines(
    axes: "Axes",
    variants: Mapping[str, Sequence[Curve | None]],
    look: Mapping[str, Look],
    steps: Literal["default", "steps-post"] = "default",
) -> None:
    """Draws every curve of a panel, labelled with its variant.

    Args:
        axes: where to draw.
        variants: variant -> the curve of each seed; None if the seed has no curve.
        look: variant -> how it is drawn.
        steps: matplotlib's `drawstyle` of the lines.
    """
    for variant, curves in variants.items():
        mine = look[variant]
        front = variant == PROPOSED
        for curve in curves:
            if curve is not None:
                axes.plot(
                    curve.x, curve.y, color=mine.colour, linestyle=mine.line, drawstyle=steps, label=variant,
                    linewidth=1.3 if front else 1.0, zorder=3 if front else 2,
                )  # fmt: skip


def legend(axes: "Axes", variants: Mapping[str, Sequence[Curve | None]], look: Mapping[str, Look]) -> None:
    """Draws the legend of a panel below its axes, where it hides no curve; each entry counts the seeds."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=look[variant].colour, linestyle=look[variant].line) for variant in variants]
    labels = [f"{variant} ({seeds_text(curves)})" for variant, curves in variants.items()]
    axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(0, -0.14), frameon=False, fontsize=9, handlelength=4)


def finish(axes: "Axes") -> None:
    """Gives axes the grid and the frame that all panels share."""
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_precision_recall(panels: Panels) -> "Figure":
    """Draws precision-recall curves, with the panels side by side.

    Args:
        panels: title -> variant -> the curve of each seed. x is the recall, falling as in scikit-learn; y the
            precision.

    Raises:
        ValueError: there is no panel.
    """
    if not panels:
        raise ValueError("expected a panel with a variant for the precision-recall curves, got none")
    look = looks_of(panels)
    most = max(len(variants) for variants in panels.values())
    figure = new_figure(PANEL * len(panels), PANEL + 0.22 * (most + 2))
    for column, (title, variants) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), 1 + column)
        axes.set(title=title, xlabel="recall (sensitivity)", ylabel="precision (positive predictive value)")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        draw_lines(axes, variants, look, steps="steps-post")
        legend(axes, variants, look)
        finish(axes)
    as_written(figure)
    return figure


LOWEST = 0.001
"""Left end of the logarithmic axis."""
DECADES = (0.001, 0.01, 0.1, 1.0)


def draw_roc(panels: Panels) -> "Figure":
    """Draws ROC curves, a column for each panel: over a linear axis above, and over a logarithmic axis below.

    Args:
        panels: title -> variant -> the curve of each seed. x is the false positive rate, y the sensitivity.

    Raises:
        ValueError: there is no panel.
    """
    from matplotlib.ticker import NullFormatter

    if not panels:
        raise ValueError("expected a panel with a variant for the ROC curves, got none")
    look = looks_of(panels)
    most = max(len(variants) for variants in panels.values())
    figure = new_figure(PANEL * len(panels), 2 * PANEL + 0.22 * (most + 2))
    for column, (title, variants) in enumerate(panels.items()):
        linear = figure.add_subplot(2, len(panels), 1 + column)
        linear.set(title=title, xlabel="false positive rate (1 - specificity)", ylabel="sensitivity")
        linear.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        draw_lines(linear, variants, look)
        linear.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", label="_chance", zorder=1)
        low = figure.add_subplot(2, len(panels), 1 + len(panels) + column)
        low.set(xlabel="false positive rate (1 - specificity), logarithmic", ylabel="sensitivity")
        low.set_xscale("log", nonpositive="clip")
        low.set(xlim=(LOWEST, 1.0), ylim=(-0.01, 1.01))
        low.set_xticks(DECADES, [f"{rate:g}" for rate in DECADES])
        low.xaxis.set_minor_formatter(NullFormatter())
        draw_lines(low, variants, look)
        legend(low, variants, look)
        for rate in (0.01, 0.1):
            low.axvline(rate, color=GREY, linewidth=0.8, linestyle=":", zorder=1, label="_operating point")
        for axes in (linear, low):
            finish(axes)
    as_written(figure)
    return figure


Tables = Mapping[str, Mapping[str, Sequence[pd.DataFrame]]]
"""Title of a panel -> variant -> a table for each seed, with the columns p_covid, covid and status of its images."""


def rocs(panels: Tables, output: str) -> Picture:
    """Draws the ROC curves for COVID-19, `figure_09_roc`.

    Args:
        panels: the tables to draw; a seed whose images have one class alone has no curve.
        output: URI of the report.

    Raises:
        ValueError: a score is not finite.
        StorageError: the picture cannot be written.
    """
    caption = (
        "ROC curves for COVID-19: sensitivity against the false positive rate (1 - specificity), a thin line for each "
        "seed (trained network). The lower plot shows the same curves over a logarithmic axis, because screening works "
        "at false positive rates of 1% to 10% (dotted)."
    )
    return _draw("figure_09_roc", caption, panels, metrics.roc, draw_roc, output)


def precision_recalls(panels: Tables, output: str) -> Picture:
    """Draws the precision-recall curves for COVID-19, `figure_09_precision_recall`.

    Args:
        panels: the tables to draw; a seed whose images have one class alone has no curve.
        output: URI of the report.

    Raises:
        ValueError: a score is not finite.
        StorageError: the picture cannot be written.
    """
    caption = (
        "Precision-recall curves for COVID-19, a thin line for each seed (trained network). Precision is the share of "
        "the flagged images that have COVID-19; recall is the sensitivity. Precision depends on how frequent COVID-19 "
        "is among the images: do not compare it between data sets in which this differs."
    )
    return _draw("figure_09_precision_recall", caption, panels, metrics.precision_recall, draw_precision_recall, output)


def seed_spread(
    values: Mapping[str, Sequence[float | None]],
    output: str,
    axis: str = "sensitivity to COVID-19 at 99% specificity (fraction)",
) -> Picture:
    """Draws the spread of a metric over seeds, `figure_08_seed_spread`.

    Args:
        values: variant -> the metric of each seed, a fraction; None if it is undefined.
        output: URI of the report.
        axis: name of the metric, with its unit.

    Raises:
        StorageError: the picture cannot be written.
    """
    name = "figure_08_seed_spread"
    caption = (
        f"Spread over seeds: {axis}. Each dot is a seed. The bar is their mean with one standard deviation each way "
        "(n - 1; one seed has none). The spread comes from the initial weights and the order of training alone, on one "
        "and the same split: an interval over patients is wider."
    )
    known = {variant: list(mine) for variant, mine in values.items() if any(value is not None for value in mine)}
    if not known:
        return nothing(name, caption, "no seed of any variant has a value")
    absent = [variant for variant in values if variant not in known]
    if absent:
        caption += f" Not shown, because they have no value: {', '.join(absent)}."
    return written(output, name, caption, spread_picture.draw(known, "Spread over seeds", axis))


def _draw(
    name: str,
    caption: str,
    panels: Tables,
    curve_of: Callable[[npt.ArrayLike, npt.ArrayLike], metrics.Curve | None],
    draw: Callable[[Panels], "Figure"],
    output: str,
) -> Picture:
    curves: dict[str, dict[str, list[metrics.Curve | None]]] = {}
    negatives: list[int] = []
    positives: list[int] = []
    without: list[str] = []
    for title, variants in panels.items():
        curves[title] = {}
        for variant, seeds in variants.items():
            scored = [_scored(images) for images in seeds]
            found = [curve_of(rows["p_covid"].to_numpy(), rows["covid"].to_numpy()) for rows in scored]
            if all(curve is None for curve in found):
                without.append(variant)
                continue
            curves[title][variant] = found
            positives += [int((rows["covid"] == 1).sum()) for rows in scored]
            negatives += [int((rows["covid"] == 0).sum()) for rows in scored]
    curves = {title: variants for title, variants in curves.items() if variants}
    if not curves:
        return nothing(name, caption, "no variant has scored images both with and without COVID-19")
    caption += f" The curves are taken over {span(positives)} images with COVID-19 and {span(negatives)} without."
    shown = {variant for variants in curves.values() for variant in variants}
    absent = [variant for variant in dict.fromkeys(without) if variant not in shown]
    if absent:
        caption += f" Not shown, because they have no scores or images of one class alone: {', '.join(absent)}."
    return written(output, name, caption, draw(curves))


def _scored(images: pd.DataFrame) -> pd.DataFrame:
    """The images that have a score and a label for COVID-19."""
    return images[labelled(images, "covid")]
