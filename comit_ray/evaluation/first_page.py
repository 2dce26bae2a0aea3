"""The first page of a report on labelled images: a verdict in three sentences, at most six numbers, one picture.

Everything on it is made of the same metrics as the tables. Alarms come first. A number of too few patients is not
printed, because its interval would say that it is anything.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd

from comit_ray.errors import Status
from comit_ray.evaluation.classification import PREFIXES, labelled, operating_points
from comit_ray.evaluation.metrics_report import people
from comit_ray.evaluation.pictures.picture import Picture
from comit_ray.evaluation.report.document import FirstPage
from comit_ray.evaluation.screen_metrics import absent_heads
from comit_ray.evaluation.shortcuts_report import ALARMS, CAUGHT
from comit_ray.screening.drift import WARNING
from comit_ray.statistics.metric import Metric

RANKED = ("auroc", "average_precision", "eer", "specificity_at_sensitivity")
"""Metrics that compare two classes; `..._at_specificity` too."""
OF_SOURCES = "The numbers on this page may not be of the disease."
OF_THE_ARCHIVE = "What the numbers on this page are worth for such images is not known."
PLAIN = {
    "a linear probe tells the sources apart": (
        "the model can tell which source (hospital, collection) an image is from, and not every source has both kinds",
        OF_SOURCES,
    ),
    "with the lungs blacked out": (
        "with the lungs blacked out the model still tells COVID-19, so it uses something else",
        OF_SOURCES,
    ),
    "without the borders": ("the model uses the borders of the images, where marks are", OF_SOURCES),
    "leave-one-source-out": ("what the model goes by holds less in a source that it was not fitted on", OF_SOURCES),
    "who knows nothing of an image but its source": (
        "a guess by the source alone, without a look at the image, does as well as the model",
        OF_SOURCES,
    ),
    "do not look like what model": (
        "these images do not look like those that the model was trained on",
        OF_THE_ARCHIVE,
    ),
}
"""What an alarm has in it -> what the first page says in its place, and what follows from it."""
PICTURES = ("figure_14_missed", "missed", "falsely_called", "sheet", "figure_09_roc")
"""Which picture the page has: the first of these that there is."""


def suppressed(metrics: Sequence[Metric], images: pd.DataFrame, minimum: int) -> list[Metric]:
    """The metrics, without the value of those that compare two classes of which one has too few patients.

    Args:
        metrics: of `screen_metrics.screen_metrics`.
        images: of `screen_metrics.join_tables`.
        minimum: fewest patients of each class, as for a subgroup.
    """
    few = {
        (label, group): reason
        for label in PREFIXES
        for group in {metric.group for metric in metrics}
        if (reason := _too_few(images, label, group, minimum)) is not None
    }
    found = []
    for metric in metrics:
        label = "unhealthy" if metric.metric.startswith(PREFIXES["unhealthy"]) else "covid"
        name = metric.metric.removeprefix(PREFIXES["unhealthy"])
        reason = few.get((label, metric.group))
        if metric.value is not None and reason and (name in RANKED or name.endswith("_at_specificity")):
            metric = replace(metric, value=None, low=None, high=None, interval=None, reason=reason)
        found.append(metric)
    return found


def _too_few(images: pd.DataFrame, label: str, group: str, minimum: int) -> str | None:
    """Why two classes are not compared in a group; None: they are, or one of them is absent, which is said already."""
    rows = images[labelled(images, label)]
    if group.startswith("dataset="):
        rows = rows[rows["dataset"] == group.removeprefix("dataset=")]
    elif group != "all":
        return None
    counts = [(word, people(rows[rows[label] == value])) for value, word in ((1, "positives"), (0, "negatives"))]
    fewest = min(counts, key=lambda item: item[1])
    if not 0 < fewest[1] < minimum:
        return None
    return f"{fewest[0]} of only {fewest[1]} patients, at least {minimum} are needed for a number"


def write(
    images: pd.DataFrame, metrics: Sequence[Metric], belief: Sequence[str], pictures: Sequence[Picture], minimum: int
) -> FirstPage:
    """The page.

    Args:
        images: of `screen_metrics.join_tables`.
        metrics: of the report, `suppressed`.
        belief: what is said of shortcuts and drift.
        pictures: that the report has.
        minimum: fewest images that a share is printed of.
    """
    alarms = sorted((text for text in belief if text.startswith(ALARMS)), key=lambda text: not text.startswith(CAUGHT))
    verdict = [_alarm(alarms)] if alarms else []
    verdict += [_answer(metrics, images, minimum), _inside(metrics, images)]
    chosen = next((one for name in PICTURES for one in pictures if one.name == name and one.files), None)
    return FirstPage(verdict, _numbers(metrics, images, minimum), chosen)


def _alarm(alarms: Sequence[str]) -> str:
    """The first alarm in plain words, what follows from it, and how many more there are."""
    sign = CAUGHT if alarms[0].startswith(CAUGHT) else WARNING
    known = [words for part, words in PLAIN.items() if part in alarms[0]]
    told, follows = known[0] if known else (alarms[0].removeprefix(sign).partition(". ")[0].rstrip(". "), OF_SOURCES)
    more = len(alarms) - 1
    below = f" ({more} more warning{'s' if more > 1 else ''} in the appendix)" if more else ""
    return f"{sign}{told}{below}. {follows}"


def _answer(metrics: Sequence[Metric], images: pd.DataFrame, minimum: int) -> str:
    heads = [label for label in PREFIXES if label not in absent_heads(images)]
    if not heads:
        return "The model has no score: it outlines lungs or disease, and flags no image."
    label = heads[0]
    what = "COVID-19" if label == "covid" else "disease"
    point = operating_points(images)[label]
    sensitivity, specificity = (
        _find(metrics, f"{PREFIXES[label]}{name}_at_operating_point", point) for name in ("sensitivity", "specificity")
    )
    told = []
    if sensitivity is not None and sensitivity.value is not None:
        told.append(f"The model flags {in_words(sensitivity, minimum)} of the images labelled {what}")
    else:
        told.append(f"How many images of {what} the model flags is not known: none that was scored is labelled so")
    if specificity is not None and specificity.value is not None:
        told.append(f"it leaves {in_words(specificity, minimum)} of the others without a flag")
    else:
        told.append("of the others there is none, so what it flags in vain is not known")
    return f"{'; '.join(told)}."


def _inside(metrics: Sequence[Metric], images: pd.DataFrame) -> str:
    """Whether the ranking holds inside one source: what a network that knows only the hospital cannot reach."""
    if "covid" in absent_heads(images):
        return "Of COVID-19 there is no score."
    known = images[labelled(images, "covid")]
    classes = known.groupby("dataset")["covid"].nunique()
    both = [str(name) for name in classes.index[classes == 2]]
    whole = _find(metrics, "auroc")
    if whole is None or whole.value is None:
        return f"How well it ranks is not given: {whole.reason if whole else 'nothing is labelled'}."
    if len(classes) < 2:
        return f"It ranks COVID-19 with AUROC {decimals(whole)}, all inside one source."
    if not both:
        return (
            "No source has images with and without COVID-19: it is not shown that the disease was learned, "
            "and not the hospital."
        )
    inside = [(name, metric) for name in both if (metric := _find(metrics, "auroc", group=f"dataset={name}"))]
    told = [f"{decimals(metric)} inside {name}" for name, metric in inside[:2] if metric.value is not None]
    chance = any(metric.low is None or metric.low <= 0.5 for _, metric in inside if metric.value is not None)
    if not told:
        return f"AUROC {decimals(whole)} over all sources; inside one source there are too few images to say."
    end = ": inside a source it is not shown that it beats guessing" if chance else ""
    return f"AUROC {decimals(whole)} over all sources, but {' and '.join(told)}{end}."


def _numbers(metrics: Sequence[Metric], images: pd.DataFrame, minimum: int) -> list[tuple[str, str]]:
    scored = int((images["status"] == Status.OK).sum())
    rows = [("Images scored", f"{scored:,} of {len(images):,}")]
    for label, words in (("covid", ("COVID-19 flagged", "Others not flagged")), ("unhealthy", ("Unhealthy flagged",))):
        if label in absent_heads(images):
            continue
        point = operating_points(images)[label]
        for name, word in zip(("sensitivity", "specificity"), words, strict=False):
            metric = _find(metrics, f"{PREFIXES[label]}{name}_at_operating_point", point)
            if metric is not None and metric.n:
                rows.append((word, in_words(metric, minimum)))
    known = images[labelled(images, "covid")]
    groups = [("all", "Ranking (AUROC; 0.5 is guessing)")]
    if known["dataset"].nunique() > 1:
        groups += [(f"dataset={name}", f"Ranking (AUROC) inside {name}") for name in sorted(known["dataset"].unique())]
    for group, word in groups:
        metric = _find(metrics, "auroc", group=group)
        rows_of = known if group == "all" else known[known["dataset"] == group.removeprefix("dataset=")]
        if metric is not None and metric.value is not None:
            count = f"{int((rows_of['covid'] == 1).sum()):,} + {int((rows_of['covid'] == 0).sum()):,} images"
            rows.append((word, f"{decimals(metric)}, {count}"))
        elif metric is not None and group == "all" and rows_of["covid"].nunique() == 2:
            rows.append((word, "not given: too few"))  # the verdict has the reason
    return rows[:6]


def in_words(metric: Metric, minimum: int = 1) -> str:
    """A share as "28 of 30, 93% (77 to 100%)"; of fewer than `minimum` the count alone."""
    assert metric.value is not None, metric
    count = f"{round(metric.value * metric.n):,} of {metric.n:,}"
    if metric.n < minimum:
        return f"{count} (too few for a share)"
    return f"{count}, {percent(metric.value, metric.low, metric.high)}"


def percent(value: float, low: float | None, high: float | None) -> str:
    """A share in whole percent, the ends of its interval outward."""
    shown = f"{round(Fraction(repr(float(value))) * 100)}%"
    if low is None or high is None:
        return f"{shown} (no interval)"
    ends = (math.floor(100 * low + 1e-9), math.ceil(100 * high - 1e-9))
    return f"{shown} ({ends[0]} to {ends[1]}%)"


def decimals(metric: Metric) -> str:
    """A value of 0 to 1 with its interval: two digits, or one where the interval is wider than 0.2."""
    if metric.value is None:
        return "not given"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.1f} (no interval)"
    digits = 2 if metric.high - metric.low <= 0.2 else 1
    unit = 10.0**digits
    low, high = np.floor(metric.low * unit + 1e-9) / unit, np.ceil(metric.high * unit - 1e-9) / unit
    return f"{metric.value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _find(metrics: Sequence[Metric], metric: str, at: float | str | None = None, group: str = "all") -> Metric | None:
    wanted = (metric, at, group, "image")
    return next((one for one in metrics if (one.metric, one.at, one.group, one.level) == wanted), None)
