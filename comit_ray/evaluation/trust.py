"""Can the numbers of a screen be believed? What a report adds of calibration, thresholds, prevalence and subgroups."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from comit_ray.config import EvaluateConfig
from comit_ray.evaluation import (
    calibration,
    calibration_words,
    subgroup_words,
    subgroups,
    threshold_table,
    threshold_words,
)
from comit_ray.evaluation.calibration_picture import reliability_diagram
from comit_ray.evaluation.classification import PREFIXES
from comit_ray.evaluation.figure import Figure
from comit_ray.evaluation.frozen import frozen_point
from comit_ray.evaluation.picture import Picture
from comit_ray.evaluation.scores import absent_heads
from comit_ray.evaluation.tables import Table

ASIDE = frozenset(f"{prefix}thresholds_all" for prefix in PREFIXES.values())
"""Tables that are too long for a page."""
WHOLE = frozenset({*(f"{prefix}thresholds" for prefix in PREFIXES.values()), "by_sex", "by_age", "by_view"})
"""Tables that a page shows with all their rows."""


@dataclass(frozen=True)
class Trust:
    """What there is to say.

    Args:
        figures: for metrics.json.
        tables: name -> table.
        said: sentences.
        pictures: the reliability diagram.
    """

    figures: list[Figure]
    tables: dict[str, Table]
    said: list[str]
    pictures: list[Picture]


def judge(config: EvaluateConfig, images: pd.DataFrame, split: str, output: str) -> Trust:
    """Calibration, thresholds and subgroups of the scores that there are; nothing of a model without scores.

    Args:
        config: of the job.
        images: of `comit_ray.evaluation.scores.join_tables`.
        split: its name.
        output: URI of the report, below which the picture is written.

    Raises:
        StorageError: the picture cannot be written, or `run.json` is not that of a run.
    """
    absent = absent_heads(images)
    labels = [label for label in PREFIXES if label not in absent]
    if not labels:
        return Trust([], {}, [], [])
    draws, seed, minimum = config.draws, config.seed, config.subgroup_minimum

    calibrated = calibration.figures(images, split, draws, seed)
    bins = {label: calibration.reliability(images, label, split, draws, seed) for label in labels}
    figures = [*calibrated]
    tables = calibration_words.tables(calibrated, images, bins)
    said = calibration_words.sentences(calibrated, images)

    for label in labels:
        thresholds = threshold_table.scale(images, label, frozen_point(images, label, config.results))
        rows = threshold_table.rows(images, label, thresholds, config.prevalences, minimum, split, draws, seed)
        figures += threshold_words.figures(label, rows)
        tables |= threshold_words.tables(label, rows, thresholds, minimum)
        said += threshold_words.sentences(label, rows)

    grouped = subgroups.figures(images, split, minimum, draws, seed)
    tables |= subgroup_words.tables(images, grouped, minimum)
    said += subgroup_words.sentences(images, grouped, minimum)
    return Trust([*figures, *grouped], tables, said, [reliability_diagram(images, bins, output)])


def together(figures: Sequence[Figure], more: Sequence[Figure]) -> list[Figure]:
    """The figures of both, those first that both have: a dataset alone is measured, whole, without any suppression."""
    known = {(figure.metric, figure.group, figure.at, figure.level) for figure in figures}
    return [*figures, *(one for one in more if (one.metric, one.group, one.at, one.level) not in known)]
