"""The chief figures of a trial, from the tables it left: the columns of `trials` that analysts sort by."""

import numpy as np
import pandas as pd

from comit_ray.config.data_config import MasksConfig
from comit_ray.errors import Status
from comit_ray.evaluation.segmentation import segmentation_counts
from comit_ray.statistics import roc


def of(images: pd.DataFrame, masks: MasksConfig) -> dict[str, float | None]:
    """AUROC, EER and sensitivities of COVID-19, AUROC of unhealthy, lung IoU, disease TPR and precision.

    What the model has no head for, or the images no truth, is None. Intervals are the report's (`jobs/evaluate.py`).

    Args:
        images: of `comit_ray.evaluation.scores.join_tables`.
        masks: which true masks, as the model was trained.
    """
    scored = images[images["status"] == Status.OK]
    covid, unhealthy = (_known(scored, label) for label in ("covid", "unhealthy"))
    counts = segmentation_counts(scored, masks.lungs)
    counts = counts[counts["problem"].isna()]
    lung, disease = (counts[counts["task"] == task] for task in ("lung", "disease"))
    union = lung["predicted"] + lung["true"] - lung["hits"]
    ious = (lung["hits"] / union)[union > 0]
    hits, predicted, true = (int(disease[name].sum()) for name in ("hits", "predicted", "true"))
    return {
        "auroc": roc.auroc(*covid),
        "eer": roc.eer(*covid),
        "sensitivity_at_90": roc.sensitivity_at_specificity(*covid, 0.90),
        "sensitivity_at_99": roc.sensitivity_at_specificity(*covid, 0.99),
        "unhealthy_auroc": roc.auroc(*unhealthy),
        "lung_iou": float(ious.mean()) if len(ious) else None,
        "disease_tpr": hits / true if true else None,
        "disease_precision": hits / predicted if predicted else None,
    }


def _known(images: pd.DataFrame, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of the images that have both."""
    rows = images[images[label].notna() & images[f"p_{label}"].notna()]
    return rows[f"p_{label}"].to_numpy(np.float32), rows[label].to_numpy(np.int8)
