"""Compares two models on the same images: the difference, and whether it could be chance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.config.config_base import SPECIFICITY
from comit_ray.errors import Status
from comit_ray.evaluation.classification import PREFIXES
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.report.printing import interval, number
from comit_ray.evaluation.study.study_words import p_value
from comit_ray.statistics.comparison import Comparison, compare_auroc, compare_flags, compare_ranked, holm

SIGNIFICANT = 0.05
"""Of the adjusted p."""


@dataclass(frozen=True)
class Difference:
    """One figure of both.

    Args:
        metric: its name, as in metrics.json.
        at: the specificity it is at; None for the area, and for the frozen operating points.
        result: first is the screen that is scored, second the other.
    """

    metric: str
    at: float | None
    result: Comparison


def compare(images: pd.DataFrame, others: pd.DataFrame, draws: int, seed: int) -> list[Difference]:
    """The figures of both scores over the images that both have scored, corrected by Holm's method over all.

    AUROC, sensitivity at 90% specificity, and sensitivity and specificity at the frozen operating point of each.

    Args:
        images: of `comit_ray.evaluation.screen_metrics.join_tables`, of the screen that is scored.
        others: of the other screen: the same images in the same order.
        draws: of the bootstrap, and of the exchange of patients.
        seed: of the draws.
    """
    assert images["image_id"].tolist() == others["image_id"].tolist(), "both are joined to one split of one manifest"
    found = []
    for label, prefix in PREFIXES.items():
        ranked = _both(images, others, label, f"p_{label}")
        known, patients = images[label][ranked].to_numpy(np.int8), images["patient_id"][ranked]
        one, other = (rows[f"p_{label}"][ranked].to_numpy(np.float32) for rows in (images, others))
        found.append(Difference(f"{prefix}auroc", None, compare_auroc(one, other, known, patients, draws, seed)))
        result = compare_ranked(one, other, known, patients, lambda rates: rates.sensitivity(SPECIFICITY), draws, seed)
        found.append(Difference(f"{prefix}sensitivity_at_specificity", SPECIFICITY, result))
        flagged = _both(images, others, label, f"{label}_flag")
        for metric, kind in (("sensitivity", 1), ("specificity", 0)):
            chosen = flagged & (images[label] == kind).to_numpy(bool)
            flags = [rows[f"{label}_flag"][chosen].to_numpy(bool) == bool(kind) for rows in (images, others)]
            result = compare_flags(flags[0], flags[1], images["patient_id"][chosen], draws, seed)
            found.append(Difference(f"{prefix}{metric}_at_operating_point", None, result))
    adjusted = holm([one.result for one in found])
    return [replace(one, result=result) for one, result in zip(found, adjusted, strict=True)]


def table(differences: Sequence[Difference]) -> Table:
    """The comparison as a table; figures that neither can be judged by are left out."""
    rows = []
    for one in differences:
        result = one.result
        if result.first is None or result.second is None or result.difference is None:
            continue
        ends = f"none: {result.reason}"
        if result.low is not None and result.high is not None:
            ends = interval(result.low, result.high)
        values = (number(result.first), number(result.second), number(result.difference), ends)
        p_values = (p_value(result.p_value), p_value(result.adjusted))
        rows.append(
            (one.metric, "" if one.at is None else str(one.at), *values, *p_values, result.method, f"{result.n:,}")
        )
    columns = (
        *("figure", "at", "scored", "compared with", "difference", "95% interval", "p", "adjusted p"),
        *("method of p", "images"),
    )
    note = (
        "Over the images that both have judged. Intervals are of bootstrap draws of patients, or DeLong's where the p "
        "is. p is corrected by Holm's method for all rows. At an operating point each model has its own threshold: a "
        "difference in sensitivity alone may be one of thresholds; read specificity beside it."
    )
    return Table("Compared with another screen, image by image", columns, tuple(rows), note)


def sentences(differences: Sequence[Difference], images: pd.DataFrame, others: pd.DataFrame) -> list[str]:
    """Which differences are more than chance, and what was left out of the comparison."""
    tested = [one for one in differences if one.result.adjusted is not None]
    if not tested:
        why = "; ".join(dict.fromkeys(one.result.reason for one in differences if one.result.reason))
        return [f"The two screens cannot be compared: {why}."]
    apart = [one for one in tested if one.result.adjusted is not None and one.result.adjusted < SIGNIFICANT]
    models = " and ".join(_model(rows) for rows in (images, others))
    if apart:
        said = "; ".join(_said(one) for one in apart)
        found = [f"Compared with another screen ({models}), after correction for {len(tested)} comparisons: {said}."]
    else:
        smallest = min(one.result.adjusted for one in tested if one.result.adjusted is not None)
        none = f"cannot be told apart by any of {len(tested)} figures (smallest adjusted p {p_value(smallest)})"
        found = [f"The two screens ({models}) {none}. That they are alike is not shown either."]
    alone = [int(((a["status"] == Status.OK) & (b["status"] != Status.OK)).sum()) for a, b in _orders(images, others)]
    if any(alone):
        found.append(
            f"{alone[0]:,} images were scored by this screen alone, and {alone[1]:,} by the other alone: they are in "
            "no comparison."
        )
    return found


def _both(images: pd.DataFrame, others: pd.DataFrame, label: str, column: str) -> npt.NDArray[np.bool_]:
    """(N,) whether the label is known, and both have scored the image and have the column."""
    known = images[label].notna()
    for rows in (images, others):
        known &= ((rows["status"] == Status.OK) & rows[column].notna()).to_numpy(bool)
    return known.to_numpy(bool)


def _orders(images: pd.DataFrame, others: pd.DataFrame) -> tuple[tuple[pd.DataFrame, pd.DataFrame], ...]:
    return ((images, others), (others, images))


def _model(images: pd.DataFrame) -> str:
    names = sorted(images["model_id"].dropna().unique())
    return f"model {', '.join(names)}" if names else "model not named"


def _said(one: Difference) -> str:
    result = one.result
    assert result.difference is not None
    at = "" if one.at is None else f" at {one.at}"
    word = "higher" if result.difference > 0 else "lower"
    return f"{one.metric}{at} is {number(abs(result.difference))} {word} here, adjusted p {p_value(result.adjusted)}"
