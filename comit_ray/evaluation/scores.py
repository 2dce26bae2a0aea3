"""Figures of merit of a screened, labelled archive, from its tables: classification and segmentation.

`value` is a fraction, or null where it is undefined; `n` is the number of images it is taken over (positives for a
sensitivity, negatives for a specificity). `low` and `high` are the 95% Wilson interval of a sensitivity or specificity
at a frozen threshold, and null elsewhere: images of one patient are counted as if independent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from comit_ray import metrics, parquet, storage
from comit_ray.config import FrameConfig
from comit_ray.data import manifest
from comit_ray.data.fetch import PLACE_COLUMNS
from comit_ray.data.masks import IGNORE, from_png, lung_rectangles, read_mask
from comit_ray.errors import ManifestError, NotFoundError, Status
from comit_ray.operating_points import SPECIFICITIES
from comit_ray.schema import MASKS
from comit_ray.screening.layout import read_predictions

PREFIXES = {"covid": "", "unhealthy": "unhealthy_"}
"""Label -> prefix of its metrics: those of COVID, what the screen is for, have none."""


@dataclass(frozen=True)
class Figure:
    """One number of a report, as it stands in `metrics.json`."""

    metric: str
    value: float | None
    n: int
    split: str
    group: str
    at: float | str | None = None
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, in a fixed order."""
        return asdict(self)


def join_tables(results: str, manifest_uri: str, split: str) -> pd.DataFrame:
    """Labels, predictions and masks of every image of `split`, one row an image, scored or not.

    Raises:
        ManifestError: the manifest is not whole, has no such image, or some have no prediction.
        NotFoundError: there are no predictions, or no masks though the predictions measure them.
    """
    predictions: pd.DataFrame = read_predictions(results).to_pandas()
    masks = _read_masks(results, predictions)
    columns = [
        "image_id",
        *PLACE_COLUMNS,
        "dataset",
        "unhealthy",
        "covid",
        "other",
        "lung_mask",
        "disease_mask",
        "split",
    ]
    labels: pd.DataFrame = manifest.read(manifest_uri).select(columns).to_pandas()
    if split != "all":
        labels = labels[labels["split"] == split]
    joined = labels.merge(predictions, on="image_id", how="left", validate="one_to_one")
    missing = int(joined["status"].isna().sum())
    if missing or joined.empty:
        raise ManifestError(
            f"{missing} of {len(joined)} images of split {split!r} have no prediction in {results}: run jobs/screen.py "
            "again until its accounts balance, with this manifest and this split"
        )
    return joined.merge(masks, on="image_id", how="left", validate="one_to_one")


def _read_masks(results: str, predictions: pd.DataFrame) -> pd.DataFrame:
    """The `masks` table; an empty one where there is none and the predictions know of none (scores alone)."""
    try:
        table = parquet.read_table(storage.join(results, "masks"))
    except NotFoundError:
        if predictions[["lung_area", "disease_area"]].notna().any(axis=None):
            raise
        table = MASKS.empty_table()
    masks: pd.DataFrame = table.to_pandas()
    return masks


def absent_heads(images: pd.DataFrame) -> list[str]:
    """Those of `covid`, `unhealthy`, `lung` and `disease` of which no image of `join_tables` has a score or mask."""
    columns = {"covid": "p_covid", "unhealthy": "p_unhealthy", "lung": "lung_png", "disease": "disease_png"}
    return [head for head, column in columns.items() if not images[column].notna().any()]


def head_of(metric: str) -> str | None:
    """The head that a figure judges: `covid`, `unhealthy`, `lung` or `disease`; None for counts of images."""
    if metric in ("share", "unreadable_masks"):
        return None
    return next((head for head in ("unhealthy", "lung", "disease") if metric.startswith(f"{head}_")), "covid")


