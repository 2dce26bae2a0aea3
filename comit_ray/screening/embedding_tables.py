"""Reads the embeddings of a finished screen, joined with the labels of the manifest."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.chunks import accounts, run_record
from comit_ray.chunks import plan as planning
from comit_ray.chunks.ownership import Owner
from comit_ray.chunks.plan import Plan
from comit_ray.config.embedding_config import LabelName
from comit_ray.data.manifest import manifest
from comit_ray.errors import ConfigError, ManifestError, Status, StorageError
from comit_ray.screening.screen_tables import EMBEDDINGS, PREDICTIONS, layout
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.vocabulary import Split

COLUMNS = ["image_id", "status", "reason", "detail", "height", "width", "view", "model_id"]
"""Columns of the screen's predictions that are kept; scores and mask measurements are not among them."""
LABELS: tuple[str, ...] = get_args(LabelName)


@dataclass(frozen=True)
class EmbeddedScreen:
    """A complete screen with embeddings, and its manifest.

    Attributes:
        uri: URI of the results.
        plan: the manifest, divided into chunks.
        model_id: id of the network that made the embeddings.
    """

    uri: str
    plan: Plan
    model_id: str


@dataclass(frozen=True)
class EmbeddedChunk:
    """One chunk of an embedded screen.

    Attributes:
        file: file name of the chunk.
        rows: a dict of `COLUMNS` for every image, in the order of the manifest.
        x_NC: (N, C) embeddings of the images whose status is ok, in that order.
    """

    file: str
    rows: list[dict[str, Any]]
    x_NC: npt.NDArray[np.float32]

    @property
    def scored(self) -> list[str]:
        """Ids of the images whose status is ok, in the order of the rows of `x_NC`."""
        return [row["image_id"] for row in self.rows if row["status"] == Status.OK]


@dataclass(frozen=True)
class Labelled:
    """Embedded images of the train and val splits, ordered by image id.

    Attributes:
        ids: (N,) image ids, sorted, so that other chunk sizes give the same classifier.
        splits: (N,) `train` or `val`.
        x_NC: (N, C) finite embeddings.
        labels: `covid`, `unhealthy` -> (N,) 1, 0, or NaN if the label is not known.
    """

    ids: npt.NDArray[np.object_]
    splits: npt.NDArray[np.object_]
    x_NC: npt.NDArray[np.float32]
    labels: dict[str, npt.NDArray[np.float64]]

    def known(self, split: str, label: str) -> npt.NDArray[np.bool_]:
        """Returns (N,) whether an image belongs to `split` and its `label` is known."""
        return np.asarray((self.splits == split) & ~np.isnan(self.labels[label]))


def open_screen(results: str, manifest_uri: str) -> EmbeddedScreen:
    """Opens the screen in `results` if it is complete, has embeddings and belongs to the manifest.

    Raises:
        ConfigError: the screen was run without embeddings, or for one split only.
        ManifestError: the screen belongs to another manifest, or is incomplete.
        StorageError: `results` is not the output of a screen, or cannot be read.
    """
    uri = storage.normalise(results)
    record = run_record.read(uri)
    asked = record["question"]
    if not {"embeddings", "split", "manifest", "model_id"} <= asked.keys():
        raise StorageError(f"{uri} is not the output of comit-ray screen: its {run_record.FILE} is that of another job")
    if not asked["embeddings"]:
        raise ConfigError(f"{uri} has no embeddings: screen again into another directory, with --embeddings true")
    if asked["split"] != "all":
        raise ConfigError(
            f"{uri} has only the {asked['split']} split, but classifiers are fitted on train and their thresholds "
            "chosen on val: screen again into another directory, with --split all"
        )
    plan = planning.make_plan(manifest_uri, "all")
    if asked["manifest"] != plan.fingerprint:
        screened = record.get("settings", {}).get("manifest", "unknown")
        raise ManifestError(
            f"{uri} was not screened from {manifest_uri}, or that manifest has changed: expected fingerprint "
            f"{asked['manifest']}, got {plan.fingerprint}; the manifest it was screened from was {screened}"
        )
    taken = accounts.take(
        plan, uri, replace(layout(embeddings=True), owned=()), Owner.of(record)
    )  # `chunks` checks the rows
    if not taken.balanced:
        problem = next(iter(taken.problems), "its rows are not those of the manifest")
        raise ManifestError(
            f"{uri} is incomplete ({problem}): run the same comit-ray screen again until its counts balance"
        )
    return EmbeddedScreen(uri, plan, asked["model_id"])


