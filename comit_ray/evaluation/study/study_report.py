"""Writes the report of a study from its tables: tables, pictures and conclusions.

The pictures follow figures 5 to 12 of the paper. A picture is drawn if the study has the masks, scores or seeds for it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.evaluation import metrics_report, summary
from comit_ray.evaluation.pictures import case_pictures, curve_pictures, embedding_pictures, mask_pictures
from comit_ray.evaluation.pictures.picture import Picture, nothing
from comit_ray.evaluation.report import document, paper_values
from comit_ray.evaluation.report.document import Chapter, ReportDocument, Table
from comit_ray.evaluation.report.printing import ROUNDING
from comit_ray.evaluation.screen_metrics import join_tables
from comit_ray.evaluation.study import study_masks, study_results, study_tables, study_words
from comit_ray.evaluation.study.study_metrics import Pair, StudyRow, compare, measure_covid, sensitivity, summarise
from comit_ray.evaluation.study.study_results import Study, Trial
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import Task, counted

MOST_CURVES = 10
"""The most variants of one panel: readers cannot tell more lines apart."""
OF_ONE = "Model: {variant}, seed {seed}, the first seed that was scored."
OF_FIRST = "Each model is shown with its first seed that was scored."


def curve_pictures_of(study: Study, output: str) -> list[Picture]:
    """Draws ROC and precision-recall curves (figure 9): networks in one panel, classifiers on embeddings in the other.

    Args:
        study: the study, as read.
        output: URI of the report.
    """
    panels: dict[str, dict[str, list[pd.DataFrame]]] = {}
    for variant in study.variants:
        tables = [study.joined(trial) for trial in study.ok(variant)]
        if any(table["p_covid"].notna().any() for table in tables):
            for title in _panels(study, variant):
                panels.setdefault(title, {})[variant] = tables
    if any(len(variants) > MOST_CURVES for variants in panels.values()):
        why = f"a plot of more than {MOST_CURVES} variants cannot be read"
        return [nothing("figure_09_roc", "ROC curves.", why)]
    if not panels:
        return []
    return [curve_pictures.rocs(panels, output), curve_pictures.precision_recalls(panels, output)]


def _panels(study: Study, variant: str) -> list[str]:
    """Returns the titles of the panels that show a variant.

    Figure 9 (a) has the networks, and (b) COMiT-Net and the classifiers on its embeddings.
    """
    kinds = {trial.row["kind"] for trial in study.trials if trial.row}
    if "embedding_classifier" not in kinds:
        return ["All variants"]
    mine = study.ok(variant)[0].row["kind"]
    titles = ["Networks"] if mine == "network" else ["Classifiers on embeddings"]
    return [*titles, "Classifiers on embeddings"] if variant == "COMiT-Net" else titles


def spread_pictures_of(rows: Iterable[StudyRow], output: str) -> list[Picture]:
    """Draws the spread over seeds (figure 8) if a variant has several seeds.

    Args:
        rows: result of `study_metrics.summarise` for COVID-19.
        output: URI of the report.
    """
    values = {row.variant: list(row.values.values()) for row in rows if row.key == sensitivity(paper_values.AT_99)}
    if not any(len(of_seeds) > 1 for of_seeds in values.values()):
        return []
    return [curve_pictures.seed_spread(values, output)]


def mask_pictures_of(study: Study, manifest_uri: str, output: str, config: EvaluateConfig) -> list[Picture]:
    """Draws the masks of every model (figures 5 to 7), with the first seed of each that was scored.

    Args:
        study: the study, as read.
        manifest_uri: its manifest, with references of annotated masks.
        output: URI of the report.
        config: options of the job.
    """
    found = []
    for task, column in (("lung", "lung_area"), ("disease", "disease_area")):
        models = {
            variant.removesuffix(f" ({task})"): study.ok(variant)[0]
            for variant in study.variants
            if study.ok(variant) and study.scores[study.ok(variant)[0].id][column].notna().any()
        }
        if not models:
            continue
        tables = {name: _images(study, trial, manifest_uri) for name, trial in models.items()}
        if task == "lung":
            found.append(
                mask_pictures.masks_beside(
                    tables, "lung", output, config.decode, seed=config.seed, lungs=config.masks.lungs
                )
            )
        else:
            found += [
                mask_pictures.masks_beside(tables, "disease", output, config.decode, seed=config.seed),
                mask_pictures.masks_beside(
                    tables, "disease", output, config.decode, seed=config.seed, only="not_covid"
                ),
            ]
    return [_said(OF_FIRST, picture) for picture in found]


def case_pictures_of(study: Study, manifest_uri: str, output: str, config: EvaluateConfig) -> list[Picture]:
    """Draws single cases, embeddings and heat maps (figures 10 to 12).

    The model is COMiT-Net with all its tasks. In a study without it, the first network with a health and a COVID-19
    head.

    Args:
        study: the study, as read.
        manifest_uri: its manifest.
        output: URI of the report.
        config: options of the job.
    """
    trial = _shown(study)
    if trial is None:
        return []
    images, results = _images(study, trial, manifest_uri), study.results(trial)
    found = [case_pictures.misclassified(images, output, config.decode, seed=config.seed, lungs=config.masks.lungs)]
    if storage.exists(storage.join(results, "embeddings")):
        found.append(embedding_pictures.embedding_map(images, results, output, config.seed))
    if storage.exists(storage.join(results, "gradcam")):
        found.append(mask_pictures.gradcam(images, results, output, config.decode, seed=config.seed))
    return [_said(OF_ONE.format(variant=trial.variant, seed=trial.seed), picture) for picture in found]


def _said(what: str, picture: Picture) -> Picture:
    """Returns the picture, with a sentence on its model before its caption."""
    return replace(picture, caption=f"{what} {picture.caption}")


def _shown(study: Study) -> Trial | None:
    both = {Task.HEALTH, Task.COVID}
    names = [*(name for name in ("All 4 tasks", "COMiT-Net") if name in study.variants), *study.variants]
    trials = [trial for name in names for trial in study.ok(name)]
    return next((t for t in trials if t.row["kind"] == "network" and both <= set(t.row["tasks"])), None)


def _images(study: Study, trial: Trial, manifest_uri: str) -> pd.DataFrame:
    images: pd.DataFrame = join_tables(study.results(trial), manifest_uri, study.split)
    return images


CAUTION = """\
Not for diagnosis. Not flagged is not normal. For each "sensitivity at ... specificity" the
threshold is chosen on these same images, as in the paper, so that the metric looks a little better than it is. Metrics
over several datasets can look much better than they are: if COVID-19 and other images come from different sources, a
network can recognise the source instead of the disease."""


def write(study_uri: str, manifest_uri: str, output: str, config: EvaluateConfig) -> str:
    """Writes the report of a study below `output`: report.md, report.html, metrics.json, tables/ and figures/.

    Args:
        study_uri: directory of the study.
        manifest_uri: the manifest that it was scored on.
        output: URI of the report.
        config: options of the job; the report uses specificities, draws, seed, masks and the limits for decoding.

    Returns:
        The report as Markdown.

    Raises:
        ComitError: as `study_results.read` raises; or masks cannot be read, or the report cannot be written.
    """
    taken = study_results.read(study_uri, manifest_uri)
    output = storage.normalise(output)
    rows, pairs, tables = _covid(taken, config)
    masks, unreadable = study_masks.measure_masks(taken, manifest_uri, config.masks.lungs)
    segmented = summarise(taken, masks, config.draws, config.seed) if masks else []
    if masks:
        tables["segmentation"] = study_tables.segmentation(taken, segmented, unreadable)
    printed = study_tables.paper(taken, [*rows, *segmented])
    if printed is not None:
        tables["paper"] = printed
    if taken.judge is not None:
        tables["search"] = study_tables.search(taken)
    tables["trials"] = study_tables.trials(taken)
    pictures = [] if taken.split == "val" else _pictures(taken, rows, manifest_uri, output, config)

    metrics = [record for row in [*rows, *segmented] for record in records(row, taken.split)]
    storage.write_bytes(storage.join(output, "metrics.json"), json.dumps(metrics, indent=1).encode())
    said = study_words.sentences(taken, rows, pairs, config.draws)
    return document.write(_document(taken, said, tables, pictures, config), output)


def _covid(taken: Study, config: EvaluateConfig) -> tuple[list[StudyRow], list[Pair], dict[str, Table]]:
    """Returns metrics, comparisons and tables of COVID-19; all are empty if no trial has a score for it."""
    # The specificities of the paper's tables 4 and 5 are always reported.
    specificities = tuple(sorted({paper_values.AT_99, paper_values.AT_90, *config.specificities}, reverse=True))
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
    taken: Study, rows: Sequence[StudyRow], manifest_uri: str, output: str, config: EvaluateConfig
) -> list[Picture]:
    found = [
        *mask_pictures_of(taken, manifest_uri, output, config),
        *spread_pictures_of(rows, output),
        *curve_pictures_of(taken, output),
        *case_pictures_of(taken, manifest_uri, output, config),
    ]
    return sorted(found, key=lambda picture: picture.name)


def records(row: StudyRow, split: str) -> list[dict[str, Any]]:
    """Returns the records of a metric in `metrics.json`: one per seed, then their `mean` and its interval, then `sd`.

    Args:
        row: the metric of a variant.
        split: the split that was scored.
    """
    same = {"variant": row.variant}
    what = {"metric": row.key.metric, "at": row.key.at, "group": row.key.group, "split": split, "n": row.n}
    bare = {"low": None, "high": None, "interval": None, "reason": None}
    interval = row.interval
    mean = {"low": interval.low, "high": interval.high, "interval": interval.method, "reason": interval.reason}
    few = None if row.spread.deviation is not None else "one seed has no standard deviation"
    return [
        *({**same, "seed": seed, **what, "value": value, **bare} for seed, value in row.values.items()),
        {**same, "seed": "mean", **what, "value": row.spread.mean, **mean},
        {**same, "seed": "sd", **what, "value": row.spread.deviation, **bare, "reason": few},
    ]


def _summary(taken: Study, people: int) -> Table:
    seeds = sorted({trial.seed for variant in taken.variants for trial in taken.of(variant)})
    covid = taken.images["covid"]
    counts = f"{int((covid == 1).sum()):,} with COVID-19 and {int((covid == 0).sum()):,} without"
    who = counted(people, "patient")
    data = f"{counted(len(taken.images), 'image')} of {who} in the {taken.split} split, {counts}"
    rows = (
        ("What was asked", f"How do the variants compare: {', '.join(taken.variants)}?"),
        ("On what data", f"{data}; {counted(len(seeds), 'seed')} for each variant"),
        (
            "The answer",
            "see the first table below, which gives each metric with its interval and its spread over seeds",
        ),
        ("What it does not mean", summary.NOT_MEANT),
    )
    return Table("What was asked", ("question", "answer"), rows)


def _document(
    taken: Study, said: Sequence[str], tables: dict[str, Table], pictures: Sequence[Picture], config: EvaluateConfig
) -> ReportDocument:
    people = metrics_report.people(taken.images)
    return ReportDocument(
        f"Study {taken.name}: {taken.split} split, {counted(len(taken.images), 'image')} of "
        f"{counted(people, 'patient')}",
        CAUTION,
        [
            Chapter("summary", "Summary", (), {"summary": _summary(taken, people)}),
            Chapter("said", "What the results show", said),
            Chapter("tables", "Tables", (), tables),
            Chapter("pictures", "Pictures", (), {}, pictures),
        ],
        f"Intervals and tests use {config.draws:,} random draws with seed {config.seed}. {ROUNDING}",
    )
