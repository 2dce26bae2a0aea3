"""Pictures of scores: ROC and precision-recall curves (figure 9 of the paper), and the spread over seeds (figure 8)."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy.typing as npt
import pandas as pd

from comit_ray.evaluation.classification import labelled
from comit_ray.evaluation.picture import Picture, nothing, span, written
from comit_ray.evaluation.pictures import spread_picture
from comit_ray.evaluation.plots import lines, pr, roc
from comit_ray.evaluation.plots.lines import Points
from comit_ray.statistics import roc as metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    return _draw("figure_09_roc", caption, panels, metrics.roc, roc.draw, paper or {}, output)


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
    return _draw("figure_09_precision_recall", caption, panels, metrics.precision_recall, pr.draw, paper or {}, output)


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
    draw: Callable[[lines.Panels, Points], "Figure"],
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
