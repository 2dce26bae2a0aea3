"""Draws a two-dimensional map of a screen's embeddings (the paper's figure 11).

Embeddings in two dimensions by t-SNE (van der Maaten and Hinton, 2008; figure 11 of the paper).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.errors import NotFoundError, Status, StorageError
from comit_ray.evaluation.pictures import random_sheet
from comit_ray.evaluation.pictures.picture import (
    COLOURS,
    GREY,
    MARKERS,
    Picture,
    as_written,
    drawn_of,
    new_figure,
    nothing,
    written,
)
from comit_ray.evaluation.pictures.radiographs import Row, is_null
from comit_ray.screening.screen_tables import EMBEDDINGS
from comit_ray.storage import storage
from comit_ray.tables.parquet import read_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PERPLEXITY = 30.0
"""Neighbours that count, of many images; at most a third of the others where there are few."""
FEWEST = 5
"""Images below which there is no neighbourhood to show."""

TRUE_CLASSES = {"healthy": COLOURS[0], "other disease": COLOURS[1], "COVID": COLOURS[4], "not known": GREY}
PREDICTED_CLASSES = {
    "not flagged": COLOURS[0],
    "flagged unhealthy, not COVID": COLOURS[1],
    "flagged COVID": COLOURS[4],
    "no flag can be given": GREY,
}
FURTHER = "further data sets"


def project(x_NC: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """(N, 2) places by t-SNE, from the first two principal components; the same embeddings and seed give the same.

    Args:
        x_NC: (N, C) finite embeddings.
        seed: of the descent.

    Raises:
        ValueError: fewer than `FEWEST` images, fewer than two values each, or all alike.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    if x_NC.ndim != 2 or x_NC.shape[0] < FEWEST or x_NC.shape[1] < 2:
        raise ValueError(f"t-SNE needs at least {FEWEST} images with two values each, got an array of {x_NC.shape}")
    if not np.isfinite(x_NC).all():
        raise ValueError("t-SNE needs finite embeddings")
    if np.ptp(x_NC, axis=0).max() == 0:
        raise ValueError("all embeddings are equal: there is nothing to lay out")
    perplexity = min(PERPLEXITY, (len(x_NC) - 1) / 3)
    tsne = TSNE(n_components=2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed, n_jobs=1)
    with threadpool_limits(1):  # sums of several threads differ in their last digit, and the descent magnifies it
        return np.asarray(tsne.fit_transform(np.asarray(x_NC, np.float32)), np.float32)


def draw_embedding_map(
    points_N2: npt.NDArray[np.float32],
    truth: Sequence[str],
    predicted: Sequence[str],
    datasets: Sequence[str] | None = None,
) -> "Figure":
    """Two panels of the same places: coloured by label, and by the model's flags; a marker's shape is its data set.

    Args:
        points_N2: of `project`.
        truth: (N,) keys of `TRUE_CLASSES`.
        predicted: (N,) keys of `PREDICTED_CLASSES`.
        datasets: (N,) where each image is from; None: not shown.

    Raises:
        ValueError: an unknown class, or unequal lengths.
    """
    count = len(points_N2)
    sources = ["" for _ in range(count)] if datasets is None else list(datasets)
    if not len(truth) == len(predicted) == len(sources) == count:
        raise ValueError(
            f"one label, flag and data set a point are needed, got {len(truth)}, {len(predicted)} and {len(sources)} "
            f"for {count} points"
        )
    figure = new_figure(11.0, 6.4)
    by_source = _markers(sources)
    panels = (("(a) labels", truth, TRUE_CLASSES), ("(b) flags of the model", predicted, PREDICTED_CLASSES))
    for column, (title, classes, colours) in enumerate(panels):
        unknown = sorted(set(classes) - colours.keys())
        if unknown:
            raise ValueError(f"classes must be of {', '.join(colours)}; got {', '.join(unknown)}")
        axes = figure.add_subplot(1, 2, 1 + column)
        _scatter(axes, points_N2, classes, colours, [by_source[source] for source in sources])
        axes.set(title=title, xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)", xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")
        _legend(axes, classes, colours, by_source if datasets is not None else {})
    as_written(figure)
    return figure


def _markers(sources: Sequence[str]) -> dict[str, str]:
    """A shape for every data set, the most frequent first; the rarest share the last shape."""
    names, counts = np.unique(np.array(sources, dtype=object), return_counts=True)
    order = sorted(zip(-counts, names, strict=True))
    return {str(name): MARKERS[min(place, len(MARKERS) - 1)] for place, (_, name) in enumerate(order)}


