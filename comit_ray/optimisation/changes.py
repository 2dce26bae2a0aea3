"""Compares scores, ranking, flags and masks of the same images between a model and its optimised form."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from comit_ray.checkpoint.operating_points import Document
from comit_ray.config.optimise_config import BoundsConfig
from comit_ray.inference.scores import Scores
from comit_ray.statistics import roc
from comit_ray.tables.vocabulary import Task

Labels = Mapping[str, npt.NDArray[np.int8]]
"""Score -> (N,) labels 1, 0, or -1 if unknown."""


def measure(was: Scores, now: Scores, was_points: Document, now_points: Document, labels: Labels) -> dict[str, Any]:
    """Measures the differences; a metric is None if it is undefined.

    Args:
        was: scores of the N validation images from PyTorch in float32.
        now: scores of the same images from the optimised model.
        was_points: thresholds of the checkpoint.
        now_points: thresholds chosen from `now`.
        labels: labels of the images.

    Returns:
        `images`; `not_finite`, the number of images for which only `now` has no finite numbers; per score `score_p99`,
        `score_max`, `auroc`, `auroc_before`; per operating point and score `flags_changed` (share of the images); per
        mask `<task>_iou`, the mean over images where either model draws something, and `<task>_iou_p05`.
    """
    both = was.finite & now.finite
    found: dict[str, Any] = {"images": len(was), "not_finite": int((was.finite & ~now.finite).sum())}
    found |= {"score_p99": {}, "score_max": {}, "auroc": {}, "auroc_before": {}, "flags_changed": {}}
    for score, before_N in was.probabilities.items():
        after_N, known = now.probabilities[score], both & (labels[score] >= 0)
        apart_N = np.abs(after_N[both].astype(np.float64) - before_N[both])
        found["score_p99"][score] = float(np.quantile(apart_N, 0.99)) if both.any() else None
        found["score_max"][score] = float(apart_N.max(initial=0))
        found["auroc"][score] = roc.auroc(after_N[known], labels[score][known])
        found["auroc_before"][score] = roc.auroc(before_N[known], labels[score][known])
    for point, chosen in now_points.items():
        for score, threshold in chosen.items():
            before = was_points.get(point, {}).get(score)
            if before is None or before.threshold is None or threshold.threshold is None or not both.any():
                continue
            one = was.probabilities[score][both].astype(np.float64) >= before.threshold
            other = now.probabilities[score][both].astype(np.float64) >= threshold.threshold
            found["flags_changed"][f"{point} {score}"] = float(np.mean(one != other))
    for task in was.masks:
        iou_N = _iou(was, now, task, both)
        found[f"{task}_iou"] = float(iou_N.mean()) if len(iou_N) else None
        found[f"{task}_iou_p05"] = float(np.quantile(iou_N, 0.05)) if len(iou_N) else None
    return found


def _iou(was: Scores, now: Scores, task: Task, both: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Returns the IoU of each image where either model draws something."""
    one, other = was.take(both).mask_BHW(task), now.take(both).mask_BHW(task)
    assert one is not None
    assert other is not None, "both models have the same heads"
    union_N = (one | other).sum(axis=(1, 2))
    drawn = union_N > 0
    iou_N: npt.NDArray[np.float64] = (one & other).sum(axis=(1, 2))[drawn] / union_N[drawn]
    return iou_N


def beyond(found: Mapping[str, Any], bounds: BoundsConfig) -> list[str]:
    """Returns one sentence for each metric that is worse than the bounds allow; empty if none is."""
    said = []
    if found["not_finite"]:
        said.append(f"{found['not_finite']} images have no finite scores any more")
    for score, apart in found["score_p99"].items():
        if apart is not None and apart > bounds.score:
            said.append(f"p_{score} differs by {apart:.4f} at the 99th percentile, at most {bounds.score:g} is allowed")
    for score, before in found["auroc_before"].items():
        after = found["auroc"][score]
        if before is not None and (after is None or before - after > bounds.auroc):
            said.append(f"AUROC of {score} falls from {before:.4f} to {after}, at most {bounds.auroc:g} may be lost")
    for flag, share in found["flags_changed"].items():
        if share > bounds.flags:
            said.append(f"{share:.2%} of the flags at {flag} differ, at most {bounds.flags:.2%} may")
    for task, least in ((Task.LUNG, bounds.lung_iou), (Task.DISEASE, bounds.disease_iou)):
        iou = found.get(f"{task}_iou")
        if iou is not None and iou < least:
            said.append(f"the two {task} masks have a mean IoU of {iou:.3f}, at least {least:g} is wanted")
    return said


def lines(name: str, found: Mapping[str, Any], speed: float) -> list[str]:
    """Returns the differences as lines of text."""
    said = [f"{name}: {speed:.2f} times PyTorch in float32, on {found['images']:,} validation images:"]
    for score, apart in found["score_p99"].items():
        auroc, before = (_shown(found[key][score]) for key in ("auroc", "auroc_before"))
        said.append(
            f"  p_{score}: differs by {_shown(apart)} at the 99th percentile, {found['score_max'][score]:.4f} at most; "
            f"AUROC {before} -> {auroc}"
        )
    said += [f"  flags at {flag}: {share:.2%} differ" for flag, share in found["flags_changed"].items()]
    for task in (Task.LUNG, Task.DISEASE):
        if f"{task}_iou" in found:
            iou, low = _shown(found[f"{task}_iou"]), _shown(found[f"{task}_iou_p05"])
            said.append(f"  {task} masks: mean IoU {iou} between the two, {low} at the 5th percentile")
    return said


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
