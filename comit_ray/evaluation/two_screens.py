"""Compares two models on the same images: the differences, and whether chance could explain them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.errors import Status
from comit_ray.evaluation.classification import PREFIXES
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.report.metric_words import at_in_words, metric_in_words
from comit_ray.evaluation.report.printing import interval, number
from comit_ray.evaluation.study.study_words import p_value
from comit_ray.statistics.comparison import Comparison, compare_auroc, compare_flags, compare_ranked, holm
from comit_ray.tables.vocabulary import SPECIFICITY, counted

SIGNIFICANT = 0.05
"""A difference counts as significant if its adjusted p-value is below this."""


@dataclass(frozen=True)
class Difference:
    """One metric of both screens.

    Args:
        metric: name of the metric, as in metrics.json.
        at: the specificity of the metric; None for AUROC, and for the stored operating points.
        result: the comparison; first is this screen, second the other one.
    """

    metric: str
    at: float | None
    result: Comparison


def compare(images: pd.DataFrame, others: pd.DataFrame, draws: int, seed: int) -> list[Difference]:
    """Compares both scores over the images that both screens scored, corrected by Holm's method over all metrics.

    The metrics are AUROC, sensitivity at 90% specificity, and sensitivity and specificity at each screen's operating
    point.

    Args:
        images: result of `screen_metrics.join_tables` for this screen.
        others: the same for the other screen, with the same images in the same order; of its columns,
            `labelled_images.COMPARED` are needed.
        draws: number of draws of the bootstrap and of the exchange of patients.
        seed: seed of the draws.
    """
    assert images.index.equals(others.index), "both are joined to one split of one manifest, in its order"
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
    """The comparison as a table, without metrics that are undefined for either screen.

    Args:
        differences: result of `compare`.
    """
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
            (
                *(_name(one.metric), at_in_words(one.metric, one.at), *values, *p_values),
                *(result.method, f"{result.n:,}"),
            )
        )
    columns = (
        *("metric", "at", "this screen", "other screen", "difference", "95% interval", "p", "adjusted p"),
        *("method of p", "images"),
    )
    note = (
        "Metrics over the images that both screens scored. Intervals come from bootstrap draws of patients; if p is "
        "DeLong's, so is the interval. The adjusted p is corrected by Holm's method over all rows. At an operating "
        "point each model has its own threshold, so that a difference in sensitivity alone may come from the "
        "thresholds: read specificity with it."
    )
    return Table("Comparison with another screen, image by image", columns, tuple(rows), note)


def sentences(differences: Sequence[Difference], images: pd.DataFrame, others: pd.DataFrame) -> list[str]:
    """Sentences that say which differences are significant, and which images are not compared.

    Args:
        differences: result of `compare`.
        images: result of `screen_metrics.join_tables` for this screen.
        others: the same for the other screen.
    """
    tested = [one for one in differences if one.result.adjusted is not None]
    if not tested:
        why = "; ".join(dict.fromkeys(one.result.reason for one in differences if one.result.reason))
        return [f"The two screens cannot be compared: {why}."]
    apart = [one for one in tested if one.result.adjusted is not None and one.result.adjusted < SIGNIFICANT]
    models = " and ".join(_model(rows) for rows in (images, others))
    if apart:
        said = "; ".join(_said(one) for one in apart)
        found = [
            (
                f"This screen differs significantly from the other one ({models}) after correction for "
                f"{counted(len(tested), 'comparison')}: {said}."
            )
        ]
    else:
        smallest = min(one.result.adjusted for one in tested if one.result.adjusted is not None)
        least = f"smallest adjusted p {p_value(smallest)}"
        none = f"differ significantly in none of {counted(len(tested), 'metric')} ({least})"
        found = [f"The two screens ({models}) {none}. This does not show that they are alike either."]
    alone = [int(((a["status"] == Status.OK) & (b["status"] != Status.OK)).sum()) for a, b in _orders(images, others)]
    if any(alone):
        found.append(
            f"Images that only this screen scored: {alone[0]:,}; that only the other screen scored: {alone[1]:,}. They "
            "are in no comparison."
        )
    return found


def _both(images: pd.DataFrame, others: pd.DataFrame, label: str, column: str) -> npt.NDArray[np.bool_]:
    """(N,) whether the label is known, and both screens scored the image and have a value in the column."""
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
    at = "" if one.at is None else f" at {at_in_words(one.metric, one.at)}"
    word = "higher" if result.difference > 0 else "lower"
    name, _, threshold = _name(one.metric).partition(", ")
    return (
        f"{name}{at}{f' ({threshold})' if threshold else ''} is {number(abs(result.difference))} {word} in this screen "
        f"(adjusted p {p_value(result.adjusted)})"
    )


def _name(metric: str) -> str:
    """The name of a metric in words; metrics of the unhealthy score say so."""
    return f"{'unhealthy: ' if metric.startswith('unhealthy_') else ''}{metric_in_words(metric)}"
