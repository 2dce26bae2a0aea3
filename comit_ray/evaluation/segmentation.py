"""Metrics of the masks (paper, section 4.1), computed from pixel counts in the tables.

Lung IoU and Dice are means over images, as the paper's IoU reads; `lung_iou_pooled` and all figures of disease are
pooled over the pixels of all images, as the paper's true positive rate is.
"""

from typing import Any, Literal

import numpy as np
import pandas as pd

from comit_ray.config.image_config import FrameConfig
from comit_ray.data.masks.mask_images import IGNORE, lung_rectangles
from comit_ray.data.masks.masks import from_png, read_mask
from comit_ray.errors import ManifestError, Status
from comit_ray.statistics.metric import BoolArray, FloatArray, MetricEntry, Ratio, mean, share

COLUMNS = ["image_id", "task", "hits", "predicted", "true", "problem"]


def segmentation_counts(images: pd.DataFrame, lungs: Literal["pixels", "boxes"] = "pixels") -> pd.DataFrame:
    """Pixels of each image with a true mask: predicted and true, over the pixels whose truth is known.

    Columns: image_id, task (lung or disease), hits, predicted, true, and problem: why the true mask could not be read,
    or null. Truth is brought to the frame of the predictions.

    Args:
        images: of `scores.join_tables`, scored.
        lungs: as `comit_ray.config.MasksConfig` has it.
    """
    counts: list[tuple[Any, ...]] = []
    for row in images.to_dict("records"):
        for task in ("lung", "disease"):
            reference, png = row[f"{task}_mask"], row[f"{task}_png"]
            if isinstance(reference, str) and isinstance(png, bytes):
                frame = FrameConfig(size=int(row["frame_height"]), fit=row["fit"])
                try:
                    truth_HW = read_mask(reference, frame, int(row["height"]), int(row["width"]))
                    truth_HW = lung_rectangles(truth_HW) if task == "lung" and lungs == "boxes" else truth_HW
                except ManifestError as error:
                    counts.append((row["image_id"], task, 0, 0, 0, str(error)))
                    continue
                known = truth_HW != IGNORE
                predicted, true = from_png(png) & known, truth_HW == 1
                hits = int((predicted & true).sum())
                counts.append((row["image_id"], task, hits, int(predicted.sum()), int(true.sum()), None))
    return pd.DataFrame(counts, columns=COLUMNS)


def mask_ratios(images: pd.DataFrame, counts: pd.DataFrame) -> list[Ratio]:
    """The figures of the masks.

    Args:
        images: of `scores.join_tables`, N of them, scored or not.
        counts: of `segmentation_counts`, of these images among others.
    """
    return [*_unreadable(images, counts), *_lung(images, counts), *_disease(images, counts), *_on_healthy(images)]


def _unreadable(images: pd.DataFrame, counts: pd.DataFrame) -> list[Ratio]:
    """The share of true masks that could not be read; nothing where all could."""
    mine = counts[counts["image_id"].isin(images["image_id"])]
    if mine["problem"].isna().all():
        return []
    by_image = mine["problem"].notna().groupby(mine["image_id"]).agg(["sum", "count"])
    found = by_image.reindex(images["image_id"], fill_value=0).to_numpy(np.float64)
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
    """What is painted where there is nothing: mean predicted area (fraction of the frame), and how often there is any.

    A true positive rate is bought by painting much; on images labelled healthy all of it is wrong.
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
    """(N,) pixels hit, predicted and true, 0 where the image has no pair of masks, and whether it has one."""
    mine = counts[(counts["task"] == task) & counts["problem"].isna()].set_index("image_id")
    aligned = mine.reindex(images["image_id"])[["hits", "predicted", "true"]].to_numpy(np.float64)
    judged_N = ~np.isnan(aligned[:, 0])
    hits_N, predicted_N, true_N = np.nan_to_num(aligned).T
    return hits_N, predicted_N, true_N, judged_N