def _scatter(
    axes: "Axes",
    points_N2: npt.NDArray[np.float32],
    classes: Sequence[str],
    colours: dict[str, str],
    markers: Sequence[str],
) -> None:
    """A collection a class and shape; what is not known, which is last in `colours`, lies below all others."""
    kinds, shapes = np.array(classes, dtype=object), np.array(markers, dtype=object)
    in_order = [*colours.items()]
    for name, colour in in_order[-1:] + in_order[:-1]:
        for shape in dict.fromkeys(markers):
            mine = (kinds == name) & (shapes == shape)
            if mine.any():
                axes.scatter(
                    points_N2[mine, 0], points_N2[mine, 1], c=colour, marker=shape, s=26, alpha=0.75,
                    edgecolors="white", linewidths=0.4, label=name,
                )  # fmt: skip


def _legend(axes: "Axes", classes: Sequence[str], colours: dict[str, str], by_source: dict[str, str]) -> None:
    """Below the axes: what the colours are, with n, and what the shapes are."""
    from matplotlib.lines import Line2D

    handles, labels = [], []
    for name, colour in colours.items():
        count = sum(kind == name for kind in classes)
        if count:
            handles.append(Line2D([], [], linestyle="none", marker="o", color=colour, markersize=7))
            labels.append(f"{name} ({count:,})")
    shared = {marker: [name for name, its in by_source.items() if its == marker] for marker in by_source.values()}
    for marker, names in shared.items():
        handles.append(Line2D([], [], linestyle="none", marker=marker, color="#444444", fillstyle="none", markersize=7))
        labels.append(names[0] if len(names) == 1 else FURTHER)
    axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(0, -0.06), frameon=False, fontsize=9, ncols=2)


MOST = 3_000
"""Images of the map: more would cover one another, and take minutes."""


def embedding_map(images: pd.DataFrame, results_uri: str, output: str, seed: int = 0) -> Picture:
    """The embeddings in two dimensions by t-SNE, by label and by flag, `figure_11_embeddings`.

    Args:
        images: of `scores.join_tables`.
        results_uri: of the screen; its `embeddings/` is read.
        output: URI of the report.
        seed: of the draw where there are more than `MOST` images, and of t-SNE.

    Raises:
        StorageError: the embeddings cannot be read or are of several widths, or the picture cannot be written.
    """
    name = "figure_11_embeddings"
    caption = (
        "Embeddings of the encoder in two dimensions by t-SNE: (a) coloured by label, (b) by the flags of the model. A "
        "marker's shape is its data set. Distances between groups and their sizes mean little, only who lies beside "
        "whom does. Where shapes separate, the network tells the sources apart, and where COVID-19 comes from a source "
        "of its own, a separate group of it is no evidence of the disease. Not flagged is not the same as healthy."
    )
    scored = images[images["status"] == Status.OK]
    chosen = random_sheet.shuffled(scored, seed).head(MOST).sort_values("image_id")
    try:
        table = read_rows(storage.join(storage.normalise(results_uri), EMBEDDINGS), chosen["image_id"])
    except NotFoundError:
        return nothing(name, caption, f"{results_uri} has no embeddings: screen with --embeddings true")
    vectors = {row["image_id"]: row["embedding"] for row in table.to_pylist()}
    chosen = chosen[chosen["image_id"].isin(vectors)]
    x_NC = _matrix([vectors[image_id] for image_id in chosen["image_id"]], results_uri)
    finite = np.asarray(np.isfinite(x_NC).all(axis=1))
    chosen, x_NC = chosen.iloc[np.flatnonzero(finite)], x_NC[finite]
    try:
        points_N2 = project(x_NC, seed)
    except ValueError as error:
        return nothing(name, caption, str(error))
    rows = chosen.to_dict("records")
    figure = draw_embedding_map(
        points_N2, [_true(row) for row in rows], [_flagged(row) for row in rows], [row["dataset"] for row in rows]
    )
    caption += f" Shown: {drawn_of(len(chosen), len(scored), 'scored images')}."
    if not finite.all():
        caption += f" Left out, for their embeddings are not finite: {int((~finite).sum()):,}."
    return written(output, name, caption, figure)


def _matrix(vectors: list[list[float]], where: str) -> npt.NDArray[np.float32]:
    widths = {len(vector) for vector in vectors}
    if len(widths) > 1:
        raise StorageError(
            f"{where}: expected embeddings of one width, got {', '.join(map(str, sorted(widths)))} values; tables of "
            "several screens lie in one directory: screen again into a new one"
        )
    return np.array(vectors, np.float32).reshape(len(vectors), widths.pop() if widths else 0)


def _true(row: Row) -> str:
    if row["covid"] == 1:
        return "COVID"
    if row["unhealthy"] == 0:
        return "healthy"
    return "other disease" if row["covid"] == 0 and row["unhealthy"] == 1 else "not known"


def _flagged(row: Row) -> str:
    if is_null(row["covid_flag"]):
        return "no flag can be given"
    if row["covid_flag"]:
        return "flagged COVID"
    unhealthy = row["unhealthy_flag"]
    return "flagged unhealthy, not COVID" if not is_null(unhealthy) and unhealthy else "not flagged"
