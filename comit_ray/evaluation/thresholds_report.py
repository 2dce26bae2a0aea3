"""Tables and sentences about every threshold, and the reading work at the stored operating point."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from comit_ray.evaluation.classification import NAMES, PREFIXES
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.report.printing import number, three_digits, with_interval
from comit_ray.evaluation.thresholds import FLAGGED, MOST, Scale, ThresholdRow
from comit_ray.statistics.metric import Metric
from comit_ray.tables.vocabulary import counted

TITLES = {
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "sent": "share of images sent to readers",
    "sent_per_case": "images sent per case found",
}
GIVEN = (
    "All thresholds were fixed in advance, and the intervals assume this. If you choose a threshold here because of "
    "its result, measure it again on other images. Not flagged is not normal."
)
WILSONS = (
    "The mark w stands for Wilson's interval; intervals of sensitivity and specificity without a mark come from "
    "bootstrap draws of patients."
)
DERIVED = "The intervals of values computed from sensitivity and specificity are computed from their intervals (MOVER)."
NO_POINT = "not shown, because there are no flags, flags of several operating points, or flags that no threshold gives"
PREDICTIVE = (
    "The positive predictive value at a prevalence is the share of flagged images that are positive if that share of "
    "all images is positive."
)
AS_HERE = "provided that positives and negatives there are of the same kinds as here"


def tables(label: str, rows: Sequence[ThresholdRow], thresholds: Scale, minimum: int) -> dict[str, Table]:
    """The tables `thresholds` for the report, `thresholds_all` for tables/, and `prevalence` with an operating point.

    Tables for `unhealthy` have its prefix. There are none if no image has a label and a score.

    Args:
        label: `covid` or `unhealthy`.
        rows: result of `thresholds.rows`.
        thresholds: result of `thresholds.scale`.
        minimum: the fewest patients of each class in a group.
    """
    if not thresholds.distinct:
        return {}
    prefix = PREFIXES[label]
    found = {
        f"{prefix}thresholds": _short(label, rows, thresholds, minimum),
        f"{prefix}thresholds_all": _whole(label, rows),
    }
    frozen = [row for row in rows if row.group == "all" and row.point is not None]
    if frozen:
        found[f"{prefix}prevalence"] = _prevalence(label, frozen[0])
    return found


def prevalence_metrics(label: str, rows: Sequence[ThresholdRow]) -> list[Metric]:
    """The metrics of the stored operating point at each prevalence, for every group, for metrics.json."""
    found = []
    for row in rows:
        for prevalence, mine in row.at_prevalence.items() if row.point is not None else ():
            found += [
                replace(
                    metric,
                    metric=f"{PREFIXES[label]}{name}_at_operating_point",
                    at=f"{row.point} at prevalence {prevalence:g}",
                )
                for name, metric in mine.items()
            ]
    return found


def reading() -> list[str]:
    """Sentences that explain the tables of every score."""
    return [f"{PREDICTIVE} {WILSONS} {DERIVED}", GIVEN]


def sentences(label: str, rows: Sequence[ThresholdRow]) -> list[str]:
    """The reading work at the stored operating point, at the lowest and the highest prevalence."""
    frozen = next((row for row in rows if row.group == "all" and row.point is not None), None)
    if frozen is None or not frozen.at_prevalence:
        return []
    told = []
    for prevalence in sorted({min(frozen.at_prevalence), max(frozen.at_prevalence)}):
        mine = frozen.at_prevalence[prevalence]
        if mine["sent"].value is not None:
            per_case = mine["sent_per_case"]
            read = (
                "and no case would be found"
                if per_case.value is None
                else f"that is {with_interval(per_case)} images for each case found (positive predictive value "
                f"{with_interval(mine['ppv'])})"
            )
            told.append(
                f"if {_percent(prevalence)} of the images are positive, a share of {with_interval(mine['sent'])} would "
                f"go to readers, {read}"
            )
    if not told:
        return []
    return [f"{NAMES[label]} at the operating point {frozen.point}, {AS_HERE}: {'; '.join(told)}."]


def _short(label: str, rows: Sequence[ThresholdRow], thresholds: Scale, minimum: int) -> Table:
    """The table of the thresholds of `Scale.short` over all images: sensitivity, specificity and predictive values."""
    chosen = {float(threshold) for threshold in thresholds.short}
    mine = [row for row in rows if row.group == "all" and row.threshold in chosen]
    asked = sorted(mine[0].at_prevalence) if mine else []
    prevalences = sorted({asked[0], asked[-1]}) if asked else []
    cells = []
    for row in mine:
        assert row.sensitivity is not None
        assert row.specificity is not None
        values = [row.at_prevalence[prevalence]["ppv"] for prevalence in prevalences]
        cells.append(
            (
                "" if row.threshold is None else three_digits(row.threshold),
                row.point or "",
                *(with_interval(metric) for metric in (row.sensitivity, row.specificity, *values)),
            )
        )
    columns = (
        *("threshold", "operating point", "sensitivity", "specificity"),
        *(f"positive predictive value at {_percent(prevalence)}" for prevalence in prevalences),
    )
    shares = ", ".join(_percent(share) for share in FLAGGED)
    counts = ""
    if mine and mine[0].sensitivity is not None and mine[0].specificity is not None:
        counts = f"Measured on {mine[0].sensitivity.n:,} positive and {mine[0].specificity.n:,} negative images. "
    every = thresholds.short.size == thresholds.all.size
    which = "every different score" if every else f"the lowest that flag at most {shares} of these images"
    point = f" Operating point: {NO_POINT if thresholds.point is None else thresholds.point.origin}."
    note = f"{counts}Thresholds: {which}.{point} {_more(label, thresholds, minimum)}"
    return Table(f"Thresholds: {NAMES[label]}", columns, tuple(cells), note)


def _prevalence(label: str, row: ThresholdRow) -> Table:
    cells = [
        (_percent(prevalence), *(with_interval(mine[name]) for name in TITLES))
        for prevalence, mine in sorted(row.at_prevalence.items())
    ]
    title = f"Reading work at the operating point {row.point}: {NAMES[label]}"
    return Table(title, ("prevalence", *TITLES.values()), tuple(cells))


def _more(label: str, thresholds: Scale, minimum: int) -> str:
    """The sentence about the further metrics in tables/."""
    scores = counted(thresholds.distinct, "different score")
    taken = scores if thresholds.distinct <= MOST else f"{MOST} of {scores}, evenly by rank"
    return (
        f"tables/{PREFIXES[label]}thresholds_all.csv has all metrics at {counted(thresholds.all.size, 'threshold')} "
        f"({taken}). It also has the thresholds of this table by dataset, site and view, for groups with at least "
        f"{minimum} patients of each class; smaller groups are suppressed there, with the reason."
    )


def _whole(label: str, rows: Sequence[ThresholdRow]) -> Table:
    """A row for each group, threshold and prevalence; the ends of intervals have columns of their own."""
    names = ("sensitivity", "specificity", *TITLES)
    columns = (
        *("images", "threshold", "operating point", "prevalence", "positives", "negatives"),
        *(f"{name}{end}" for name in names for end in ("", "_low", "_high")),
        *("interval of sensitivity", "interval of specificity", "reason"),
    )
    cells: list[tuple[str, ...]] = []
    for row in rows:
        if row.sensitivity is None or row.specificity is None:
            cells.append((row.group, *[""] * (len(columns) - 2), row.reason or ""))
            continue
        for prevalence, mine in sorted(row.at_prevalence.items()):
            of_row = [row.sensitivity, row.specificity, *mine.values()]
            reasons = dict.fromkeys(metric.reason for metric in of_row if metric.reason)
            cells.append(
                (
                    *(row.group, _number(row.threshold), row.point or "", f"{prevalence:g}"),
                    *(str(metric.n) for metric in of_row[:2]),
                    *(_plain(value) for metric in of_row for value in (metric.value, metric.low, metric.high)),
                    *(metric.interval or "" for metric in of_row[:2]),
                    "; ".join(reasons),
                )
            )
    return Table(f"All thresholds: {NAMES[label]}", columns, tuple(cells))


def _number(threshold: float | None) -> str:
    """The shortest digits that give the same float32, because a rounded threshold would flag other images."""
    return "" if threshold is None else str(np.float32(threshold))


def _plain(value: float | None) -> str:
    return "" if value is None else number(value)


def _percent(share: float) -> str:
    return f"{100 * share:g}%"
