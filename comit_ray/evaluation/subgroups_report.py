"""Tables and sentences about subgroups: whether two differ by more than chance, given many comparisons."""

import math
from collections.abc import Sequence
from itertools import product

import pandas as pd

from comit_ray.evaluation.classification import NAMES, PREFIXES
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.report.printing import with_interval
from comit_ray.evaluation.subgroups import (
    ATTRIBUTES,
    AUROC,
    SENSITIVITY_METRIC,
    SHARE_FLAGGED,
    SPECIFICITY_METRIC,
    SUPPRESSED,
    compared,
    divided,
)
from comit_ray.statistics.metric import Metric
from comit_ray.tables.vocabulary import counted

COLUMNS = {
    AUROC: "AUROC",
    SENSITIVITY_METRIC: "sensitivity",
    SPECIFICITY_METRIC: "specificity",
    SHARE_FLAGGED: "share flagged",
}
BY_CHANCE = 0.0056
"""How often the 95% intervals of two equal groups with equally exact estimates do not overlap: their difference then
exceeds 2 * 1.96 / sqrt(2) of its standard errors."""


def tables(images: pd.DataFrame, found: Sequence[Metric], minimum: int) -> dict[str, Table]:
    """The tables `by_sex`, `by_age` and so on: a row for each score and group.

    Args:
        images: result of `screen_metrics.join_tables`.
        found: result of `subgroups.subgroup_metrics`.
        minimum: the fewest patients.
    """
    by_place = {(metric.group, metric.metric): metric for metric in found}
    made = {}
    for attribute, groups in divided(images).items():
        rows: list[tuple[str, ...]] = []
        shown: list[Metric] = []
        known = groups.sizes()
        for prefix, name in ((PREFIXES[label], NAMES[label]) for label in PREFIXES):
            for group, (images_of, people_of) in known.items():
                metrics = [by_place[group, f"{prefix}{m}"] for m in COLUMNS if (group, f"{prefix}{m}") in by_place]
                if metrics:
                    shown += metrics
                    sizes = (f"{images_of:,}", f"{people_of:,}")
                    rows.append((name, group.partition("=")[2], *sizes, *map(_cell, metrics)))
        if rows:
            columns = ("score", attribute, "images", "patients", *COLUMNS.values())
            made[f"by_{attribute}"] = Table(f"By {attribute}", columns, tuple(rows), _note(shown, minimum))
    return made


ENOUGH = "subgroups"
"""Name of the table that a report shows; the tables by attribute have every group, and are in tables/."""


def enough(images: pd.DataFrame, found: Sequence[Metric]) -> dict[str, Table]:
    """The table `subgroups`: a row for each score and group with a metric of enough patients, without datasets.

    Args:
        images: result of `screen_metrics.join_tables`.
        found: result of `subgroups.subgroup_metrics`.
    """
    by_place = {(metric.group, metric.metric): metric for metric in found}
    rows = []
    for label, (attribute, groups) in product(PREFIXES, divided(images).items()):
        for group, (images_of, people_of) in groups.sizes().items() if attribute != "dataset" else ():
            metrics = [by_place.get((group, f"{PREFIXES[label]}{name}")) for name in COLUMNS]
            known = [metric for metric in metrics if metric is not None and metric.value is not None]
            if known:
                cells = ["-" if one not in known else _cell(one) for one in metrics]
                where = f"{attribute} {group.partition('=')[2]}"
                rows.append((NAMES[label], where, f"{images_of:,} of {people_of:,}", *cells))
    columns = ("score", "group", "images of patients", *COLUMNS.values())
    note = "Scored images, in groups with enough patients. The share flagged needs no label."
    return {ENOUGH: Table("Subgroups", columns, tuple(rows), note)} if rows else {}


