"""Names of metrics in words, for readers; `metrics.json` has the code names."""

from comit_ray.statistics.metric import Metric

STORED, HERE = "stored threshold", "threshold from these images"
_RATES = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
}
_WORDS = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "eer": "equal error rate",
    "covid_called_unhealthy": "COVID-19 images flagged unhealthy",
    "specificity_at_sensitivity": f"specificity, {HERE}",
    "share": "share of images",
    "share_flagged_at_operating_point": f"share flagged, {STORED}",
    "missed_read": "missed images that were read",
    "missed_without_abnormality": "missed images in which readers saw no abnormality",
    "sensitivity_with_unscored_missed": "sensitivity if images without a score count as missed",
    "lung_iou": "lungs: mean IoU",
    "lung_iou_pooled": "lungs: IoU over all pixels",
    "lung_dice": "lungs: mean Dice",
    "disease_tpr": "disease: true positive rate",
    "disease_precision": "disease: precision",
    "disease_dice": "disease: Dice",
    "disease_iou": "disease: IoU",
    "disease_area_on_healthy": "healthy images: share of the frame outlined as disease",
    "disease_painted_on_healthy": "share of healthy images with disease outlined",
    "auroc_source_alone": "AUROC of the source alone",
    "auroc_full": "AUROC, unaltered images",
    "auroc_lungs_removed": "AUROC, lungs blacked out",
    "auroc_lungs_only": "AUROC, lungs alone",
    "auroc_borders_cropped": "AUROC, borders blacked out",
    "source_told": "source recognised from embeddings: balanced accuracy",
    "source_told_without_covid": "source recognised without COVID-19 images: balanced accuracy",
    "auroc_left_out": "AUROC, linear probe fitted without the source",
    "auroc_kept": "AUROC, linear probe fitted with the source",
    "gradcam_in_lungs": "share of the heat map in the lungs",
    "lungs_of_the_frame": "share of the frame that is lung",
    **{f"{name}_at_specificity": f"{word}, {HERE}" for name, word in _RATES.items()},
    **{f"{name}_at_operating_point": f"{word}, {STORED}" for name, word in _RATES.items()},
}


def metric_in_words(name: str) -> str:
    """The name of a metric in words; an unknown name gets spaces instead of underscores."""
    found = _WORDS.get(name)
    if found is None and name.startswith("unhealthy_"):
        found = _WORDS.get(name.removeprefix("unhealthy_"))
    return found or name.replace("_", " ")


def at_in_words(name: str, at: float | str | None) -> str:
    """The condition of a metric in words: `90% specificity`, the name of an operating point, or nothing."""
    if at is None:
        return ""
    if isinstance(at, str):
        return at
    return f"{100 * at:.4g}% {'sensitivity' if name.endswith('at_sensitivity') else 'specificity'}"


def group_in_words(group: str) -> str:
    """`all images`, or the name of the source if the metric counts its images alone."""
    return "all images" if group == "all" else f"{group.removeprefix('dataset=')} alone"


def groups_shown(metrics: list[Metric]) -> list[str]:
    """The groups that are columns of a table.

    A single source is left out, because its column would repeat that of all images.
    """
    groups = list(dict.fromkeys(metric.group for metric in metrics))
    sources = [group for group in groups if group.startswith("dataset=")]
    return [group for group in groups if group not in sources] if "all" in groups and len(sources) == 1 else groups