def figures(
    images: pd.DataFrame,
    split: str,
    lungs: Literal["pixels", "boxes"] = "pixels",
    specificities: Sequence[float] = SPECIFICITIES,
) -> list[Figure]:
    """All figures, over every image and over each dataset alone; those of an absent head are null, with n = 0.

    Args:
        images: of `join_tables`.
        split: its name.
        lungs: as `comit_ray.config.MasksConfig` has it.
        specificities: at which `sensitivity_at_specificity` is given.
    """
    groups = [("all", images), *((f"dataset={name}", rows) for name, rows in images.groupby("dataset"))]
    scored = images[images["status"] == Status.OK]
    segmented = segmentation_counts(scored, lungs)
    found: list[Figure] = []
    for group, rows in groups:
        for status in Status:
            share = float((rows["status"] == status).mean())
            found.append(Figure("share", share, len(rows), split, group, at=str(status)))
        rows = rows[rows["status"] == Status.OK]
        found += [Figure(**figure, split=split, group=group) for figure in _classification(rows, specificities)]
        mine = segmented[segmented["image_id"].isin(rows["image_id"])]
        unreadable = int(mine["problem"].notna().sum())
        if unreadable:
            found.append(Figure("unreadable_masks", unreadable / len(mine), len(mine), split, group))
        mine = mine[mine["problem"].isna()]
        found += [Figure(**figure, split=split, group=group) for figure in _segmentation(mine)]
    return found


def _classification(images: pd.DataFrame, specificities: Sequence[float]) -> Iterator[dict[str, Any]]:
    for label, prefix in PREFIXES.items():
        rows = images[images[label].notna() & images[f"p_{label}"].notna()]
        scores, labels = rows[f"p_{label}"].to_numpy(np.float32), rows[label].to_numpy(np.int8)
        positives = int((labels == 1).sum())
        yield {"metric": f"{prefix}auroc", "value": metrics.auroc(scores, labels), "n": len(rows)}
        yield {"metric": f"{prefix}eer", "value": metrics.eer(scores, labels), "n": len(rows)}
        for specificity in specificities:
            value = metrics.sensitivity_at_specificity(scores, labels, specificity)
            yield {"metric": f"{prefix}sensitivity_at_specificity", "at": specificity, "value": value, "n": positives}
        rows = rows[rows[f"{label}_flag"].notna()]  # null where the operating point has no such threshold
        flagged, labels = rows[f"{label}_flag"].astype(bool).to_numpy(), rows[label].to_numpy(np.int8)
        names = rows["operating_point"].unique()
        point = names[0] if len(names) == 1 else None
        for metric, hits, count in (
            ("sensitivity_at_operating_point", int((flagged & (labels == 1)).sum()), int((labels == 1).sum())),
            ("specificity_at_operating_point", int((~flagged & (labels == 0)).sum()), int((labels == 0).sum())),
        ):
            yield {"metric": f"{prefix}{metric}", "at": point, **_proportion(hits, count)}


def _proportion(hits: int, count: int) -> dict[str, Any]:
    """A share with its 95% Wilson interval; nulls where there is nothing to count."""
    if not count:
        return {"value": None, "n": 0}
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return {"value": hits / count, "n": count, "low": float(interval.low), "high": float(interval.high)}


def segmentation_counts(images: pd.DataFrame, lungs: Literal["pixels", "boxes"] = "pixels") -> pd.DataFrame:
    """Pixels of each image with a true mask: predicted and true, over the pixels whose truth is known.

    Columns: image_id, task (lung or disease), hits, predicted, true, and problem: why the true mask could not be read,
    or null. Truth is brought to the frame of the predictions; `lungs` as `comit_ray.config.MasksConfig` has it.
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
    return pd.DataFrame(counts, columns=["image_id", "task", "hits", "predicted", "true", "problem"])


def _segmentation(counts: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Lung IoU as the mean over images; disease figures pooled over pixels, as the paper's TPR is."""
    lung = counts[counts["task"] == "lung"]
    union = lung["predicted"] + lung["true"] - lung["hits"]
    per_image = (lung["hits"] / union)[union > 0]
    yield {"metric": "lung_iou", "value": float(per_image.mean()) if len(per_image) else None, "n": len(per_image)}
    disease = counts[counts["task"] == "disease"]
    hits, predicted, true = (int(disease[name].sum()) for name in ("hits", "predicted", "true"))
    for metric, part, whole in (
        ("disease_tpr", hits, true),
        ("disease_precision", hits, predicted),
        ("disease_dice", 2 * hits, predicted + true),
    ):
        yield {"metric": metric, "value": part / whole if whole else None, "n": len(disease)}
