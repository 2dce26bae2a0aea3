"""The pictures of a study's report: figures 5 to 12 of the paper, where the study has what they show."""

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.evaluation.picture import Picture, nothing
from comit_ray.evaluation.pictures import report_pictures
from comit_ray.evaluation.report import paper_values
from comit_ray.evaluation.scores import join_tables
from comit_ray.evaluation.study.study_metrics import Row, sensitivity
from comit_ray.evaluation.study.study_results import Study, Trial
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import Task

MOST_CURVES = 10
"""Variants of one panel: more lines cannot be told apart."""
OF_ONE = "Of {variant}, seed {seed}, the first that was scored."
OF_FIRST = "Of each model's first seed that was scored."


def curves(study: Study, output: str) -> list[Picture]:
    """Figure 9: ROC, and precision beside recall; networks in one panel, classifiers on embeddings in the other."""
    panels: dict[str, dict[str, list[pd.DataFrame]]] = {}
    for variant in study.variants:
        tables = [study.joined(trial) for trial in study.ok(variant)]
        if any(table["p_covid"].notna().any() for table in tables):
            for title in _panels(study, variant):
                panels.setdefault(title, {})[variant] = tables
    if any(len(variants) > MOST_CURVES for variants in panels.values()):
        return [nothing("figure_09_roc", "ROC curves.", f"more than {MOST_CURVES} variants cannot be told apart")]
    if not panels:
        return []
    points = {
        name: [(0.01, row.at_99), (0.10, row.at_90)]
        for name, row in paper_values.TABLE_4.items()
        if name in study.variants
    }
    return [report_pictures.rocs(panels, output, points), report_pictures.precision_recalls(panels, output)]


def _panels(study: Study, variant: str) -> list[str]:
    """Figure 9 (a) has the networks, (b) COMiT-Net and the classifiers on its embeddings."""
    kinds = {trial.row["kind"] for trial in study.trials if trial.row}
    if "embedding_classifier" not in kinds:
        return ["All variants"]
    mine = study.ok(variant)[0].row["kind"]
    titles = ["Networks"] if mine == "network" else ["Classifiers on embeddings"]
    return [*titles, "Classifiers on embeddings"] if variant == "COMiT-Net" else titles


def spread(rows: Iterable[Row], output: str) -> list[Picture]:
    """Figure 8, where a variant has several seeds."""
    values = {row.variant: list(row.values.values()) for row in rows if row.key == sensitivity(0.99)}
    if not any(len(of_seeds) > 1 for of_seeds in values.values()):
        return []
    theirs: dict[str, tuple[float | None, float | None]] = {
        name: (row.at_99, None) for name, row in paper_values.TABLE_4.items()
    }
    return [report_pictures.seed_spread(values, theirs, output)]


def masks(study: Study, manifest_uri: str, output: str, config: EvaluateConfig) -> list[Picture]:
    """Figures 5 to 7: the masks of every model, of its first seed that was scored."""
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
                report_pictures.masks_beside(
                    tables, "lung", output, config.decode, seed=config.seed, lungs=config.masks.lungs
                )
            )
        else:
            found += [
                report_pictures.masks_beside(tables, "disease", output, config.decode, seed=config.seed),
                report_pictures.masks_beside(
                    tables, "disease", output, config.decode, seed=config.seed, only="not_covid"
                ),
            ]
    return [_said(OF_FIRST, picture) for picture in found]


def cases(study: Study, manifest_uri: str, output: str, config: EvaluateConfig) -> list[Picture]:
    """Figures 10 to 12, of COMiT-Net with all its tasks; of a study without it, of its first network with the heads."""
    trial = _shown(study)
    if trial is None:
        return []
    images, results = _images(study, trial, manifest_uri), study.results(trial)
    found = [report_pictures.misclassified(images, output, config.decode, seed=config.seed, lungs=config.masks.lungs)]
    if storage.exists(storage.join(results, "embeddings")):
        found.append(report_pictures.embedding_map(images, results, output, config.seed))
    if storage.exists(storage.join(results, "gradcam")):
        found.append(report_pictures.gradcam(images, results, output, config.decode, seed=config.seed))
    return [_said(OF_ONE.format(variant=trial.variant, seed=trial.seed), picture) for picture in found]


def _said(what: str, picture: Picture) -> Picture:
    """The picture, with whose it is before its caption."""
    return replace(picture, caption=f"{what} {picture.caption}")


def _shown(study: Study) -> Trial | None:
    both = {Task.HEALTH, Task.COVID}
    names = [*(name for name in ("All 4 tasks", "COMiT-Net") if name in study.variants), *study.variants]
    trials = [trial for name in names for trial in study.ok(name)]
    return next((t for t in trials if t.row["kind"] == "network" and both <= set(t.row["tasks"])), None)


def _images(study: Study, trial: Trial, manifest_uri: str) -> pd.DataFrame:
    images: pd.DataFrame = join_tables(study.results(trial), manifest_uri, study.split)
    return images
