"""The picture of a screen's embeddings (figure 11 of the paper)."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.errors import NotFoundError, Status, StorageError
from comit_ray.evaluation.picture import Picture, drawn_of, nothing, written
from comit_ray.evaluation.pictures import random_sheet
from comit_ray.evaluation.pictures.radiographs import Row, is_null
from comit_ray.evaluation.plots import embedding_map as embedding_plot
from comit_ray.screening.screen_tables import EMBEDDINGS
from comit_ray.storage import storage
from comit_ray.tables.parquet import read_rows

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
        points_N2 = embedding_plot.project(x_NC, seed)
    except ValueError as error:
        return nothing(name, caption, str(error))
    rows = chosen.to_dict("records")
    figure = embedding_plot.draw(
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
