"""Tables and sentences about shortcuts and drift, which a report shows before any metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.evaluation import shortcuts
from comit_ray.evaluation.classification import labelled
from comit_ray.evaluation.image_rows import ImageRows
from comit_ray.evaluation.pictures import random_sheet
from comit_ray.evaluation.report.document import Chapter, Table
from comit_ray.evaluation.report.metric_words import group_in_words, groups_shown, metric_in_words
from comit_ray.evaluation.report.printing import with_interval
from comit_ray.evaluation.screen_metrics import absent_heads
from comit_ray.evaluation.shortcuts import (
    CROPPED,
    IN_LUNGS,
    KEPT,
    LEFT_OUT,
    LUNGS,
    ONLY,
    REMOVED,
    SOURCE_ALONE,
    TOLD,
    TOLD_WITHOUT,
    WHOLE,
    Audit,
)
from comit_ray.screening import drift
from comit_ray.screening.drift import WARNING
from comit_ray.statistics.metric import Metric
from comit_ray.tables.vocabulary import counted

CHANCE = 0.5
"""AUROC of guessing."""
CONFOUNDED = WARNING
"""The beginning of the sentence if the source alone explains the score."""
CAUGHT = "SHORTCUT: "
"""The beginning of a sentence about a shortcut that the audit found."""
ALARMS = (CAUGHT, WARNING)
"""Beginnings of sentences of the audit and of drift that a reader of a report must not overlook."""
NONE = (
    "The audit of shortcuts is incomplete: to complete it, screen with --variants "
    "'[lungs_only,lungs_removed,borders_cropped]', --embeddings true and --gradcam true."
)


def audit_table(found: Audit) -> Table | None:
    """The audit as a table, without rows and groups that have no value; None if nothing has a value."""
    known = {metric.group for metric in found.metrics if metric.value is not None}
    groups = [group for group in groups_shown(found.metrics) if group in known]
    if not groups:
        return None
    by_place = {(figure.metric, figure.group): figure for figure in found.metrics}
    metrics = list(dict.fromkeys(figure.metric for figure in found.metrics))
    rows = tuple(
        (metric_in_words(metric), *(_cell(by_place.get((metric, group))) for group in groups))
        for metric in metrics
        if any((one := by_place.get((metric, group))) is not None and one.value is not None for group in groups)
    )
    has = {metric.metric for metric in found.metrics if metric.value is not None}
    notes = ["Each AUROC is for COVID-19; on altered images, it is measured on altered copies of the same images."]
    if SOURCE_ALONE in has:
        notes.append("For the AUROC of the source alone, each image is scored by the share of COVID-19 in its source.")
    if has & {TOLD, TOLD_WITHOUT, LEFT_OUT, KEPT}:
        notes.append(
            "A linear probe is a simple classifier (logistic regression) on the embeddings, the network's internal "
            "description of an image. To recognise the source, it chooses one of "
            f"{counted(found.sources[0], 'source')}, or without COVID-19 images one of {found.sources[1]}; chance is 1 "
            "divided by that number. The probes for COVID-19 are fitted on the embeddings of other patients; the "
            "network itself may have been trained on the source."
        )
    return Table("Audit of shortcuts", ("metric", *map(group_in_words, groups)), rows, " ".join(notes))


def _cell(metric: Metric | None) -> str:
    return "-" if metric is None or metric.value is None else f"{with_interval(metric)} (n={metric.n:,})"


def audit_sentences(found: Audit) -> list[str]:
    """The sentences of the audit; a sentence begins with `CAUGHT` if it reports a shortcut.

    The audit reports a shortcut in these cases:

    - With the lungs blacked out, the interval of the AUROC lies above 0.5.
    - In that case, also if the AUROC falls without the borders, and the two intervals do not touch. (A fall alone shows
      nothing, because black borders may be unusual for the network. They were for two of 12 networks trained on
      unmarked phantoms.)
    - The source of images without COVID-19 can be recognised from their embeddings, and not every source has both
      classes.
    - A probe fitted without a source separates COVID-19 there less well than one fitted with it, and the intervals do
      not touch.
    """
    by_metric = {metric.metric: metric for metric in found.metrics if metric.group == "all"}
    said = [
        _of_the_source(by_metric),
        _of_lungs(by_metric),
        _of_borders(by_metric),
        _of_sources(by_metric, found),
        *_of_left_out(found),
        _of_heat(by_metric),
    ]
    told = [text for text in said if text is not None]
    return told if REMOVED in by_metric and TOLD_WITHOUT in by_metric else [*told, NONE]


PLAIN = "In plain words: "
_WHAT_TO_DO = (
    "Before you use its flags in a hospital that is not in these images, have a random sample of that hospital's "
    "images read, and compare."
)


def in_plain_words(sentences: Sequence[str]) -> str:
    """What the audit means for somebody who decides whether to use the flags, and knows no statistics.

    Args:
        sentences: of `audit_sentences`.
    """
    if any(sentence.startswith(ALARMS) for sentence in sentences):
        return (
            f"{PLAIN}the model may recognise where an image was made, and not the disease. Images of one hospital "
            "resemble each other: the machine, the letters in a corner, the way a patient lies. If most COVID-19 "
            "images came from some hospitals and most others from elsewhere, knowing the hospital is enough to look "
            "right here. Elsewhere such a model can flag nearly every healthy person, or miss the sick. "
            f"{_WHAT_TO_DO}"
        )
    if NONE in sentences:
        return (
            f"{PLAIN}it was not fully tested whether the model recognises the disease or only the hospital that an "
            f"image is from. {_WHAT_TO_DO}"
        )
    return (
        f"{PLAIN}this test found no sign that the model recognises the hospital in place of the disease. It cannot "
        f"show that there is none. {_WHAT_TO_DO}"
    )


def _of_the_source(by_metric: Mapping[str, Metric]) -> str | None:
    """The AUROC of a guess that knows the source and nothing else."""
    source, whole = by_metric.get(SOURCE_ALONE), by_metric.get(WHOLE)
    if source is None or whole is None or source.value is None or whole.value is None:
        return None
    told = (
        f"a guess that knows nothing of an image but its source reaches AUROC {with_interval(source)} for COVID-19 "
        f"(n={source.n:,}); the score reaches {with_interval(whole)}"
    )
    if source.value >= whole.value:
        return (
            f"{CONFOUNDED}{told}. Recognising hospitals would be enough to explain this result: over all sources, "
            "these metrics do not show that the score sees the disease."
        )
    return f"{told[0].upper()}{told[1:]}."


def _of_lungs(by_metric: Mapping[str, Metric]) -> str | None:
    removed, whole, only = by_metric.get(REMOVED), by_metric.get(WHOLE), by_metric.get(ONLY)
    if removed is None or whole is None:
        return None
    if removed.value is None or removed.low is None:
        return f"It is not known how well the score works without the lungs: {removed.reason}."
    rest = f"; {with_interval(only)} on the lungs alone" if only is not None and only.value is not None else ""
    metrics = f"AUROC {with_interval(removed)}; {with_interval(whole)} on the whole images{rest}; n={removed.n:,}"
    if removed.low > CHANCE:
        return (
            f"{CAUGHT}with the lungs blacked out the score still separates COVID-19 from other images ({metrics}). It "
            "can have used what lies outside the lungs: marks, borders, the patient's position, or how a source makes "
            "its images. It can also have used lung that the predicted mask does not cover."
        )
    if removed.high is not None and removed.high < CHANCE:
        return (
            f"With the lungs blacked out the score ranks COVID-19 below other images ({metrics}). The rest of the "
            "image influences the score, perhaps only through the size of the black area; this test does not show what "
            "the score uses."
        )
    if only is not None and only.low is not None and only.low <= CHANCE:
        return (
            "The score is not shown to separate COVID-19 from other images, neither without the lungs nor on the lungs "
            f"alone ({metrics}). Blacked-out images are unusual for this network, so that the test says nothing about "
            "what the score uses."
        )
    return (
        f"The score is not shown to separate COVID-19 from other images with the lungs blacked out ({metrics}). The "
        "test found no sign that it uses anything outside the lungs; it does not show that it uses nothing there."
    )


def _of_borders(by_metric: Mapping[str, Metric]) -> str | None:
    cropped, whole = by_metric.get(CROPPED), by_metric.get(WHOLE)
    if cropped is None or whole is None or cropped.high is None or whole.low is None or cropped.high >= whole.low:
        return None
    metrics = f"AUROC {with_interval(cropped)}; {with_interval(whole)} on the whole images"
    removed = by_metric.get(REMOVED)
    if removed is not None and removed.low is not None and removed.low > CHANCE:
        return (
            f"{CAUGHT}without the borders of the images the score separates COVID-19 less well ({metrics}). There may "
            "be marks in the borders."
        )
    return (
        f"Without the borders of the images the score separates COVID-19 less well ({metrics}). There may be lung in "
        "the borders, or black borders may be unusual for this network."
    )


def _of_sources(by_metric: Mapping[str, Metric], found: Audit) -> str | None:
    told = by_metric.get(TOLD_WITHOUT)
    if told is None:
        return None
    if told.value is None or told.low is None:
        return f"It is not known whether the embeddings of images without COVID-19 reveal their source: {told.reason}."
    chance = 1 / found.sources[1]
    metrics = f"balanced accuracy {with_interval(told)}; chance {chance:.2f}; n={told.n:,}"
    if told.low <= chance:
        return f"The embeddings of images without COVID-19 are not shown to reveal their source ({metrics})."
    if not found.confounded:
        return f"The embeddings reveal the source of the images ({metrics}), but every source has both classes."
    return (
        f"{CAUGHT}a linear probe recognises the source from embeddings of images without COVID-19 ({metrics}), and not "
        "every source has images both with and without COVID-19. A high AUROC over several sources can come from the "
        "sources alone."
    )


def _of_left_out(found: Audit) -> list[str]:
    """One sentence for each source with a value, and one for all sources without."""
    left, kept = ({f.group: f for f in found.metrics if f.metric == name} for name in (LEFT_OUT, KEPT))
    said = []
    for group, mine in left.items():
        with_it = kept[group]
        if mine.value is None or mine.high is None:
            continue
        fell = with_it.low is not None and mine.high < with_it.low
        begin = f"{CAUGHT}leave-one-source-out" if fell else "Leave-one-source-out"
        end = "The signs of COVID-19 in the other sources work less well there." if fell else "A fall is not shown."
        said.append(
            f"{begin}: on images of {group.removeprefix('dataset=')}, a linear probe fitted without this source "
            f"reaches AUROC {with_interval(mine)} for COVID-19, and one fitted with it {with_interval(with_it)} "
            f"(n={mine.n:,}). {end}"
        )
    none = [f"{group.removeprefix('dataset=')}: {mine.reason}" for group, mine in left.items() if mine.value is None]
    return said + ([f"Leave-one-source-out gives no result for {'; '.join(none)}."] if none else [])


def _of_heat(by_metric: Mapping[str, Metric]) -> str | None:
    inside, lungs = by_metric.get(IN_LUNGS), by_metric.get(LUNGS)
    if inside is None or lungs is None or inside.value is None or lungs.value is None:
        return None
    return (
        f"On average, a share of {with_interval(inside)} of the heat map of the COVID-19 score (Grad-CAM) lies in the "
        f"predicted lungs, which cover {with_interval(lungs)} of the frame (n={inside.n:,} images)."
    )


@dataclass(frozen=True)
class Belief:
    """The audit and the drift of a screen.

    Args:
        metrics: metrics for metrics.json.
        chapter: chapter of the report; empty for a bare predictions table.
    """

    metrics: list[Metric]
    chapter: Chapter


def examine(config: EvaluateConfig, images: pd.DataFrame, split: str, rows: ImageRows = random_sheet.WHOLE) -> Belief:
    """Examines shortcuts and drift of a screen.

    Args:
        config: options of the job.
        images: result of `screen_metrics.join_tables`.
        split: name of the split.
        rows: the rows behind `images`.

    Raises:
        StorageError: one of the screen's tables, or its `drift.json`, cannot be read.
    """
    name, title = "belief", "Can it be believed?"
    if config.results is None:
        return Belief([], Chapter(name, title))
    drifted = drift.read(config.results)
    told = [] if drifted is None else drift.sentences(drifted)
    if "covid" in absent_heads(images):
        return Belief([], Chapter(name, title, told))
    few = _too_few(images, config.subgroup_minimum)
    if few is not None:
        return Belief([], Chapter(name, title, [few, *told]))
    audited = shortcuts.audit(images, config.results, split, config.draws, config.seed, rows)
    shown = audit_table(audited)
    tables = {"audit": shown} if shown else {}
    said = audit_sentences(audited)
    return Belief(audited.metrics, Chapter(name, title, [in_plain_words(said), *said, *told], tables))


def _too_few(images: pd.DataFrame, minimum: int) -> str | None:
    """Why there is no audit if a class has too few patients for its metrics; None if there is one."""
    known = images[labelled(images, "covid")]
    counts = [(patients_of(known[known["covid"] == value]), word) for value, word in ((1, "with"), (0, "without"))]
    fewest, word = min(counts)
    if not 0 < fewest < minimum:
        return None
    have = counted(fewest, "patient")
    return f"There is no audit of shortcuts: it needs {minimum} patients {word} COVID-19, and the images have {have}."


def patients_of(images: pd.DataFrame) -> int:
    """The number of patients of these images; an image without a patient id counts as a patient of its own."""
    return int(images["patient_id"].nunique() + images["patient_id"].isna().sum())
