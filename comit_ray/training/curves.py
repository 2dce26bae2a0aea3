"""Draws learning curves as one PNG: losses, validation metrics, and the time of each part of an epoch.

It uses matplotlib without pyplot, which would keep every figure and choose a window system. Matplotlib is imported only
when something is drawn, because the import takes a second.
"""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from comit_ray.tables.vocabulary import ALL_TASKS, SPECIFICITY, counted
from comit_ray.training.early_stopping import best_epoch
from comit_ray.training.validation import TIMED, EpochMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes


WIDTH, HEIGHT, DPI = 7.0, 3.4, 130  # size of a panel in inches with its legend; pixels per inch
COLUMNS = 2
MARKED = 40  # with at most this many epochs, every value has a dot
# Colours of Okabe and Ito, which colour-blind readers can distinguish
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY = "#999999"
TASK_COLOURS = dict(zip(ALL_TASKS, (BLUE, ORANGE, GREEN, PURPLE), strict=True))
SCORES = {
    "val_auroc_covid": ("AUROC, COVID-19", RED, "-"),
    f"val_sensitivity_at_specificity_{SPECIFICITY:.2f}_covid": (
        f"sensitivity at {SPECIFICITY:.0%}\nspecificity, COVID-19", RED, ":"
    ),
    "val_auroc_unhealthy": ("AUROC, unhealthy", BLUE, "-"),
    f"val_sensitivity_at_specificity_{SPECIFICITY:.2f}_unhealthy": (
        f"sensitivity at {SPECIFICITY:.0%}\nspecificity, unhealthy", BLUE, ":"
    ),
    "val_lung_iou": ("IoU, lungs", GREEN, "-"),
    "val_disease_iou": ("IoU, disease", ORANGE, "-"),
}  # fmt: skip
TIME_COLOURS = dict(zip(TIMED, (ORANGE, SKY, BLUE, GREEN), strict=True))


def draw(history: Sequence[EpochMetrics], title: str) -> bytes:
    """Draws the metrics of all epochs as a PNG, 1820 pixels wide; panels without any value are left out.

    Args:
        history: metrics by epoch; `epoch` counts from 1. A value that is None, absent or not finite leaves a gap.
        title: text above the panels, shown literally.

    Raises:
        ValueError: there is no epoch, or no metric to draw.
    """
    from matplotlib.figure import Figure

    panels = [
        (panel, names)
        for panel, names in (
            (_total_loss, ["train_loss", "val_loss"]),
            (_task_losses, [f"{split}_loss_{task}" for split in ("train", "val") for task in ALL_TASKS]),
            (_scores, list(SCORES)),
            (_time, [f"seconds_{part}" for part in TIMED]),
            (_speed, ["images_per_second"]),
            (_learning_rate, ["learning_rate"]),
        )
        if any(not math.isnan(value) for name in names for value in _values(history, name))
    ]
    if not panels:
        raise ValueError(f"expected an epoch with a loss, a score or a time, got {counted(len(history), 'epoch')}")
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(WIDTH * COLUMNS, HEIGHT * rows + 0.5), dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle(title, fontsize=14, fontweight="bold", parse_math=False)
    for place, (panel, _) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        panel(axes, history)
        _finish(axes, history)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _total_loss(axes: "Axes", history: Sequence[EpochMetrics]) -> None:
    axes.set(title="Loss", ylabel="loss (all tasks, weighted)")
    _line(axes, history, "train_loss", "training", BLUE, "--")
    _line(axes, history, "val_loss", "validation", RED)
    best = best_epoch([{"val_loss": None if math.isnan(loss) else loss} for loss in _values(history, "val_loss")])
    if best is not None:
        epoch, loss = _epochs(history)[best], _values(history, "val_loss")[best]
        label = f"best: epoch {epoch:g}\n({loss:.4g})"
        axes.plot([epoch], [loss], marker="*", markersize=15, color=BLACK, linestyle="none", label=label)


