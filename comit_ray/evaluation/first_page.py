"""The first page of a report on labelled images: a verdict in three sentences, at most six numbers, one picture.

It uses the same metrics as the tables. Alarms come first. A number with too few patients is not printed, because its
interval would allow almost any value.
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
from comit_ray.tables.vocabulary import counted

RANKED = ("auroc", "average_precision", "eer", "specificity_at_sensitivity")
"""Metrics that compare two classes; so do those that end in `_at_specificity`."""
OF_SOURCES = "The numbers on this page may not measure the disease."
OF_THE_ARCHIVE = "It is not known how far the numbers on this page hold for such images."
PLAIN = {
    "recognises the source": (
        "the model can recognise the source (hospital or collection) of an image, and not every source has both kinds",
        OF_SOURCES,
    ),
    "with the lungs blacked out": (
        "the model still recognises COVID-19 with the lungs blacked out, so that it uses something else",
        OF_SOURCES,
    ),
    "without the borders": ("the model uses the borders of the images, where marks may be", OF_SOURCES),
    "leave-one-source-out": (
        "the signs of COVID-19 that were learned in other sources work less well in a new source",
        OF_SOURCES,
    ),
    "knows nothing of an image but its source": (
        "a guess by the source alone, without a look at the image, does as well as the model",
        OF_SOURCES,
    ),
    "does not look like the training data": (
        "these images do not look like those that the model was trained on",
        OF_THE_ARCHIVE,
    ),
}
"""Words of an alarm -> what the first page says instead, and what follows from it."""
PICTURES = ("figure_14_missed", "missed", "falsely_called", "sheet", "figure_09_roc")
"""The page shows the first of these pictures that exists."""


def suppressed(metrics: Sequence[Metric], images: pd.DataFrame, minimum: int) -> list[Metric]:
    """Removes the values of metrics that compare two classes, if one class has too few patients.

    Args:
        metrics: result of `screen_metrics.screen_metrics`.
        images: result of `screen_metrics.join_tables`.
        minimum: the fewest patients of each class, as for a subgroup.
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
    """Why two classes are not compared in a group; None if they are, or if one of them is absent."""
    rows = images[["dataset", "patient_id", label]][labelled(images, label)]
    if group.startswith("dataset="):
        rows = rows[rows["dataset"] == group.removeprefix("dataset=")]
    elif group != "all":
        return None
    counts = [(word, people(rows[rows[label] == value])) for value, word in ((1, "positives"), (0, "negatives"))]
    fewest = min(counts, key=lambda item: item[1])
    if not 0 < fewest[1] < minimum:
        return None
    return f"{fewest[0]} of only {counted(fewest[1], 'patient')}, and a number needs at least {minimum}"


def write(
    images: pd.DataFrame, metrics: Sequence[Metric], belief: Sequence[str], pictures: Sequence[Picture], minimum: int
) -> FirstPage:
    """Makes the first page.

    Args:
        images: result of `screen_metrics.join_tables`.
        metrics: metrics of the report, result of `suppressed`.
        belief: sentences about shortcuts and drift.
        pictures: pictures of the report.
        minimum: the fewest images for which a share is printed.
    """
    alarms = sorted((text for text in belief if text.startswith(ALARMS)), key=lambda text: not text.startswith(CAUGHT))
    verdict = [_alarm(alarms)] if alarms else []
    verdict += [_answer(metrics, images, minimum), _inside(metrics, images)]
    chosen = next((one for name in PICTURES for one in pictures if one.name == name and one.files), None)
    return FirstPage(verdict, _numbers(metrics, images, minimum), chosen)


def _alarm(alarms: Sequence[str]) -> str:
    """The first alarm in plain words, what follows from it, and the number of other alarms."""
    sign = CAUGHT if alarms[0].startswith(CAUGHT) else WARNING
    known = [words for part, words in PLAIN.items() if part in alarms[0]]
    told, follows = known[0] if known else (alarms[0].removeprefix(sign).partition(". ")[0].rstrip(". "), OF_SOURCES)
    more = len(alarms) - 1
    below = f" ({more} more warning{'s' if more > 1 else ''} in the appendix)" if more else ""
    return f"{sign}{told}{below}. {follows}"


def _answer(metrics: Sequence[Metric], images: pd.DataFrame, minimum: int) -> str:
    heads = [label for label in PREFIXES if label not in absent_heads(images)]
    if not heads:
        return "The model has no score: it outlines lungs or disease, and flags no images."
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
        told.append(f"It is not known how many images labelled {what} the model flags ({_why(sensitivity)})")
    if specificity is not None and specificity.value is not None:
        told.append(f"it leaves {in_words(specificity, minimum)} of the others without a flag")
    else:
        told.append(f"its false alarms are not known ({_why(specificity)})")
    return f"{'; '.join(told)}."


def _why(metric: Metric | None) -> str:
    """Why a metric has no value."""
    return "it was not measured" if metric is None or metric.reason is None else metric.reason


def _inside(metrics: Sequence[Metric], images: pd.DataFrame) -> str:
    """Whether the ranking holds inside one source, where recognising the hospital does not help."""
    if "covid" in absent_heads(images):
        return "The model has no score for COVID-19."
    known = images[["dataset", "covid"]][labelled(images, "covid")]
    classes = known.groupby("dataset")["covid"].nunique()
    both = [str(name) for name in classes.index[classes == 2]]
    whole = _find(metrics, "auroc")
    if whole is None or whole.value is None:
        return f"Its ranking of the images (AUROC) is not given: {whole.reason if whole else 'no image is labelled'}."
    if len(classes) < 2:
        return f"Its ranking of the images (AUROC) is {decimals(whole)}; all images come from one source."
    if not both:
        return (
            "No source has images both with and without COVID-19, so that it is not shown whether the model learned "
            "the disease or the hospital."
        )
    inside = [(name, metric) for name in both if (metric := _find(metrics, "auroc", group=f"dataset={name}"))]
    told = [f"{decimals(metric)} inside {name}" for name, metric in inside[:2] if metric.value is not None]
    chance = any(metric.low is None or metric.low <= 0.5 for _, metric in inside if metric.value is not None)
    if not told:
        return (
            f"Its ranking of the images (AUROC) is {decimals(whole)} over all sources; inside a single source there "
            "are too few images to measure it."
        )
    end = "; inside a source it is not shown to be better than guessing (0.5)" if chance else ""
    return f"Its ranking of the images (AUROC) is {decimals(whole)} over all sources, and {' and '.join(told)}{end}."


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
    """A share such as `28 of 30, 93% (77 to 100%)`; with fewer than `minimum` images the count alone."""
    assert metric.value is not None, metric
    count = f"{round(metric.value * metric.n):,} of {metric.n:,}"
    if metric.n < minimum:
        return f"{count} (too few for a share)"
    return f"{count}, {percent(metric.value, metric.low, metric.high)}"


def percent(value: float, low: float | None, high: float | None) -> str:
    """A share in whole percent; the ends of its interval are rounded outward."""
    shown = f"{round(Fraction(repr(float(value))) * 100)}%"
    if low is None or high is None:
        return f"{shown} (no interval)"
    ends = (math.floor(100 * low + 1e-9), math.ceil(100 * high - 1e-9))
    return f"{shown} ({ends[0]} to {ends[1]}%)"


def decimals(metric: Metric) -> str:
    """A value of 0 to 1 with its interval: two digits, or one if the interval is wider than 0.2."""
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
