"""Tables and sentences about calibration: whether scores can be read as probabilities."""

from collections.abc import Sequence

import pandas as pd

from comit_ray.evaluation.calibration import BY_CHANCE, Bin
from comit_ray.evaluation.classification import NAMES, PREFIXES, labelled
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.report.metric_words import group_in_words, groups_shown
from comit_ray.evaluation.report.printing import interval, number, supported
from comit_ray.statistics.calibration_metrics import BINS
from comit_ray.statistics.metric import OVER_PATIENTS, Metric
from comit_ray.tables.vocabulary import counted

COLUMNS = {
    "brier": "Brier score",
    "ece": "ECE",
    BY_CHANCE: "ECE by chance alone",
    "ece_equal_width": "ECE, equal widths",
    "calibration_slope": "slope",
    "calibration_intercept": "intercept",
}
NOTE = (
    "The Brier score is the mean of (score - label) squared; 0 is perfect. ECE, the expected calibration error, is "
    f"|mean score - share of positives|, averaged over the images of {BINS} bins of equal size or of equal width. With "
    "few images it is above 0 by chance alone: the column beside it gives the ECE of perfectly calibrated scores "
    "(labels drawn from the scores: mean, and 95% of draws). Slope and intercept are those of logistic recalibration; "
    "1 and 0 are perfect. A slope below 1 means that scores are too extreme; an intercept below 0 (at a slope of 1) "
    "means that scores are too high. Square brackets give 95% intervals from bootstrap draws of patients; those of ECE "
    "are corrected for their bias. All values hold for the share of positives in these images."
)
SHIFT = (
    "A score can be read as a probability only where positives are as frequent as in the images on which it was "
    "judged. At another prevalence, such as that of an archive compared with an enriched test set, the same score "
    "means another probability."
)
AS_WRITTEN = {
    "none": "as the model gives them, not calibrated",
    "temperature": "calibrated: their log-odds are divided by a temperature",
}


def tables(metrics: Sequence[Metric], images: pd.DataFrame, bins: dict[str, list[Bin]]) -> dict[str, Table]:
    """The table `calibration`, and `calibration_bins` for each score with bins (`unhealthy_calibration_bins`).

    Args:
        metrics: result of `calibration.calibration_metrics`.
        images: result of `screen_metrics.join_tables`.
        bins: label -> result of `calibration.reliability`.
    """
    found = {}
    groups = groups_shown(list(metrics))
    rows = [
        (NAMES[label], group_in_words(group), *_share(images, label, group), *(_cell(mine[name]) for name in COLUMNS))
        for (label, group), mine in _by_group(metrics).items()
        if group == "all" or (group in groups and any(metric.value is not None for metric in mine.values()))
    ]
    if rows:
        columns = ("score", "images", "labelled", "share of positives", "mean score", *COLUMNS.values())
        found["calibration"] = Table(
            "Calibration: can scores be read as probabilities?", columns, tuple(rows), _note(metrics)
        )
    for label, mine in bins.items():
        if mine:
            found[f"{PREFIXES[label]}calibration_bins"] = _bins(label, mine)
    return found


def sentences(metrics: Sequence[Metric], images: pd.DataFrame) -> list[str]:
    """Whether the scores can be read as probabilities, and if not, why.

    Args:
        metrics: result of `calibration.calibration_metrics`.
        images: result of `screen_metrics.join_tables`.
    """
    known = sorted(images["calibration"].dropna().unique())
    what = "; ".join(AS_WRITTEN.get(name, name) for name in known) or "it is not recorded whether they are calibrated"
    said = [
        f"Scores for {NAMES[label]} ({what}): {_judged(mine, NAMES[label])}"
        for (label, group), mine in _by_group(metrics).items()
        if group == "all"
    ]
    return [*said, SHIFT] if said else []