def _task_losses(axes: "Axes", history: Sequence[EpochMetrics]) -> None:
    axes.set(title="Loss of each task", ylabel="loss (mean of its images)")
    for task, colour in TASK_COLOURS.items():
        _line(axes, history, f"train_loss_{task}", "_", colour, "--")
        _line(axes, history, f"val_loss_{task}", "_", colour)
        if any(not math.isnan(value) for s in ("train", "val") for value in _values(history, f"{s}_loss_{task}")):
            axes.plot([], [], color=colour, linewidth=4, label=task)
    axes.plot([], [], color=GREY, linestyle="--", marker="o", markersize=4, markerfacecolor="white", label="training")
    axes.plot([], [], color=GREY, marker="o", markersize=4, label="validation")


def _scores(axes: "Axes", history: Sequence[EpochMetrics]) -> None:
    axes.set(title="Validation scores", ylabel="score (0 to 1)", ylim=(-0.03, 1.03))
    for name, (label, colour, style) in SCORES.items():
        _line(axes, history, name, label, colour, style)


def _time(axes: "Axes", history: Sequence[EpochMetrics]) -> None:
    """Draws stacked seconds: the parts of a training pass, its remainder, and the validation."""
    axes.set(title="Where the time goes", ylabel="seconds per epoch (mean of workers)")
    epochs = _epochs(history)
    parts = {part: _or_zero(_values(history, f"seconds_{part}")) for part in TIMED}
    labels = {"waiting": "waiting for data"}
    whole = _values(history, "seconds_training")
    accounted = [sum(values) for values in zip(*parts.values(), strict=True)]
    rest = [max(0.0, total - known) for total, known in zip(_or_zero(whole), accounted, strict=True)]
    stack = [(labels.get(part, part), values, TIME_COLOURS[part]) for part, values in parts.items()]
    stack += [
        ("rest of training", rest, GREY),
        ("validation", _or_zero(_values(history, "seconds_validation")), PURPLE),
    ]
    bottom = [0.0] * len(epochs)
    for label, values, colour in stack:
        if any(values):
            axes.bar(
                epochs, values, bottom=bottom, width=0.9 if len(epochs) <= MARKED else 1, color=colour, label=label
            )
        bottom = [low + value for low, value in zip(bottom, values, strict=True)]


def _speed(axes: "Axes", history: Sequence[EpochMetrics]) -> None:
    axes.set(title="Speed of training", ylabel="images per second (all workers)")
    _line(axes, history, "images_per_second", "_", BLUE)
    axes.set_ylim(0, 1.1 * max(_or_zero(_values(history, "images_per_second"))) or 1)


def _learning_rate(axes: "Axes", history: Sequence[EpochMetrics]) -> None:
    axes.set(title="Learning rate", ylabel="learning rate (last step of the epoch)")
    _line(axes, history, "learning_rate", "_", BLUE)
    axes.set_ylim(0, 1.1 * max(_or_zero(_values(history, "learning_rate"))) or 1)


def _line(axes: "Axes", history: Sequence[EpochMetrics], name: str, label: str, colour: str, style: str = "-") -> None:
    values = _values(history, name)
    if all(math.isnan(value) for value in values):
        return
    padded = [math.nan, *values, math.nan]
    alone = [i for i in range(len(values)) if math.isnan(padded[i]) and math.isnan(padded[i + 2])]
    dots = range(len(values)) if len(values) <= MARKED else alone  # a value between two gaps has no line
    marker, face = "^" if style == ":" else "o", "white" if style == "--" else colour
    axes.plot(
        _epochs(history), values, color=colour, linestyle=style, linewidth=1.8, label=label,
        marker=marker, markersize=4, markerfacecolor=face, markevery=list(dots),
    )  # fmt: skip


def _finish(axes: "Axes", history: Sequence[EpochMetrics]) -> None:
    """Applies what all panels share: whole epochs on the x axis, and a legend beside the axes."""
    from matplotlib.ticker import MaxNLocator

    epochs = _epochs(history)
    axes.set_xlabel("epoch")
    axes.set_xlim(min(epochs) - 0.6, max(epochs) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9)


def _epochs(history: Sequence[EpochMetrics]) -> list[float]:
    return _values(history, "epoch")


def _values(history: Sequence[EpochMetrics], name: str) -> list[float]:
    """Returns the metric of each epoch; NaN, drawn as a gap, if it has no finite value."""
    values = [figures.get(name) for figures in history]
    return [value if value is not None and math.isfinite(value) else math.nan for value in values]


def _or_zero(values: list[float]) -> list[float]:
    return [0.0 if math.isnan(value) else value for value in values]
