"""Joins the tables of a screen with its labels, and measures its metrics by group."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.config.config_base import SENSITIVITIES
from comit_ray.data.images.load import PLACE_COLUMNS
from comit_ray.data.manifest import manifest
from comit_ray.errors import ManifestError, NotFoundError, Reason, Status
from comit_ray.evaluation import classification
from comit_ray.evaluation.segmentation import mask_blocks, segmentation_counts
from comit_ray.screening import mask_choice
from comit_ray.screening.screen_tables import MASKS as MASKS_TABLE
from comit_ray.screening.screen_tables import read_predictions, recorded_owner, refuse_foreign
from comit_ray.statistics.measure import measure
from comit_ray.statistics.metric import Block, Metric, Ratio, ratios, share
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.schema import MASKS, PREDICTIONS
from comit_ray.tables.vocabulary import SCORES, SPECIFICITIES, counted

LABELS = [
    *("image_id", *PLACE_COLUMNS, "dataset", "site", "patient_id", "study_id", "sex", "age", "device", "illness_day"),
    *("unhealthy", "covid", "other", "lung_mask", "disease_mask", "split"),
]
"""Columns that come from the manifest. The column `view` comes from the predictions, or else from the manifest."""


def join_tables(results: str, manifest_uri: str, split: str) -> pd.DataFrame:
    """Joins labels, predictions and masks of every image of a split, one row per image, scored or not.

    Only the newest version of a file that has changed is included.

    Masks and areas of a screen with `--masks flagged` are left out. They exist only for images chosen by their scores,
    and a metric of them would be mistaken for one of all images.

    Args:
        results: URI of a screen's output.
        manifest_uri: URI of the manifest.
        split: name of the split; `all` for every image.

    Raises:
        ManifestError: the manifest is incomplete or has no such image, or images have no prediction or several.
        NotFoundError: there are no predictions, or no masks although the predictions measure them.
    """
    table = read_predictions(results)
    masks = read_masks(results, table)
    if mask_choice.made_of_some(results):
        table, masks = (_without(one, ("lung", "disease", "zone_disease")) for one in (table, masks))
    return _joined(table, masks, results, manifest_uri, split)


def _without(table: pa.Table, beginnings: tuple[str, ...]) -> pa.Table:
    """The table, with nulls in the columns whose names begin with one of `beginnings`."""
    for at, field in enumerate(table.schema):
        if field.name.startswith(beginnings):
            table = table.set_column(at, field, pa.nulls(table.num_rows, field.type))
    return table


def join_predictions(predictions: str, manifest_uri: str, split: str) -> pd.DataFrame:
    """Joins labels with a bare predictions table without masks; columns that it lacks are null.

    Args:
        predictions: URI of the table: a directory of Parquet parts, or one file.
        manifest_uri: URI of the manifest.
        split: name of the split; `all` for every image.

    Raises:
        ManifestError: it is no predictions table, or as `join_tables` raises.
        NotFoundError: there is no table.
    """
    table = parquet.read_table(predictions)
    needs_columns(predictions, table.column_names)
    for field in PREDICTIONS:
        if field.name not in table.column_names:
            table = table.append_column(field.name, pa.nulls(table.num_rows, field.type))
    table = table.select(PREDICTIONS.names)
    return _joined(table, MASKS.empty_table(), predictions, manifest_uri, split)


def _joined(table: pa.Table, masks: pa.Table, where: str, manifest_uri: str, split: str) -> pd.DataFrame:
    _check(table, where)
    known = manifest.read(manifest_uri)
    newest = pc.fill_null(pc.not_equal(known["excluded"], str(Reason.SUPERSEDED)), True)  # or a patient counts twice
    labels: pd.DataFrame = known.filter(newest).select([*LABELS, "view"]).to_pandas()
    if split != "all":
        labels = labels[labels["split"] == split]
    labels = labels.rename(columns={"view": "manifest_view"})
    joined = labels.merge(table.to_pandas(), on="image_id", how="left", validate="one_to_one")
    missing = int(joined["status"].isna().sum())
    without_prediction(missing, len(joined), split, where, manifest_uri)
    joined["view"] = joined["view"].where(joined["view"].notna(), joined["manifest_view"])
    joined = joined.drop(columns="manifest_view")
    return joined.merge(masks.to_pandas(), on="image_id", how="left", validate="one_to_one")


def _check(table: pa.Table, where: str) -> None:
    """Checks that no image occurs twice, that every status is known, and that every score is a number or null.

    Raises:
        ManifestError: one of these does not hold.
    """
    twice = table.num_rows - len(pc.unique(table["image_id"]))
    if twice:
        raise ManifestError(f"{where}: expected one row for each image, got {counted(twice, 'duplicate row')}")
    strange = sorted(set(pc.unique(table["status"]).to_pylist()) - set(map(str, Status)), key=str)
    if strange:
        raise ManifestError(f"{where}: expected a status of {', '.join(Status)}, got {strange[0]!r}")
    for name in (f"p_{score}" for score in SCORES):
        wrong = table.num_rows - table[name].null_count - (pc.sum(pc.is_finite(table[name])).as_py() or 0)
        not_finite(where, name, wrong)


def needs_columns(where: str, there: Collection[str]) -> None:
    """Refuses a table that is no predictions table.

    Raises:
        ManifestError: it lacks a column that every such table has.
    """
    lacking = [name for name in ("image_id", "status") if name not in there]
    if lacking:
        raise ManifestError(
            f"{where}: expected a predictions table (comit_ray.tables.schema.PREDICTIONS), but it lacks the columns "
            f"{', '.join(lacking)}"
        )


def not_finite(where: str, score: str, values: int) -> None:
    """Refuses scores that are neither numbers nor null.

    Raises:
        ManifestError: there are such values.
    """
    if values:
        raise ManifestError(
            f"{where}: expected finite scores or nulls in {score}, got {values} values that are neither"
        )


def without_prediction(missing: int, images: int, split: str, where: str, manifest_uri: str) -> None:
    """Refuses a split of which images have no prediction, and one without images.

    Raises:
        ManifestError: there are such images, or there is no image.
    """
    if not images:
        raise ManifestError(
            f"expected images of split {split!r} in {manifest_uri}, got none: give --split all, or another split"
        )
    if missing:
        raise ManifestError(
            f"expected a prediction for every image of split {split!r} in {where}, got none for {missing} of "
            f"{images}: run comit-ray screen again with this manifest and this split, until no image is missing"
        )


def read_masks(results: str, predictions: pa.Table) -> pa.Table:
    """Reads the `masks` table; it is empty for a screen of scores alone, whose predictions have no areas.

    Args:
        results: URI of a screen's output.
        predictions: its predictions.

    Raises:
        NotFoundError: there is no table although the predictions have areas.
        StorageError: a part cannot be read, or belongs to another run.
    """
    try:
        owner, tables = recorded_owner(results), []
        for part in parquet.parts(storage.join(results, MASKS_TABLE)):
            tables.append(parquet.read_part(part))
            refuse_foreign(part, tables[-1], owner)
        return pa.concat_tables(tables, promote_options="default")
    except NotFoundError:
        if any(predictions[name].null_count < predictions.num_rows for name in ("lung_area", "disease_area")):
            raise
        return MASKS.empty_table()


def absent_heads(images: pd.DataFrame) -> list[str]:
    """The heads among `covid`, `unhealthy`, `lung` and `disease` for which no image has a score, mask or area."""
    columns = {
        "covid": ["p_covid"],
        "unhealthy": ["p_unhealthy"],
        "lung": ["lung_png", "lung_area"],
        "disease": ["disease_png", "disease_area"],
    }
    return [head for head, names in columns.items() if not images[names].notna().any(axis=None)]


def head_of(metric: str) -> str | None:
    """The head that a metric judges: `covid`, `unhealthy`, `lung` or `disease`; None for counts of images."""
    if metric in ("share", "unreadable_masks"):
        return None
    if metric == "covid_called_unhealthy":
        return "unhealthy"
    return next((head for head in ("unhealthy", "lung", "disease") if metric.startswith(f"{head}_")), "covid")


def screen_metrics(
    images: pd.DataFrame,
    split: str,
    lungs: Literal["pixels", "boxes"] = "pixels",
    specificities: Sequence[float] = SPECIFICITIES,
    draws: int = 1000,
    seed: int = 0,
    *,
    sensitivities: Sequence[float] = SENSITIVITIES,
    more: Callable[[pd.DataFrame], list[Ratio]] | None = None,
    masks: pd.DataFrame | None = None,
) -> list[Metric]:
    """Measures all metrics, over every image and over each dataset; metrics of an absent head are null, with n = 0.

    Args:
        images: result of `join_tables`.
        split: name of the split.
        lungs: whether annotated lungs count as drawn or as boxes, as in `comit_ray.config.image_config.MasksConfig`.
        specificities: specificities at which sensitivity, accuracy, precision, recall and F1 are measured, 0 to 1.
        draws: number of bootstrap draws.
        seed: seed of the draws.
        sensitivities: sensitivities at which specificity is measured, 0 to 1.
        more: function that gives additional metrics of a group of images; None for none.
        masks: pixels of the masks, from `segmentation_counts`, by row of `images`; None counts them.
    """
    images = images.reset_index(drop=True)
    points = classification.operating_points(images)
    counted_masks = segmentation_counts(images[images["status"] == Status.OK], lungs) if masks is None else masks

    def blocks(rows: pd.DataFrame) -> Iterator[Block]:
        yield ratios([share("share", rows["status"] == status, np.ones(len(rows)), str(status)) for status in Status])
        yield from classification.blocks(rows, points, specificities, sensitivities)
        yield from mask_blocks(rows, counted_masks)
        if more is not None:
            yield ratios(more(rows))

    found: list[Metric] = []
    for group, rows in by_dataset(images):
        found += measure(blocks(rows), rows["patient_id"], split, group, draws, seed)
    return found


def by_dataset(images: pd.DataFrame, alone: bool = True) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields `all` with all images, and then `dataset=NAME` with those of each dataset, one after the other.

    Args:
        images: result of `join_tables`.
        alone: whether a dataset that has all images is yielded too.
    """
    yield "all", images
    names = sorted(images["dataset"].dropna().unique())
    for name in names if alone or len(names) > 1 else ():
        yield f"dataset={name}", images if len(names) == 1 else images[images["dataset"] == name]
