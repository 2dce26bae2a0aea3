"""Draws ROC and precision-recall curves (the paper's figure 9), and the spread over seeds (figure 8).

Curves of several variants in panels, a thin line a seed: what ROC and precision-recall plots share.

Precision-recall curves of several variants, a thin line a seed.

Between two thresholds precision is not linear in recall (Davis and Goadrich, 2006): curves are steps.

ROC curves of several variants (figure 9 of the paper), a thin line a seed.

Below every panel the same curves over a logarithmic axis: screening works at false positive rates of 1 to 10%, which
are a tenth of the upper panel.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy.typing as npt
import pandas as pd

from comit_ray.evaluation.classification import labelled
from comit_ray.evaluation.pictures import spread_picture
from comit_ray.evaluation.pictures.picture import (
    GREY,
    OTHER_DATA,
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
"""Title of a panel -> variant -> a curve a seed; None where a seed has none."""
Points = Mapping[str, Sequence[tuple[float, float]]]
"""Variant -> the paper's operating points (x, y)."""

PANEL = 5.2  # inches: width of a panel, and height of its axes


def looks_of(panels: Panels) -> dict[str, Look]:
    """A look for every variant of any panel, the same in all."""
    return looks(variant for variants in panels.values() for variant in variants)


def draw_lines(
    axes: "Axes",
    variants: Mapping[str, Sequence[Curve | None]],
    paper: Points,
    look: Mapping[str, Look],
    steps: Literal["default", "steps-post"] = "default",
) -> None:
    """Every curve of a panel, labelled with its variant, and the paper's points as hollow markers."""
    for variant, curves in variants.items():
        mine = look[variant]
        front = variant == PROPOSED
        for curve in curves:
            if curve is not None:
                axes.plot(
                    curve.x, curve.y, color=mine.colour, linestyle=mine.line, drawstyle=steps, label=variant,
                    linewidth=1.3 if front else 1.0, zorder=3 if front else 2,
                )  # fmt: skip
        points = paper.get(variant, ())
        if points:
            axes.plot(
                [x for x, _ in points], [y for _, y in points], linestyle="none", marker=mine.marker, markersize=8,
                markerfacecolor="none", markeredgecolor=mine.colour, markeredgewidth=1.3, zorder=4, clip_on=False,
                label=f"{variant}: {OTHER_DATA}",
            )  # fmt: skip


def legend(
    axes: "Axes", variants: Mapping[str, Sequence[Curve | None]], paper: Points, look: Mapping[str, Look]
) -> None:
    """The legend of a panel below its axes, where it hides no curve; a marker is that of the paper's points."""
    from matplotlib.lines import Line2D

    handles, labels = [], []
    for variant, curves in variants.items():
        mine = look[variant]
        marker = mine.marker if paper.get(variant) else "None"
        handles.append(
            Line2D([], [], color=mine.colour, linestyle=mine.line, marker=marker, markerfacecolor="none", markersize=7)
        )
        labels.append(f"{variant} ({seeds_text(curves)})")
    if any(paper.get(variant) for variant in variants):
        handles.append(Line2D([], [], color=GREY, linestyle="none", marker="o", markerfacecolor="none", markersize=7))
        labels.append(f"hollow marker: {OTHER_DATA}")
    axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(0, -0.14), frameon=False, fontsize=9, handlelength=4)


def finish(axes: "Axes") -> None:
    """What all panels share."""
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_precision_recall(panels: Panels, paper: Points) -> "Figure":
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


LOWEST = 0.001
"""Left end of the logarithmic axis."""
DECADES = (0.001, 0.01, 0.1, 1.0)


def draw_roc(panels: Panels, paper: Points) -> "Figure":
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


Tables = Mapping[str, Mapping[str, Sequence[pd.DataFrame]]]
"""Title of a panel -> variant -> images with p_covid, covid and status, one table a seed."""
MARKED = "Hollow markers are the paper's operating points, measured on other data."


