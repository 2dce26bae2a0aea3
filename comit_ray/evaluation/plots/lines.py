"""Curves of several variants in panels, a thin line a seed: what ROC and precision-recall plots share."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from comit_ray.evaluation.plots.style import GREY, OTHER_DATA, PROPOSED, Look, looks, seeds_text
from comit_ray.statistics.roc import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
