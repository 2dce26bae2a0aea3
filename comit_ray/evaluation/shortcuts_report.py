"""Tables and sentences about the shortcut audit and about drift.

Can the figures be believed? Shortcuts and drift: what a report says of them before any figure.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.evaluation import shortcuts
from comit_ray.evaluation.classification import labelled
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
    TOLD_WITHOUT,
    WHOLE,
    Audit,
)
from comit_ray.screening import drift
from comit_ray.screening.drift import WARNING
from comit_ray.statistics.metric import Metric

CHANCE = 0.5
"""AUROC of a score that knows nothing."""
CONFOUNDED = WARNING
"""How it begins where source and disease are one."""
CAUGHT = "SHORTCUT: "
"""How a sentence begins where the audit caught one."""
ALARMS = (CAUGHT, WARNING)
"""How a sentence begins that a reader of a report must not pass over: of the audit, or of drift."""
NONE = (
    "The audit of shortcuts is not whole: screen with --variants '[lungs_only,lungs_removed,borders_cropped]', "
    "--embeddings true and --gradcam true."
)


def audit_table(found: Audit) -> Table | None:
    """The audit as a table, without rows and groups of which nothing is known; None where nothing is."""
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
    note = (
        "AUROCs are of COVID-19 on altered copies of the same images; of the source alone: each image scored by the "
        f"share of COVID-19 in its source. Sources told: a linear probe names one of {found.sources[0]} sources, "
        f"without COVID-19 one of {found.sources[1]}; chance is one by their number. Linear probes for COVID-19 are "
        "fitted on the embeddings, of other patients; the network itself may have been trained on the source."
    )
    return Table("Audit of shortcuts", ("metric", *map(group_in_words, groups)), rows, note)


def _cell(metric: Metric | None) -> str:
    return "-" if metric is None or metric.value is None else f"{with_interval(metric)} (n={metric.n:,})"


def audit_sentences(found: Audit) -> list[str]:
    """What the audit says, in one sentence each; it begins with `CAUGHT` where a shortcut was caught.

    - With the lungs blacked out, the interval of the AUROC lies above chance.
    - Then, without the borders, the AUROC is below what it was, and the intervals do not touch. (Alone it says
      nothing: black borders may be foreign to the network, as of 12 trained on unmarked phantoms they were to two.)
    - The source of images without COVID-19 can be told from their embeddings, and not every source has both classes.
    - A probe fitted without a source tells COVID-19 less well there than one fitted with it; intervals do not touch.
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


def _of_the_source(by_metric: Mapping[str, Metric]) -> str | None:
    """What who knows nothing but the source would reach."""
    source, whole = by_metric.get(SOURCE_ALONE), by_metric.get(WHOLE)
    if source is None or whole is None or source.value is None or whole.value is None:
        return None
    metrics = f"AUROC {with_interval(source)} (n={source.n:,}); the score reaches {with_interval(whole)}"
    told = f"who knows nothing of an image but its source tells COVID-19 here with {metrics}"
    if source.value >= whole.value:
        return (
            f"{CONFOUNDED}{told}. Telling hospitals apart would be enough for all that it reaches: over all sources "
            "these figures do not show that it sees the disease."
        )
    return f"{told[0].upper()}{told[1:]}."


def _of_lungs(by_metric: Mapping[str, Metric]) -> str | None:
    removed, whole, only = by_metric.get(REMOVED), by_metric.get(WHOLE), by_metric.get(ONLY)
    if removed is None or whole is None:
        return None
    if removed.value is None or removed.low is None:
        return f"What is left of the score without the lungs is not known: {removed.reason}."
    rest = f"; of the lungs alone {with_interval(only)}" if only is not None and only.value is not None else ""
    metrics = f"AUROC {with_interval(removed)}, of {with_interval(whole)} on the whole images (n={removed.n:,}){rest}"
    if removed.low > CHANCE:
        return (
            f"{CAUGHT}with the lungs blacked out the score still tells COVID-19 from the rest, {metrics}. It can have "
            "used what is not in the lungs: marks, borders, the patient's position, or how a source makes its images; "
            "or lung that its mask does not reach."
        )
    if removed.high is not None and removed.high < CHANCE:
        return (
            f"With the lungs blacked out the score ranks COVID-19 the wrong way round, {metrics}: what is left moves "
            "it, be it the size of what is black; the test does not say what it uses."
        )
    if only is not None and only.low is not None and only.low <= CHANCE:
        return (
            f"Neither without the lungs nor of the lungs alone does the score tell COVID-19, {metrics}: blackened "
            "images are foreign to this network, and the test says nothing of what it uses."
        )
    return (
        f"That the score tells COVID-19 with the lungs blacked out is not shown, {metrics}: nothing outside them was "
        "found that it uses. That there is nothing is not shown."
    )