def sentences(images: pd.DataFrame, found: Sequence[Metric], minimum: int) -> list[str]:
    """For each score, the largest difference between two groups beyond chance, or that no difference is shown.

    Args:
        images: result of `screen_metrics.join_tables`.
        found: result of `subgroups.subgroup_metrics`.
        minimum: the fewest patients.
    """
    groups = divided(images)
    looked_by = [attribute for attribute in ATTRIBUTES if attribute in groups]
    if not looked_by:
        return [
            "There are no subgroups: sex, age, view, dataset, site and device are unknown, or the same for all images."
        ]
    by = f"by {', '.join(looked_by)}"
    not_by = [attribute for attribute in ATTRIBUTES if attribute not in looked_by]
    unknown = (
        f" Not compared, because it is not known or the same for all images: {', '.join(not_by)}." if not_by else ""
    )
    suppressed = sum((metric.reason or "").startswith(SUPPRESSED) for metric in found)
    said = [_compared(label, found, by) for label in PREFIXES if _has(found, label)]
    if not said:
        return []
    few = (
        f"Suppressed because they have fewer than {minimum} patients: {suppressed:,} of "
        f"{counted(len(found), 'metric')} of subgroups."
    )
    return [*said, f"{few}{unknown}"]


def _compared(label: str, found: Sequence[Metric], by: str) -> str:
    """The sentence about the differences of one score.

    A difference is claimed for an attribute only if more pairs differ than chance alone would give in as many
    comparisons.
    """
    by_attribute = compared(found, label)
    pairs = sum(count for _, count in by_attribute.values())
    name = NAMES[label]
    if not pairs:
        return f"{name} {by}: no two groups have enough patients for a comparison."
    looked = f"{counted(pairs, 'comparison')} of two groups ({by})"
    apart = sum(len(gaps) for gaps, _ in by_attribute.values())
    if not apart:
        return (
            f"{name}: in {looked} all intervals overlap, so that no difference is shown. This does not show that there "
            "is none."
        )
    said = f"{name}: in {apart:,} of {looked} the intervals do not overlap"
    claimed = [gap for gaps, count in by_attribute.values() if len(gaps) > BY_CHANCE * count for gap in gaps]
    if not claimed:
        chance = math.ceil(10 * BY_CHANCE * pairs) / 10
        return f"{said}, no more often than by chance alone (about {chance:.1f}), so that no difference is shown."
    largest = max(claimed, key=lambda gap: gap.size)
    attribute = largest.high.group.partition("=")[0]
    gaps, count = by_attribute[attribute]
    what = COLUMNS[largest.high.metric.removeprefix(PREFIXES[label])]
    return (
        f"{said}. The largest difference beyond chance is in {what} by {attribute}: {with_interval(largest.high)} for "
        f"{largest.high.group} and {with_interval(largest.low)} for {largest.low.group} (by {attribute}, {len(gaps):,} "
        f"of {counted(count, 'comparison')}; by chance alone about {math.ceil(10 * BY_CHANCE * count) / 10:.1f}). The "
        "groups may differ in how ill the patients are, and in where the images come from."
    )


def _has(found: Sequence[Metric], label: str) -> bool:
    return any(metric.metric == f"{PREFIXES[label]}{AUROC}" for metric in found)


def _cell(metric: Metric) -> str:
    if (metric.reason or "").startswith(SUPPRESSED):
        return f"{SUPPRESSED} (n={metric.n:,})"
    return f"{with_interval(metric)} (n={metric.n:,})"


def _note(shown: Sequence[Metric], minimum: int) -> str:
    suppressed = sum((metric.reason or "").startswith(SUPPRESSED) for metric in shown)
    undefined = dict.fromkeys(
        metric.reason for metric in shown if metric.value is None and not (metric.reason or "").startswith(SUPPRESSED)
    )
    return (
        f"Scored images. Suppressed: {suppressed:,} of {counted(len(shown), 'metric')}, because they have fewer than "
        f"{minimum} patients with a positive image (sensitivity), with a negative image (specificity), of each kind "
        "(AUROC), or with a flag (share flagged). The share flagged needs no label. The mark w stands for Wilson's "
        "interval; intervals without a mark come from bootstrap draws of patients."
        + "".join(f" Undefined: {reason}." for reason in undefined if reason)
    )
