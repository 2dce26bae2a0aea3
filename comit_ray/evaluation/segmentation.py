"""Metrics of the masks (paper, section 4.1), computed from pixel counts in the tables.

Lung IoU and Dice are means over images, as the paper describes its IoU. `lung_iou_pooled` and all disease metrics are
pooled over the pixels of all images, as the paper describes its true positive rate.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd

from comit_ray.config.image_config import FrameConfig
from comit_ray.data.masks.mask_images import IGNORE, lung_rectangles
from comit_ray.data.masks.masks import from_png, read_mask
from comit_ray.errors import ManifestError, Status
from comit_ray.statistics.metric import Block, BoolArray, FloatArray, MetricEntry, Ratio, mean, of_few, ratios, share

COLUMNS = ["row", "image_id", "task", "hits", "predicted", "true", "problem"]


def segmentation_counts(images: pd.DataFrame, lungs: Literal["pixels", "boxes"] = "pixels") -> pd.DataFrame:
    """Counts the predicted and annotated pixels of each image with an annotated mask, where the annotation is known.

    The annotation is brought to the frame of the predictions.

    Args:
        images: scored images of `screen_metrics.join_tables`.
        lungs: whether annotated lungs count as drawn or as boxes, as in `comit_ray.config.image_config.MasksConfig`.

    Returns:
        Columns row (index of the image), image_id, task (lung or disease), hits, predicted, true (pixels), and problem:
            why the annotated mask cannot be read, or null.
    """
    counts: list[tuple[Any, ...]] = []
    for index, row in zip(images.index, images.to_dict("records"), strict=True):
        which = (index, row["image_id"])
        for task in ("lung", "disease"):
            reference, png = row[f"{task}_mask"], row[f"{task}_png"]
            if isinstance(reference, str) and isinstance(png, bytes):
                frame = FrameConfig(size=int(row["frame_height"]), fit=row["fit"])
                try:
                    truth_HW = read_mask(reference, frame, int(row["height"]), int(row["width"]))
                    truth_HW = lung_rectangles(truth_HW) if task == "lung" and lungs == "boxes" else truth_HW
                except ManifestError as error:
                    counts.append((*which, task, 0, 0, 0, str(error)))
                    continue
                known = truth_HW != IGNORE
                predicted, true = from_png(png) & known, truth_HW == 1
                hits = int((predicted & true).sum())
                counts.append((*which, task, hits, int(predicted.sum()), int(true.sum()), None))
    return pd.DataFrame(counts, columns=COLUMNS)


def segmentation_counts_of(
    tables: Iterable[pd.DataFrame], lungs: Literal["pixels", "boxes"] = "pixels"
) -> pd.DataFrame:
    """The result of `segmentation_counts` for images that come in several tables."""
    counts = [segmentation_counts(table, lungs) for table in tables]
    return pd.concat(counts, ignore_index=True) if counts else pd.DataFrame(columns=COLUMNS)


def mask_blocks(images: pd.DataFrame, counts: pd.DataFrame) -> Iterator[Block]:
    """Yields the metrics of the masks, ready to be measured; those of pixels hold only images with annotated masks.

    Args:
        images: N images of `screen_metrics.join_tables`, scored or not.
        counts: result of `segmentation_counts` for these images, others included, by their index.
    """
    rows_M = np.flatnonzero(images.index.isin(counts["row"]))
    mine = images[[]].iloc[rows_M]
    yield of_few(
        ratios([*_unreadable(mine, counts), *_lung(mine, counts), *_disease(mine, counts)]), rows_M, len(images)
    )
    yield ratios(_on_healthy(images))


def _unreadable(images: pd.DataFrame, counts: pd.DataFrame) -> list[Ratio]:
    """The share of annotated masks that could not be read; nothing if all could."""
    mine = counts[counts["row"].isin(images.index)]
    if mine["problem"].isna().all():
        return []
    by_image = mine["problem"].notna().groupby(mine["row"]).agg(["sum", "count"])
    found = by_image.reindex(images.index, fill_value=0).to_numpy(np.float64)
    return [Ratio(MetricEntry("unreadable_masks", found[:, 1] > 0), found[:, 0], found[:, 1])]


def _lung(images: pd.DataFrame, counts: pd.DataFrame) -> list[Ratio]:
    hits_N, predicted_N, true_N, _ = _pixels(images, counts, "lung")
    union_N, both_N = predicted_N + true_N - hits_N, predicted_N + true_N
    seen_N = union_N > 0
    undefined = "no scored image has a predicted lung mask and a true one that can be read"
    iou_N, dice_N = (
        np.where(seen_N, parts / np.where(seen_N, wholes, 1), np.nan)
        for parts, wholes in ((hits_N, union_N), (2 * hits_N, both_N))
    )
    return [
        mean("lung_iou", iou_N, undefined=undefined),
        Ratio(MetricEntry("lung_iou_pooled", seen_N, undefined=undefined), hits_N, union_N),
        mean("lung_dice", dice_N, undefined=undefined),
    ]


def _disease(images: pd.DataFrame, counts: pd.DataFrame) -> list[Ratio]:
    hits_N, predicted_N, true_N, judged_N = _pixels(images, counts, "disease")
    none = "no scored image has a predicted disease mask and a true one that can be read"

    def pooled(metric: str, parts_N: FloatArray, wholes_N: FloatArray, empty: str) -> Ratio:
        return Ratio(MetricEntry(metric, judged_N, undefined=empty if judged_N.any() else none), parts_N, wholes_N)

    neither = "neither the model nor the truth marks disease"
    return [
        pooled("disease_tpr", hits_N, true_N, "the true masks mark no disease"),
        pooled("disease_precision", hits_N, predicted_N, "the model marks no disease"),
        pooled("disease_dice", 2 * hits_N, predicted_N + true_N, neither),
        pooled("disease_iou", hits_N, predicted_N + true_N - hits_N, neither),
    ]


def _on_healthy(images: pd.DataFrame) -> list[Ratio]:
    """Disease outlined on healthy images: mean area (fraction of the frame), and the share of images with any.

    A model reaches a high true positive rate by outlining much; on images labelled healthy all of it is wrong.
    """
    healthy_N = ((images["status"] == Status.OK) & (images["unhealthy"] == 0)).to_numpy(bool)
    area_N = np.where(healthy_N, images["disease_area"].to_numpy(np.float64, na_value=np.nan), np.nan)
    undefined = "no scored image labelled healthy has a predicted disease area"
    return [
        mean("disease_area_on_healthy", area_N, undefined=undefined),
        share("disease_painted_on_healthy", area_N > 0, ~np.isnan(area_N), undefined=undefined),
    ]


def _pixels(
    images: pd.DataFrame, counts: pd.DataFrame, task: str
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """(N,) pixels hit, predicted and annotated, 0 for an image without both masks; and whether it has both."""
    mine = counts[(counts["task"] == task) & counts["problem"].isna()].set_index("row")
    aligned = mine.reindex(images.index)[["hits", "predicted", "true"]].to_numpy(np.float64)
    judged_N = ~np.isnan(aligned[:, 0])
    hits_N, predicted_N, true_N = np.nan_to_num(aligned).T
    return hits_N, predicted_N, true_N, judged_N
