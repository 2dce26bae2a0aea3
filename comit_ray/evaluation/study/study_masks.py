"""Segmentation metrics of a study's trials: lungs, disease, and disease drawn on healthy images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.errors import Status
from comit_ray.evaluation.screen_metrics import join_tables
from comit_ray.evaluation.segmentation import segmentation_counts
from comit_ray.evaluation.study.study_metrics import FloatArray, IntArray, Measured, MetricKey
from comit_ray.evaluation.study.study_results import Study, Trial

LUNG_IOU, LUNG_IOU_POOLED = MetricKey("lung_iou"), MetricKey("lung_iou_pooled")
DISEASE_TPR, DISEASE_PRECISION, DISEASE_DICE = (
    MetricKey("disease_tpr"),
    MetricKey("disease_precision"),
    MetricKey("disease_dice"),
)
PAINTED_ON_HEALTHY = MetricKey("disease_area_on_healthy")


@dataclass(frozen=True)
class PixelCounts:
    """Pixel counts of masks for T trials on N images; 0 for an image without an annotated or a predicted mask.

    Args:
        hits_TN: pixels in both masks.
        predicted_TN: pixels of the predicted mask.
        true_TN: pixels of the annotated mask.
        judged_TN: whether the image has both masks.
    """

    hits_TN: IntArray
    predicted_TN: IntArray
    true_TN: IntArray
    judged_TN: npt.NDArray[np.bool_]


def measure_masks(study: Study, manifest_uri: str, lungs: Literal["pixels", "boxes"]) -> tuple[Measured | None, int]:
    """Measures all trials that have masks, and counts the annotated masks that could not be read.

    Args:
        study: the study, as read.
        manifest_uri: its manifest, with references of annotated masks.
        lungs: whether annotated lungs count as drawn or as boxes, as in `comit_ray.config.image_config.MasksConfig`.

    Returns:
        The measurements, None if no trial has masks; and the largest number of unreadable masks of any trial.

    Raises:
        NotFoundError: the masks of a trial are absent.
        StorageError: the masks cannot be read.
    """
    trials = tuple(
        trial for variant in study.variants for trial in study.ok(variant) if _has_masks(study.scores[trial.id])
    )
    if not trials:
        return None, 0
    counted = [_counts(study, trial, manifest_uri, lungs) for trial in trials]
    unreadable = max(int(counts["problem"].notna().sum()) for counts in counted)
    lung, disease = (_pixels(study, counted, task) for task in ("lung", "disease"))
    painted_TN = np.stack([_painted(study, trial) for trial in trials])

    def statistic(weights_N: IntArray) -> Mapping[MetricKey, FloatArray]:
        found = _lung(lung, weights_N) | _disease(disease, weights_N)
        return found | {PAINTED_ON_HEALTHY: _mean(painted_TN, weights_N)}

    lungs_T, diseases_T = lung.judged_TN.sum(axis=1), disease.judged_TN.sum(axis=1)
    counts = dict.fromkeys((LUNG_IOU, LUNG_IOU_POOLED), lungs_T)
    counts |= dict.fromkeys((DISEASE_TPR, DISEASE_PRECISION, DISEASE_DICE), diseases_T)
    counts |= {PAINTED_ON_HEALTHY: (~np.isnan(painted_TN)).sum(axis=1)}
    return Measured(trials, statistic, counts), unreadable


def _has_masks(predictions: pd.DataFrame) -> bool:
    return bool(predictions[["lung_area", "disease_area"]].notna().any(axis=None))


def _counts(study: Study, trial: Trial, manifest_uri: str, lungs: Literal["pixels", "boxes"]) -> pd.DataFrame:
    images = join_tables(study.results(trial), manifest_uri, study.split)
    counts: pd.DataFrame = segmentation_counts(images[images["status"] == Status.OK], lungs)
    return counts


def _pixels(study: Study, counted: list[pd.DataFrame], task: str) -> PixelCounts:
    columns: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in ("hits", "predicted", "true", "judged")}
    for counts in counted:
        mine = counts[(counts["task"] == task) & counts["problem"].isna()].set_index("image_id")
        whole = mine.assign(judged=1)[list(columns)].reindex(study.images["image_id"], fill_value=0)
        for name, values in columns.items():
            values.append(whole[name].to_numpy(np.int64))
    hits, predicted, true, judged = (np.stack(values) for values in columns.values())
    return PixelCounts(hits, predicted, true, judged.astype(bool))


def _painted(study: Study, trial: Trial) -> FloatArray:
    """Returns (N,) predicted disease areas as fractions of the frame; NaN unless scored and labelled healthy."""
    rows = study.scores[trial.id]
    healthy = (study.images["unhealthy"] == 0).to_numpy() & (rows["status"] == Status.OK).to_numpy()
    return np.where(healthy, rows["disease_area"].to_numpy(np.float64, na_value=np.nan), np.nan)


def _lung(lung: PixelCounts, weights_N: IntArray) -> dict[MetricKey, FloatArray]:
    union_TN = lung.predicted_TN + lung.true_TN - lung.hits_TN
    iou_TN = np.where(union_TN > 0, lung.hits_TN / np.maximum(union_TN, 1), np.nan)
    return {LUNG_IOU: _mean(iou_TN, weights_N), LUNG_IOU_POOLED: _share(lung.hits_TN, union_TN, weights_N)}


def _disease(disease: PixelCounts, weights_N: IntArray) -> dict[MetricKey, FloatArray]:
    both_TN = disease.predicted_TN + disease.true_TN
    return {
        DISEASE_TPR: _share(disease.hits_TN, disease.true_TN, weights_N),
        DISEASE_PRECISION: _share(disease.hits_TN, disease.predicted_TN, weights_N),
        DISEASE_DICE: _share(2 * disease.hits_TN, both_TN, weights_N),
    }


def _share(parts_TN: IntArray, wholes_TN: IntArray, weights_N: IntArray) -> FloatArray:
    """Returns (T,) ratios pooled over the pixels of all images; NaN if the denominator is 0."""
    part_T, whole_T = parts_TN @ weights_N, wholes_TN @ weights_N
    return np.where(whole_T > 0, part_T / np.maximum(whole_T, 1), np.nan)


def _mean(values_TN: FloatArray, weights_N: IntArray) -> FloatArray:
    """Returns (T,) means over the images that have a value; NaN if no image has one."""
    known_TN = ~np.isnan(values_TN)
    count_T = known_TN @ weights_N
    return np.where(count_T > 0, np.where(known_TN, values_TN, 0) @ weights_N / np.maximum(count_T, 1), np.nan)
