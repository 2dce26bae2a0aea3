"""Draws a two-dimensional map of a screen's embeddings (the paper's figure 11).

The map is made by t-SNE (van der Maaten and Hinton, 2008).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.errors import NotFoundError, Status, StorageError
from comit_ray.evaluation.image_rows import ImageRows
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
"""Perplexity of t-SNE, the number of neighbours that count; with few images at most a third of the others."""
FEWEST = 5
"""The fewest images for which a map is drawn."""

TRUE_CLASSES = {"healthy": COLOURS[0], "other disease": COLOURS[1], "COVID-19": COLOURS[4], "not known": GREY}
PREDICTED_CLASSES = {
    "not flagged": COLOURS[0],
    "flagged unhealthy, not COVID-19": COLOURS[1],
    "flagged COVID-19": COLOURS[4],
    "without a flag": GREY,
}
FURTHER = "further data sets"


def project(x_NC: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """Projects embeddings to two dimensions by t-SNE, starting from the first two principal components.

    The same embeddings and seed give the same result.

    Args:
        x_NC: (N, C) finite embeddings.
        seed: seed of t-SNE.

    Returns:
        (N, 2) positions, without a unit.

    Raises:
        ValueError: there are fewer than `FEWEST` images or two values per image, or all embeddings are equal.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    if x_NC.ndim != 2 or x_NC.shape[0] < FEWEST or x_NC.shape[1] < 2:
        raise ValueError(f"t-SNE needs at least {FEWEST} images with two values each, got an array of {x_NC.shape}")
    if not np.isfinite(x_NC).all():
        raise ValueError("t-SNE needs finite embeddings, got values that are not")
    if np.ptp(x_NC, axis=0).max() == 0:
        raise ValueError("t-SNE needs embeddings that differ, got equal ones for all images")
    perplexity = min(PERPLEXITY, (len(x_NC) - 1) / 3)
    tsne = TSNE(n_components=2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed, n_jobs=1)
    with threadpool_limits(1):  # sums over several threads differ in the last digit, and t-SNE magnifies that
        return np.asarray(tsne.fit_transform(np.asarray(x_NC, np.float32)), np.float32)


def draw_embedding_map(
    points_N2: npt.NDArray[np.float32],
    truth: Sequence[str],
    predicted: Sequence[str],
    datasets: Sequence[str] | None = None,
) -> "Figure":
    """Draws the same positions twice: coloured by label, and by the model's flags. A marker's shape is its data set.

    Args:
        points_N2: result of `project`.
        truth: (N,) keys of `TRUE_CLASSES`.
        predicted: (N,) keys of `PREDICTED_CLASSES`.
        datasets: (N,) data set of each image; None if it is not shown.

    Raises:
        ValueError: a class is unknown, or the lengths differ.
    """
    count = len(points_N2)
    sources = ["" for _ in range(count)] if datasets is None else list(datasets)
    if not len(truth) == len(predicted) == len(sources) == count:
        raise ValueError(
            f"expected one label, flag and data set for each of {count} points, got {len(truth)}, {len(predicted)} and "
            f"{len(sources)}"
        )
    figure = new_figure(11.0, 6.4)
    by_source = _markers(sources)
    panels = (("(a) labels", truth, TRUE_CLASSES), ("(b) flags of the model", predicted, PREDICTED_CLASSES))
    for column, (title, classes, colours) in enumerate(panels):
        unknown = sorted(set(classes) - colours.keys())
        if unknown:
            raise ValueError(f"expected the classes {', '.join(colours)}; got {', '.join(unknown)}")
        axes = figure.add_subplot(1, 2, 1 + column)
        _scatter(axes, points_N2, classes, colours, [by_source[source] for source in sources])
        axes.set(title=title, xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)", xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")
        _legend(axes, classes, colours, by_source if datasets is not None else {})
    as_written(figure)
    return figure


def _markers(sources: Sequence[str]) -> dict[str, str]:
    """A marker for every data set, the most frequent first; the rarest share the last marker."""
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
    """Draws one collection for each class and marker; images of the last class (not known) lie below the others."""
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
    """Draws the legend below the axes: the meaning of the colours with n, and the meaning of the markers."""
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
"""The most images of a map: more would cover one another, and would take minutes."""


def embedding_map(
    images: pd.DataFrame, results_uri: str, output: str, seed: int = 0, rows_of: ImageRows = random_sheet.WHOLE
) -> Picture:
    """Draws the embeddings of a screen in two dimensions, by label and by flag, `figure_11_embeddings`.

    Args:
        images: result of `screen_metrics.join_tables`.
        results_uri: URI of the screen, with the folder `embeddings/`.
        output: URI of the report.
        seed: seed of the draw if there are more than `MOST` images, and of t-SNE.
        rows_of: the rows behind `images`.

    Raises:
        StorageError: the embeddings cannot be read or have several widths, or the picture cannot be written.
    """
    name = "figure_11_embeddings"
    caption = (
        "Map of the encoder's embeddings (the network's internal description of each image) in two dimensions by "
        "t-SNE, coloured by label (a) and by the model's flags (b). The shape of a marker gives the data set. "
        "Neighbouring points are similar images; the distances between groups and the sizes of groups mean little. If "
        "the shapes separate, the network recognises the sources. If COVID-19 also comes from a source of its own, a "
        "separate group is no evidence that the disease was recognised. An image that is not flagged may still show "
        "disease."
    )
    scored = images[images["status"] == Status.OK]
    chosen = rows_of.first(scored, MOST, seed, masks=False).sort_values("image_id")
    try:
        table = read_rows(storage.join(storage.normalise(results_uri), EMBEDDINGS), chosen["image_id"])
    except NotFoundError:
        return nothing(name, caption, f"{results_uri} has no embeddings; screen with --embeddings true to get them")
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
        caption += f" Left out because their embeddings are not finite: {int((~finite).sum()):,}."
    return written(output, name, caption, figure)


def _matrix(vectors: list[list[float]], where: str) -> npt.NDArray[np.float32]:
    widths = {len(vector) for vector in vectors}
    if len(widths) > 1:
        raise StorageError(
            f"{where}: expected embeddings of one width, got {', '.join(map(str, sorted(widths)))} values: the "
            "directory holds tables of several screens; screen again into a new directory"
        )
    return np.array(vectors, np.float32).reshape(len(vectors), widths.pop() if widths else 0)


def _true(row: Row) -> str:
    if row["covid"] == 1:
        return "COVID-19"
    if row["unhealthy"] == 0:
        return "healthy"
    return "other disease" if row["covid"] == 0 and row["unhealthy"] == 1 else "not known"


def _flagged(row: Row) -> str:
    if is_null(row["covid_flag"]):
        return "without a flag"
    if row["covid_flag"]:
        return "flagged COVID-19"
    unhealthy = row["unhealthy_flag"]
    return "flagged unhealthy, not COVID-19" if not is_null(unhealthy) and unhealthy else "not flagged"