def _judged(metrics: dict[str, Metric], name: str) -> str:
    ece, chance = metrics["ece"], metrics[BY_CHANCE]
    slope, intercept = metrics["calibration_slope"], metrics["calibration_intercept"]
    if ece.value is None or chance.high is None:
        return f"it cannot be judged whether they can be read as probabilities ({ece.reason})."
    measured = (
        f"Their expected calibration error is {_cell(ece)} over {counted(ece.n, 'image')} (perfect scores have up to "
        f"{number(chance.high, 2)} by chance), their slope {_cell(slope)}, their intercept {_cell(intercept)}."
    )
    wrong = []
    if ece.value > chance.high:
        wrong.append("they differ from the observed shares by more than chance explains")
    if intercept.low is not None and intercept.high is not None and not intercept.low <= 0 <= intercept.high:
        wrong.append(f"they are too {'high' if intercept.high < 0 else 'low'} on the whole")
    if slope.low is not None and slope.high is not None and not slope.low <= 1 <= slope.high:
        wrong.append(f"they are too {'extreme' if slope.high < 1 else 'close to one another'}")
    if wrong:
        return f"they cannot be read as probabilities of {name}, because {' and '.join(wrong)}. {measured}"
    if slope.low is None or intercept.low is None:
        why = "; ".join(dict.fromkeys(metric.reason for metric in (slope, intercept) if metric.reason))
        return f"it is not shown that they can be read as probabilities ({why}). {measured}"
    return f"these images show no fault of their calibration, which does not prove that there is none. {measured}"


def _by_group(metrics: Sequence[Metric]) -> dict[tuple[str, str], dict[str, Metric]]:
    """(label, group) -> name of the metric without its prefix -> the metric."""
    found: dict[tuple[str, str], dict[str, Metric]] = {}
    for figure in metrics:
        label = "unhealthy" if figure.metric.startswith(PREFIXES["unhealthy"]) else "covid"
        metric = figure.metric.removeprefix(PREFIXES[label])
        if metric in COLUMNS:
            found.setdefault((label, figure.group), {})[metric] = figure
    return found


def _share(images: pd.DataFrame, label: str, group: str) -> tuple[str, str, str]:
    """The number of images labelled and scored, the share of positives among them, and their mean score."""
    rows = images if group == "all" else images[images["dataset"] == group.removeprefix("dataset=")]
    known = rows[labelled(rows, label)]
    if known.empty:
        return "0", "undefined", "undefined"
    return f"{len(known):,}", number(float((known[label] == 1).mean()), 2), number(float(known[f"p_{label}"].mean()), 2)


def _note(metrics: Sequence[Metric]) -> str:
    reasons: dict[str, list[str]] = {}
    for metric in metrics:
        if metric.reason is not None:
            what = "Undefined" if metric.value is None else "No interval"
            reasons.setdefault(f"{what} ({group_in_words(metric.group)})", []).append(metric.reason)
    told = [f"{place}: {'; '.join(dict.fromkeys(why))}." for place, why in reasons.items()]
    return " ".join([NOTE, *told])


def _bins(label: str, bins: Sequence[Bin]) -> Table:
    rows = []
    for one in bins:
        metric = one.observed
        assert metric.value is not None, "a bin holds an image"
        patients = metric.n if metric.patients is None else metric.patients
        cells = (*(number(value, 3) for value in (one.low, one.high, one.mean)), _cell(metric))
        rows.append((*cells, f"{round(metric.value * metric.n):,}", f"{metric.n:,}", f"{patients:,}"))
    columns = ("lowest score", "highest", "mean score", "share of positives", "positives", "images", "patients")
    note = (
        f"There are at most {BINS} bins, of as equal a size as ties allow. The mark w stands for Wilson's interval; "
        "intervals without a mark come from bootstrap draws of patients, because some patients have several images in "
        "the bin."
    )
    return Table(f"Scores and labels in bins: {NAMES[label]}", columns, tuple(rows), note)


def _cell(metric: Metric) -> str:
    """The value and its interval; both may be below 0."""
    if metric.value is None:
        return "undefined"
    if metric.low is None or metric.high is None:
        return f"{number(metric.value, supported(None, None))} (no interval)"
    digits = supported(metric.low, metric.high)
    mark = " w" if metric.interval in ("wilson", OVER_PATIENTS) else ""
    return f"{number(metric.value, digits)} {interval(metric.low, metric.high, digits)}{mark}"
