"""Writes the report of one screen, or of a table of predictions, from tables alone.

Beside the metrics it judges whether they can be trusted: shortcuts, calibration, thresholds and subgroups.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass

import pandas as pd

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.evaluation import (
    archive_report,
    calibration,
    calibration_report,
    confusion,
    external,
    external_report,
    first_page,
    frontal_report,
    labelled_images,
    metrics_report,
    model_card,
    screen_metrics,
    shortcuts_report,
    subgroups,
    subgroups_report,
    summary,
    thresholds_report,
    two_screens,
)
from comit_ray.evaluation import thresholds as threshold_table
from comit_ray.evaluation.calibration import reliability_diagram
from comit_ray.evaluation.classification import PREFIXES, operating_points
from comit_ray.evaluation.labelled_images import LabelledImages
from comit_ray.evaluation.pictures import report_pictures
from comit_ray.evaluation.report import document
from comit_ray.evaluation.report.document import Chapter, ReportDocument, Table
from comit_ray.evaluation.report.printing import ROUNDING
from comit_ray.evaluation.screen_metrics import absent_heads
from comit_ray.evaluation.segmentation import segmentation_counts_of
from comit_ray.evaluation.shortcuts_report import ALARMS
from comit_ray.evaluation.thresholds import stored_operating_point
from comit_ray.statistics.metric import Metric
from comit_ray.storage import storage

ASIDE = frozenset(f"{prefix}thresholds_all" for prefix in PREFIXES.values())
"""Tables that are too long for a page; the report has them in tables/ alone."""
WHOLE = frozenset({*(f"{prefix}thresholds" for prefix in PREFIXES.values()), subgroups_report.ENOUGH})
"""Tables of which the report shows all rows."""
REPEATED = frozenset({"confusion", *(f"{prefix}calibration_bins" for prefix in PREFIXES.values())})
"""Tables that the report does not show, because another table or picture repeats them; so do subgroups by attribute."""
SAID_ELSEWHERE = {
    "summary": frozenset({"Can it be believed?", "Inside one source"} | summary.ANSWERS),
    "model_card": frozenset({"Evaluation data", "Operating point", "Metrics", "Uncertainty", "Limits"}),
    "claim": frozenset({model_card.UNANSWERED}),
}
"""Name of a table -> first cells of the rows that the report does not show, because other parts of it say the same."""


@dataclass(frozen=True)
class Trust:
    """Metrics and chapters that help to judge whether the scores can be trusted.

    Args:
        metrics: metrics for metrics.json.
        chapters: thresholds, calibration and subgroups; empty for a model without scores.
    """

    metrics: list[Metric]
    chapters: list[Chapter]


def judge_trust(config: EvaluateConfig, images: pd.DataFrame, split: str, output: str) -> Trust:
    """Measures calibration, thresholds and subgroups of the scores; nothing for a model without scores.

    Args:
        config: options of the job.
        images: result of `screen_metrics.join_tables`.
        split: name of the split.
        output: URI of the report, below which the picture is written.

    Raises:
        StorageError: the picture cannot be written, or `run.json` is not that of a run.
    """
    absent = absent_heads(images)
    labels = [label for label in PREFIXES if label not in absent]
    if not labels:
        return Trust([], [])
    draws, seed, minimum = config.draws, config.seed, config.subgroup_minimum

    metrics: list[Metric] = []
    tables: dict[str, Table] = {}
    said: list[str] = []
    for label in labels:
        thresholds = threshold_table.scale(images, label, stored_operating_point(images, label, config.results))
        rows = threshold_table.rows(images, label, thresholds, config.prevalences, minimum, split, draws, seed)
        metrics += thresholds_report.prevalence_metrics(label, rows)
        tables |= thresholds_report.tables(label, rows, thresholds, minimum)
        said += [] if said else thresholds_report.sentences(label, rows)
    said += thresholds_report.reading() if said else []

    calibrated = calibration.calibration_metrics(images, split, draws, seed)
    bins = {label: calibration.reliability(images, label, split, draws, seed) for label in labels}
    grouped = subgroups.subgroup_metrics(images, split, minimum, draws, seed)
    chapters = [
        Chapter("thresholds", "Thresholds and reading work", said, tables),
        Chapter(
            "calibration",
            "Calibration",
            calibration_report.sentences(calibrated, images),
            calibration_report.tables(calibrated, images, bins),
            [reliability_diagram(images, bins, output)],
        ),
        Chapter(
            "subgroups",
            "Subgroups",
            subgroups_report.sentences(images, grouped, minimum),
            subgroups_report.enough(images, grouped) | subgroups_report.tables(images, grouped, minimum),
        ),
    ]
    return Trust([*metrics, *calibrated, *grouped], chapters)


def together(metrics: Sequence[Metric], more: Sequence[Metric]) -> list[Metric]:
    """All metrics of both, without repetition; a metric in both is taken from the first, which is never suppressed.

    Args:
        metrics: metrics of all images and of each dataset.
        more: further metrics, such as those of subgroups.
    """
    known = {(metric.metric, metric.group, metric.at, metric.level) for metric in metrics}
    return [*metrics, *(one for one in more if (one.metric, one.group, one.at, one.level) not in known)]


def write(config: EvaluateConfig, more: Sequence[Chapter] = ()) -> str:
    """Writes report.md, report.html, metrics.json, tables/ and figures/ below `config.output`.

    If two screens are compared, it writes comparison.json too.

    Args:
        config: options of the job, with `results` or `predictions`.
        more: further chapters, such as the reading room's, placed before the scores.

    Returns:
        The report as Markdown.

    Raises:
        ComitError: as `screen_metrics.join_tables` and `external.read_reviews` raise; or the report cannot be written.
    """
    if config.results is not None and not config.external and archive_report.unlabelled(config.manifest):
        return archive_report.write(config, more)
    split = config.split or ("all" if config.external else "test")
    with _opened(config, split, config.results or config.predictions) as source:
        return _written(config, source, split, more)


def _written(config: EvaluateConfig, source: LabelledImages, split: str, more: Sequence[Chapter]) -> str:
    images = source.frame
    readings = external.read_reviews(config.reviews, config.manifest) if config.reviews and config.external else None
    verdicts = None if readings is None else external.consensus(readings)
    measured = screen_metrics.screen_metrics(
        images,
        split,
        config.masks.lungs,
        config.specificities,
        config.draws,
        config.seed,
        sensitivities=config.sensitivities,
        more=external.metrics_of(operating_points(images)["covid"], verdicts) if config.external else None,
        masks=segmentation_counts_of(source.annotated(), config.masks.lungs),
    )
    measured = first_page.suppressed(measured, images, config.subgroup_minimum)
    output = storage.normalise(config.output)
    source.constants = _thresholds(images, config.results)
    trusted = judge_trust(config, images, split, output)
    audited = shortcuts_report.examine(config, images, split, source)
    drawn = report_pictures.draw(config, source, verdicts, split, output)
    tables = metrics_report.tables(measured, images, config.external) | confusion.tables(images)
    measured = together([*measured, *audited.metrics], trusted.metrics)
    chapters = [
        audited.chapter,
        frontal_report.chapter(config.results, images),
        *_comparison(config, images, split, output),
        *_external(config, images, measured, verdicts, readings),
        *more,
        Chapter(
            "scores",
            "Scores",
            metrics_report.sentences(images, measured),
            {name: shown for name, shown in tables.items() if name != "masks"},
            drawn.curves,
        ),
        Chapter("masks", "Masks", (), {name: shown for name, shown in tables.items() if name == "masks"}),
        *trusted.chapters,
        Chapter("galleries", "Single images", (), {}, drawn.galleries),
        Chapter("gradcam", "Heat maps", (), {}, drawn.heat),
        Chapter("embeddings", "Map of the embeddings", (), {}, drawn.maps),
    ]
    metrics = json.dumps([metric.to_json() for metric in measured], indent=1)
    storage.write_bytes(storage.join(output, "metrics.json"), metrics.encode())
    return document.write(_document(config, images, measured, split, chapters), output)


def _thresholds(images: pd.DataFrame, results: str | None) -> dict[str, float | None]:
    """The stored threshold of each score, for captions."""
    points = {label: stored_operating_point(images, label, results) for label in PREFIXES}
    return {f"{label}_threshold": point.threshold if point else None for label, point in points.items()}


def _opened(
    config: EvaluateConfig, split: str, uri: str | None, *, compared: bool = False
) -> AbstractContextManager[LabelledImages]:
    assert uri is not None, "the configuration asks for results or predictions"
    memory = config.memory_gib / 2 if compared else config.memory_gib  # the first screen's columns are in memory then
    options = {"bare": config.results is None, "whole_ids": config.external and not compared, "compared": compared}
    return labelled_images.opened(uri, config.manifest, split, memory, **options)


def _comparison(config: EvaluateConfig, images: pd.DataFrame, split: str, output: str) -> list[Chapter]:
    if config.compare is None:
        return []
    with _opened(config, split, config.compare, compared=True) as other:
        others = other.frame
    differences = two_screens.compare(images, others, config.draws, config.seed)
    records = json.dumps([asdict(one) for one in differences], indent=1)
    storage.write_bytes(storage.join(output, "comparison.json"), records.encode())
    said, table = two_screens.sentences(differences, images, others), two_screens.table(differences)
    return [Chapter("comparison", "Comparison with another screen", said, {"comparison": table})]


def _external(
    config: EvaluateConfig,
    images: pd.DataFrame,
    metrics: Sequence[Metric],
    verdicts: pd.DataFrame | None,
    readings: pd.DataFrame | None,
) -> list[Chapter]:
    if not config.external:
        return []
    said = external_report.sentences(images, metrics, verdicts)
    return [Chapter("external", "Found and missed", said, external_report.tables(images, verdicts, readings))]


def _document(
    config: EvaluateConfig, images: pd.DataFrame, metrics: Sequence[Metric], split: str, chapters: Sequence[Chapter]
) -> ReportDocument:
    """The document: the summary, then the chapters, the model card and how to read the metrics."""
    believed = chapters[0].said
    first = summary.table(images, metrics, split, config.results, believed)
    known = model_card.read(config.results)
    card = model_card.card_table(images, known, first, believed, config)
    titles = {chapter.name: chapter.title for chapter in chapters if not chapter.empty}
    items = model_card.claim_table(model_card.claim(images, known, config, titles, split))
    whole = [
        Chapter("summary", "Summary", (), {"summary": first}),
        *chapters,
        Chapter("model_card", "Model card", (), {"model_card": card, "claim": items}),
        Chapter("reading", "How to read the metrics", [*metrics_report.READING, metrics_report.intervals(config)]),
    ]
    what = "External archive" if config.external else "Evaluation"
    which = "" if split == "all" else f"{split} split, "
    pictures = [picture for chapter in chapters for picture in chapter.pictures]
    front = first_page.write(images, metrics, believed, pictures, config.subgroup_minimum)
    shown_whole = {*metrics_report.SECTIONS, "audit", "comparison", "summary", "model_card", "claim", *WHOLE}
    return ReportDocument(
        f"{what}: {which}{metrics_report.of_patients(images)}",
        metrics_report.CAUTION,
        whole,
        f"{ROUNDING} The file metrics.json has every metric, and the folder tables/ every table as CSV and LaTeX.",
        frozenset(name for chapter in whole for name in chapter.tables) - shown_whole,
        ASIDE,
        ALARMS,
        front,
        frozenset({"claim"}),
        REPEATED | {f"by_{attribute}" for attribute in subgroups.ATTRIBUTES},
        SAID_ELSEWHERE,
    )