def _of_borders(by_metric: Mapping[str, Metric]) -> str | None:
    cropped, whole = by_metric.get(CROPPED), by_metric.get(WHOLE)
    if cropped is None or whole is None or cropped.high is None or whole.low is None or cropped.high >= whole.low:
        return None
    metrics = f"AUROC {with_interval(cropped)}, of {with_interval(whole)}"
    removed = by_metric.get(REMOVED)
    if removed is not None and removed.low is not None and removed.low > CHANCE:
        return (
            f"{CAUGHT}without the borders of the images the score loses what it told, {metrics}: marks may lie there."
        )
    return (
        f"Without the borders of the images the score tells less, {metrics}: there may be lung in them, or black "
        "borders may be foreign to this network."
    )


def _of_sources(by_metric: Mapping[str, Metric], found: Audit) -> str | None:
    told = by_metric.get(TOLD_WITHOUT)
    if told is None:
        return None
    if told.value is None or told.low is None:
        return (
            f"Whether sources can be told from the embeddings of images without COVID-19 is not known: {told.reason}."
        )
    chance = 1 / found.sources[1]
    metrics = f"balanced accuracy {with_interval(told)} (n={told.n:,}, chance {chance:.2f})"
    if told.low <= chance:
        return f"That sources can be told from the embeddings of images without COVID-19 is not shown, {metrics}."
    if not found.confounded:
        return f"Sources can be told from the embeddings, {metrics}, but every source has both classes."
    return (
        f"{CAUGHT}a linear probe tells the sources apart from embeddings of images without COVID-19, {metrics}, and "
        "not every source has images with and without COVID-19: a high AUROC over several sources can be theirs."
    )


def _of_left_out(found: Audit) -> list[str]:
    """One sentence for each source with a figure, and one for all that have none."""
    left, kept = ({f.group: f for f in found.metrics if f.metric == name} for name in (LEFT_OUT, KEPT))
    said = []
    for group, mine in left.items():
        with_it = kept[group]
        if mine.value is None or mine.high is None:
            continue
        fell = with_it.low is not None and mine.high < with_it.low
        said.append(
            f"{CAUGHT if fell else ''}leave-one-source-out: a linear probe fitted without {group} tells COVID-19 there "
            f"with AUROC {with_interval(mine)}, one fitted with it {with_interval(with_it)} (n={mine.n:,})"
            + (": what it goes by in the other sources holds less there." if fell else ": no fall can be claimed.")
        )
    none = [f"{group}: {mine.reason}" for group, mine in left.items() if mine.value is None]
    return said + ([f"Leave-one-source-out says nothing of {'; '.join(none)}."] if none else [])


def _of_heat(by_metric: Mapping[str, Metric]) -> str | None:
    inside, lungs = by_metric.get(IN_LUNGS), by_metric.get(LUNGS)
    if inside is None or lungs is None or inside.value is None or lungs.value is None:
        return None
    return (
        f"Of the Grad-CAM map of the COVID-19 score {with_interval(inside)} lies in the predicted lungs, which take "
        f"{with_interval(lungs)} of the frame (means of n={inside.n:,} images)."
    )


@dataclass(frozen=True)
class Belief:
    """What was examined.

    Args:
        figures: for metrics.json.
        chapter: of the report; empty for a bare predictions table.
    """

    metrics: list[Metric]
    chapter: Chapter


def examine(config: EvaluateConfig, images: pd.DataFrame, split: str) -> Belief:
    """The audit of shortcuts and the drift of a screen.

    Args:
        config: of the job.
        images: of `comit_ray.evaluation.screen_metrics.join_tables`.
        split: its name.

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
    audited = shortcuts.audit(images, config.results, split, config.draws, config.seed)
    shown = audit_table(audited)
    tables = {"audit": shown} if shown else {}
    return Belief(audited.metrics, Chapter(name, title, [*audit_sentences(audited), *told], tables))


def _too_few(images: pd.DataFrame, minimum: int) -> str | None:
    """Why there is no audit where one class has hardly any patient: its numbers would be anything; None: there is."""
    known = images[labelled(images, "covid")]
    counts = [(patients_of(known[known["covid"] == value]), word) for value, word in ((1, "with"), (0, "without"))]
    fewest, word = min(counts)
    if not 0 < fewest < minimum:
        return None
    return f"No audit of shortcuts: {fewest} patients {word} COVID-19, at least {minimum} are needed for its numbers."


def patients_of(images: pd.DataFrame) -> int:
    """Patients of these images; one without an id counts as one."""
    return int(images["patient_id"].nunique() + images["patient_id"].isna().sum())
