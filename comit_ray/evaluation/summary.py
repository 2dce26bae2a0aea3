"""The summary of a report: the question, the data, the answer with its interval, and its limits."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from comit_ray.errors import Status
from comit_ray.evaluation import metrics_report
from comit_ray.evaluation.classification import NAMES, PREFIXES, labelled, operating_points
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.report.printing import number, three_digits, with_interval
from comit_ray.evaluation.screen_metrics import absent_heads
from comit_ray.evaluation.shortcuts_report import ALARMS
from comit_ray.evaluation.thresholds import chosen_where, stored_operating_point
from comit_ray.statistics.metric import Metric
from comit_ray.tables.vocabulary import SPECIFICITY, counted

ANSWERS = frozenset({*(f"The answer: {name}" for name in NAMES.values()), "The answer: masks"})
"""First cells of the rows with metrics."""
NOT_MEANT = (
    "It is no diagnosis and no clinical validation; not flagged is not normal. The metrics hold for images and "
    "patients like these, with positives as frequent as here. They say nothing about readers, treatment, or another "
    "archive."
)


def table(
    images: pd.DataFrame, metrics: Sequence[Metric], split: str, results: str | None, belief: Sequence[str]
) -> Table:
    """The summary of one screen as a table of questions and answers.

    Args:
        images: result of `screen_metrics.join_tables`.
        metrics: metrics of the report.
        split: name of the split.
        results: URI of the screen; None for a bare predictions table.
        belief: sentences about shortcuts and drift.

    Raises:
        StorageError: the screen's `run.json` is not that of a run.
    """
    absent = absent_heads(images)
    rows = [("What was asked", _asked(images, split, results, absent)), ("On what data", _data(images))]
    origin = chosen_where(results)
    rows += [
        (f"The answer: {NAMES[label]}", _answer(metrics, images, label, origin))
        for label in PREFIXES
        if label not in absent
    ]
    masks = [f"{name} {told}" for name, metric in _masks(absent) if "undefined" not in (told := _told(metrics, metric))]
    if masks:
        rows.append(("The answer: masks", "; ".join(masks)))
    if "covid" not in absent:
        rows.append(("Inside one source", _inside(metrics, images)))
    rows += [("Can it be believed?", _belief(belief)), ("What it does not mean", NOT_MEANT)]
    return Table("What was asked, and what was found", ("question", "answer"), tuple(rows))


def _asked(images: pd.DataFrame, split: str, results: str | None, absent: Sequence[str]) -> str:
    models = ", ".join(sorted(images["model_id"].dropna().unique())) or "not known"
    which = "all images" if split == "all" else f"the {split} split"
    asked = f"How well does model {models} find COVID-19 and disease in {which}?"
    points = []
    for label in (label for label in PREFIXES if label not in absent):
        point = stored_operating_point(images, label, results)
        if point is not None:
            points.append(f"{NAMES[label]} is {three_digits(point.threshold)} or more ({point.name})")
    return (
        f"{asked} An image is flagged if its score for {', or for '.join(points)}."
        if points
        else f"{asked} There is no threshold that decides flags."
    )


def _data(images: pd.DataFrame) -> str:
    needed = ["dataset", "view", "patient_id", "covid", "p_covid"]
    scored = images[needed][images["status"] == Status.OK]
    covid = scored["covid"]
    known = int(covid.notna().sum())
    positive = scored[covid == 1]
    counts = f"{metrics_report.of_patients(images)}, {len(scored):,} of them scored"
    if known:
        share = number(len(positive) / known, 2)
        counts += (
            f"; with COVID-19 {metrics_report.of_patients(positive)} ({share} of {counted(known, 'labelled image')})"
        )
    else:
        counts += "; no label for COVID-19 is known"
    by_source = ", ".join(f"{name} {count:,}" for name, count in _sizes(scored["dataset"]))
    by_view = ", ".join(f"{name} {count:,}" for name, count in _sizes(scored["view"], "unknown"))
    few = " ".join(metrics_report.positives(scored))
    counts += f". {few.rstrip('.')}" if few else ""
    return f"{counts}. Sources: {by_source or 'none'}. Views: {by_view or 'none'}."


def _sizes(words: pd.Series, missing: str | None = None) -> list[tuple[str, int]]:
    """Each word and how often it occurs, the most frequent first; nulls count as `missing`, or not at all."""
    codes_N, found = pd.factorize(words)
    counts: dict[str, int] = dict.fromkeys(map(str, found), 0)
    for word, count in zip(map(str, found), np.bincount(codes_N[codes_N >= 0], minlength=len(found)), strict=True):
        counts[word] += int(count)
    if missing is not None and (codes_N < 0).any():
        counts[missing] = counts.get(missing, 0) + int((codes_N < 0).sum())
    return sorted(counts.items(), key=lambda pair: -pair[1])


def _answer(metrics: Sequence[Metric], images: pd.DataFrame, label: str, origin: str) -> str:
    prefix, point = PREFIXES[label], operating_points(images)[label]
    told = []
    if point is not None:
        sensitivity, specificity = (
            _told(metrics, f"{prefix}{name}_at_operating_point", point) for name in ("sensitivity", "specificity")
        )
        told.append(f"at the stored threshold ({origin}) sensitivity {sensitivity}, specificity {specificity}")
    told.append(
        f"at {SPECIFICITY:.0%} specificity, with the threshold chosen on these same images as in the paper, "
        f"sensitivity {_told(metrics, f'{prefix}sensitivity_at_specificity', SPECIFICITY)}"
    )
    told.append(f"AUROC {_told(metrics, f'{prefix}auroc')}")
    return f"{'; '.join(told)}."


def _masks(absent: Sequence[str]) -> list[tuple[str, str]]:
    named = {
        "lung": [("lungs: mean IoU", "lung_iou")],
        "disease": [("disease: TPR", "disease_tpr"), ("disease: precision", "disease_precision")],
    }
    return [pair for head, pairs in named.items() if head not in absent for pair in pairs]


def _inside(metrics: Sequence[Metric], images: pd.DataFrame) -> str:
    known = images[["dataset", "covid"]][labelled(images, "covid")]
    classes = known.groupby("dataset")["covid"].nunique()
    if not len(classes):
        return "No image has a score and a label."
    both = [str(name) for name in classes.index[classes == 2]]
    if len(classes) == 1:
        return f"All images come from one source, {classes.index[0]}, so that the AUROC above is inside it."
    if not both:
        return (
            "No source has images both with and without COVID-19, so that source and disease cannot be separated here."
        )
    told = [f"{name} {_told(metrics, 'auroc', group=f'dataset={name}')}" for name in both]
    rest = [str(name) for name in classes.index[classes < 2]]
    alone = f" Sources with one class alone: {', '.join(rest)}." if rest else ""
    return f"AUROC inside a source, where recognising the source does not help: {'; '.join(told)}.{alone}"


def _belief(said: Sequence[str]) -> str:
    alarms = [text for text in said if text.startswith(ALARMS)]
    if alarms:
        return " ".join(alarms).replace("\n", " ")
    return said[0] if said else "Not examined: a bare predictions table shows neither shortcuts nor drift."


def _told(metrics: Sequence[Metric], metric: str, at: float | str | None = None, group: str = "all") -> str:
    for figure in metrics:
        if (figure.metric, figure.at, figure.group, figure.level) == (metric, at, group, "image"):
            if figure.value is None:
                return f"undefined ({figure.reason})"
            return f"{with_interval(figure)} (n={figure.n:,})"
    return "not measured"