def chunks(screen: EmbeddedScreen) -> Iterator[EmbeddedChunk]:
    """Yields every chunk of the screen, in the order of the manifest.

    Raises:
        StorageError: the directory mixes embeddings of several models or widths, or they do not match the images.
    """
    width: int | None = None
    for planned in screen.plan.chunks:
        rows = parquet.read_part(storage.join(screen.uri, PREDICTIONS, planned.file), COLUMNS).to_pylist()
        where = storage.join(screen.uri, EMBEDDINGS, planned.file)
        ids, x_NC = _embeddings(parquet.read_part(where, ["image_id", "embedding"]), where)
        models = {row["model_id"] for row in rows} - {screen.model_id}
        if models:
            raise StorageError(
                f"{planned.file}: expected rows of model {screen.model_id} only, got {', '.join(sorted(models))} too; "
                "embeddings of several models cannot be compared: screen again into a new directory"
            )
        chunk = EmbeddedChunk(planned.file, rows, x_NC)
        if ids != chunk.scored:
            raise StorageError(f"{where} does not hold exactly the images that are ok in predictions: screen again")
        if ids and x_NC.shape[1] != (width := width or x_NC.shape[1]):
            raise StorageError(
                f"{where}: expected embeddings of {width} values as in earlier files, got {x_NC.shape[1]}; the "
                "directory mixes tables of several screens: screen again into a new one"
            )
        yield chunk


def labelled(screen: EmbeddedScreen, manifest_uri: str) -> Labelled:
    """Reads embeddings and labels of all train and val images whose embedding is finite.

    Raises:
        StorageError: as for `chunks`.
    """
    known = manifest.read(manifest_uri).select(["image_id", "split", *LABELS])
    known = known.filter(pc.is_in(known["split"], pa.array([Split.TRAIN, Split.VAL], pa.string())))
    row_of = {image_id: row for row, image_id in enumerate(known["image_id"].to_pylist())}
    ids: list[str] = []
    parts: list[npt.NDArray[np.float32]] = []
    for chunk in chunks(screen):
        wanted = np.array([image_id in row_of for image_id in chunk.scored], bool) & finite(chunk.x_NC)
        ids += [image_id for image_id, take in zip(chunk.scored, wanted, strict=True) if take]
        if wanted.any():
            parts.append(chunk.x_NC[wanted])
    order = np.argsort(np.array(ids, object)) if ids else np.zeros(0, int)
    rows = known.take(pa.array([row_of[ids[index]] for index in order], pa.int64()))
    labels = {name: rows[name].cast(pa.float64()).to_numpy() for name in LABELS}  # null becomes NaN
    x_NC = np.concatenate(parts)[order] if parts else np.zeros((0, 0), np.float32)
    return Labelled(np.array(ids, object)[order], np.array(rows["split"].to_pylist(), object), x_NC, labels)


def finite(x_NC: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Returns (N,) whether all values of an embedding are finite; the table's float16 overflows above 65,504."""
    return np.asarray(np.isfinite(x_NC).all(axis=1))


def _embeddings(table: pa.Table, where: str) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Returns the ids (N,) and the embeddings (N, C) of one file."""
    ids = table["image_id"].to_pylist()
    column = table["embedding"].combine_chunks()
    widths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(widths) > 1 or None in widths:
        raise StorageError(
            f"{where}: expected embeddings of one width, got {', '.join(sorted(map(str, widths)))} values; "
            "screen again into a new directory"
        )
    values = pc.list_flatten(column).to_numpy(zero_copy_only=False).astype(np.float32)
    return ids, values.reshape(len(ids), widths[0] if widths else 0)