def rocs(panels: Tables, output: str, paper: Points | None = None) -> Picture:
    """The ROC curves for COVID-19, `figure_09_roc`.

    Args:
        panels: what to show; a seed whose images are of one class has no curve.
        output: URI of the report.
        paper: variant -> the paper's points (false positive rate, sensitivity).

    Raises:
        ValueError: scores that are not finite.
        StorageError: it cannot be written.
    """
    caption = (
        "ROC curves for COVID-19, a thin line a seed; below, the same over a logarithmic axis, for screening works at "
        "false positive rates of 1% to 10% (dotted)."
    )
    return _draw("figure_09_roc", caption, panels, metrics.roc, draw_roc, paper or {}, output)


def precision_recalls(panels: Tables, output: str, paper: Points | None = None) -> Picture:
    """The precision-recall curves for COVID-19, `figure_09_precision_recall`; arguments and errors as of `rocs`.

    Args:
        panels: what to show.
        output: URI of the report.
        paper: variant -> the paper's points (recall, precision).
    """
    caption = (
        "Precision-recall curves for COVID-19, a thin line a seed. Precision depends on how frequent COVID-19 is among "
        "the images: it cannot be compared between data sets of another share."
    )
    return _draw(
        "figure_09_precision_recall",
        caption,
        panels,
        metrics.precision_recall,
        draw_precision_recall,
        paper or {},
        output,
    )


def seed_spread(
    values: Mapping[str, Sequence[float | None]],
    paper: Mapping[str, tuple[float | None, float | None]],
    output: str,
    axis: str = "sensitivity to COVID-19 at 99% specificity (fraction)",
) -> Picture:
    """The spread of a figure over seeds, `figure_08_seed_spread`.

    Args:
        values: variant -> the figure of each seed; None where it is undefined.
        paper: variant -> the paper's value and standard deviation; None where it prints none.
        output: URI of the report.
        axis: what the figure is, with its unit.

    Raises:
        StorageError: it cannot be written.
    """
    name = "figure_08_seed_spread"
    caption = (
        f"Spread over seeds: {axis}. A dot a seed, the bar their mean and one standard deviation each way (n - 1; none "
        "for one seed). The spread is that of initial weights and order of training alone, on one and the same split: "
        "an interval over patients is wider."
    )
    known = {variant: list(mine) for variant, mine in values.items() if any(value is not None for value in mine)}
    if not known:
        return nothing(name, caption, "no seed of any variant has a value")
    theirs = [paper[variant] for variant in known if variant in paper and paper[variant][0] is not None]
    if theirs:
        caption += " Hollow diamonds are the paper's values, measured on other data"
        caption += "." if any(deviation is not None for _, deviation in theirs) else ", without standard deviations."
    absent = [variant for variant in values if variant not in known]
    if absent:
        caption += f" Without a value, and not shown: {', '.join(absent)}."
    return written(output, name, caption, spread_picture.draw(known, paper, "Spread over seeds", axis))


def _draw(
    name: str,
    caption: str,
    panels: Tables,
    curve_of: Callable[[npt.ArrayLike, npt.ArrayLike], metrics.Curve | None],
    draw: Callable[[Panels, Points], "Figure"],
    paper: Points,
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
        return nothing(name, caption, "no variant has scored images with COVID-19 and others without")
    caption += f" Taken over {span(positives)} images with COVID-19 and {span(negatives)} without."
    shown = {variant for variants in curves.values() for variant in variants}
    if any(paper.get(variant) for variant in shown):
        caption += f" {MARKED}"
    absent = [variant for variant in dict.fromkeys(without) if variant not in shown]
    if absent:
        caption += f" Without a curve (no scores, or images of one class), and not shown: {', '.join(absent)}."
    return written(output, name, caption, draw(curves, paper))


def _scored(images: pd.DataFrame) -> pd.DataFrame:
    """The images with a score and a label."""
    return images[labelled(images, "covid")]
