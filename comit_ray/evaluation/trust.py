"""Can the numbers of a screen be believed? What a report adds of calibration, thresholds, prevalence and subgroups."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.evaluation import calibration, calibration_report, subgroups, subgroups_report, thresholds_report
from comit_ray.evaluation import thresholds as threshold_table
from comit_ray.evaluation.calibration_picture import reliability_diagram
from comit_ray.evaluation.classification import PREFIXES
from comit_ray.evaluation.frozen import frozen_point
from comit_ray.evaluation.report.document import Chapter
from comit_ray.evaluation.scores import absent_heads
from comit_ray.evaluation.tables import Table
from comit_ray.statistics.metric import Figure

ASIDE = frozenset(f"{prefix}thresholds_all" for prefix in PREFIXES.values())
"""Tables that are too long for a page."""
WHOLE = frozenset({*(f"{prefix}thresholds" for prefix in PREFIXES.values()), "by_sex", "by_age", "by_view"})
"""Tables that a page shows with all their rows."""


@dataclass(frozen=True)
class Trust:
    """What there is to say.

    Args:
        figures: for metrics.json.
        chapters: thresholds, calibration, subgroups; none of a model without scores.
    """

    figures: list[Figure]
    chapters: list[Chapter]


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
        return Trust([], [])
    draws, seed, minimum = config.draws, config.seed, config.subgroup_minimum

    figures: list[Figure] = []
    tables: dict[str, Table] = {}
    said: list[str] = []
    for label in labels:
        thresholds = threshold_table.scale(images, label, frozen_point(images, label, config.results))
        rows = threshold_table.rows(images, label, thresholds, config.prevalences, minimum, split, draws, seed)
        figures += thresholds_report.figures(label, rows)
        tables |= thresholds_report.tables(label, rows, thresholds, minimum)
        said += thresholds_report.sentences(label, rows)

    calibrated = calibration.figures(images, split, draws, seed)
    bins = {label: calibration.reliability(images, label, split, draws, seed) for label in labels}
    grouped = subgroups.figures(images, split, minimum, draws, seed)
    chapters = [
        Chapter("thresholds", "Thresholds and what they cost", said, tables),
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
            subgroups_report.tables(images, grouped, minimum),
        ),
    ]
    return Trust([*figures, *calibrated, *grouped], chapters)


def together(figures: Sequence[Figure], more: Sequence[Figure]) -> list[Figure]:
    """The figures of both, those first that both have: a dataset alone is measured, whole, without any suppression."""
    known = {(figure.metric, figure.group, figure.at, figure.level) for figure in figures}
    return [*figures, *(one for one in more if (one.metric, one.group, one.at, one.level) not in known)]
