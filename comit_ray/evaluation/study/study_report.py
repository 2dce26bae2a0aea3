"""The report of a study: tables, pictures, and what may be said of them; written from the tables alone."""

import json
from collections.abc import Sequence
from typing import Any

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.evaluation import scores_report, study_pictures, summary
from comit_ray.evaluation.picture import Picture
from comit_ray.evaluation.report import document, paper_values
from comit_ray.evaluation.report.document import Chapter, Document
from comit_ray.evaluation.study import study_masks, study_results, study_tables, study_words
from comit_ray.evaluation.study.study_metrics import Row, measure_covid, summarise
from comit_ray.evaluation.study.study_results import Study
from comit_ray.evaluation.study_comparisons import Pair, compare
from comit_ray.evaluation.tables import Table
from comit_ray.storage import storage

SPECIFICITIES = (0.99, 0.90)
"""Those of tables 4 and 5, given whatever else is asked for."""
CAUTION = """\
Not for diagnosis. Thresholds of `sensitivity at ... specificity` are taken from these very images, as the paper does,
so that the figures flatter a little. Not flagged is not normal. Figures over several datasets flatter more: where
COVID-19 and other images come from different sources, a network can tell the sources apart instead of the disease."""


def write(study_uri: str, manifest_uri: str, output: str, config: EvaluateConfig) -> str:
    """Write report.md, report.html, metrics.json, tables/ and figures/ of a study below `output`.

    Args:
        study_uri: directory of one study.
        manifest_uri: the manifest it was scored on.
        output: URI of the report.
        config: of the job; specificities, draws, seed, masks and bounds on images are used.

    Returns:
        The report's Markdown.

    Raises:
        ComitError: of `study.read`; or masks cannot be read, or the report not be written.
    """
    taken = study_results.read(study_uri, manifest_uri)
    output = storage.normalise(output)
    rows, pairs, tables = _covid(taken, config)
    masks, unreadable = study_masks.measure_masks(taken, manifest_uri, config.masks.lungs)
    segmented = summarise(taken, masks, config.draws, config.seed) if masks else []
    if masks:
        tables["segmentation"] = study_tables.segmentation(taken, segmented, unreadable)
    if taken.judge is not None:
        tables["search"] = study_tables.search(taken)
    tables["trials"] = study_tables.trials(taken)
    pictures = [] if taken.split == "val" else _pictures(taken, rows, manifest_uri, output, config)

    figures = [record for row in [*rows, *segmented] for record in records(row, taken.split)]
    storage.write_bytes(storage.join(output, "metrics.json"), json.dumps(figures, indent=1).encode())
    said = study_words.sentences(taken, rows, pairs, config.draws)
    return document.write(_document(taken, said, tables, pictures, config), output)


def _covid(taken: Study, config: EvaluateConfig) -> tuple[list[Row], list[Pair], dict[str, Table]]:
    """Figures, comparisons and tables of COVID-19; none where no trial has such a score."""
    specificities = tuple(sorted({*SPECIFICITIES, *config.specificities}, reverse=True))
    measured = measure_covid(taken, specificities)
    if measured is None:
        return [], [], {}
    rows = summarise(taken, measured, config.draws, config.seed)
    tables = {"table_04_classification": study_tables.classification(taken, rows, specificities)}
    if any(variant in paper_values.TABLE_5 for variant in taken.variants):
        tables["table_05_ablation"] = study_tables.ablation(taken, rows)
    pairs = compare(taken, measured, config.draws, config.seed) if taken.split != "val" else []
    if pairs:
        tables["comparisons"] = study_tables.comparisons(pairs, config.draws)
    if any(len(taken.of(variant)) > 1 for variant in taken.variants):
        tables["figure_08_stability"] = study_tables.stability(taken, rows)
    return rows, pairs, tables


def _pictures(
    taken: Study, rows: Sequence[Row], manifest_uri: str, output: str, config: EvaluateConfig
) -> list[Picture]:
    found = [
        *study_pictures.masks(taken, manifest_uri, output, config),
        *study_pictures.spread(rows, output),
        *study_pictures.curves(taken, output),
        *study_pictures.cases(taken, manifest_uri, output, config),
    ]
    return sorted(found, key=lambda picture: picture.name)


def records(row: Row, split: str) -> list[dict[str, Any]]:
    """A figure as it stands in `metrics.json`: of every seed, their `mean` with its interval, and their `sd`."""
    same = {"variant": row.variant}
    what = {"metric": row.key.metric, "at": row.key.at, "group": row.key.group, "split": split, "n": row.n}
    bare = {"low": None, "high": None, "interval": None, "reason": None}
    interval = row.interval
    mean = {"low": interval.low, "high": interval.high, "interval": interval.method, "reason": interval.reason}
    few = None if row.spread.deviation is not None else "one seed has no deviation"
    return [
        *({**same, "seed": seed, **what, "value": value, **bare} for seed, value in row.values.items()),
        {**same, "seed": "mean", **what, "value": row.spread.mean, **mean},
        {**same, "seed": "sd", **what, "value": row.spread.deviation, **bare, "reason": few},
    ]


def _summary(taken: Study, people: int) -> Table:
    seeds = sorted({trial.seed for variant in taken.variants for trial in taken.of(variant)})
    covid = taken.images["covid"]
    counts = f"{int((covid == 1).sum()):,} with COVID-19 and {int((covid == 0).sum()):,} without"
    data = f"{len(taken.images):,} images of {people:,} patients of the {taken.split} split, {counts}"
    rows = (
        ("What was asked", f"How do {len(taken.variants):,} variants compare: {', '.join(taken.variants)}?"),
        ("On what data", f"{data}; {len(seeds):,} seeds each"),
        ("The answer", "the first table below, each figure with its interval and its spread over seeds"),
        ("What it does not mean", summary.NOT_MEANT),
    )
    return Table("What was asked", ("question", "answer"), rows)


def _document(
    taken: Study, said: Sequence[str], tables: dict[str, Table], pictures: Sequence[Picture], config: EvaluateConfig
) -> Document:
    people = scores_report.people(taken.images)
    return Document(
        f"Study {taken.name}: {taken.split} split, {len(taken.images):,} images of {people:,} patients",
        CAUTION,
        [
            Chapter("summary", "Summary", (), {"summary": _summary(taken, people)}),
            Chapter("said", "What may be said", said),
            Chapter("tables", "Tables", (), tables),
            Chapter("pictures", "Pictures", (), {}, pictures),
        ],
        f"Intervals and tests: {config.draws:,} draws, seed {config.seed}. Numbers are cut, not rounded.",
    )
