"""Can the figures of a screen be believed: calibration, what a threshold costs, and whom the model may fail."""

from collections.abc import Sequence

import pandas as pd

from comit_ray.config import EvaluateConfig
from comit_ray.evaluation import calibration, subgroups, threshold_table
from comit_ray.evaluation.classification import PREFIXES
from comit_ray.evaluation.figure import Figure
from comit_ray.evaluation.tables import Table


def judge(
    images: pd.DataFrame, figures: Sequence[Figure], config: EvaluateConfig, split: str
) -> tuple[list[str], dict[str, Table], list[Figure]]:
    """Sentences, tables and further figures.

    Args:
        images: of `scores.join_tables`.
        figures: of `scores.figures`, which measures calibration with all else.
        config: of the job.
        split: that is scored.
    """
    tables = {}
    for label, prefix in PREFIXES.items():
        table = calibration.table(figures, label)
        if table is not None:
            tables[f"{prefix}reliability"] = table
    costs, at_thresholds = threshold_table.tables(
        images, config.prevalences, config.subgroup_minimum, split, config.draws, config.seed
    )
    grouped = subgroups.figures(images, config.subgroup_minimum, split, config.draws, config.seed)
    said = [*calibration.sentences(figures), *(subgroups.sentences(grouped) if grouped else [])]
    return said, tables | costs | subgroups.tables(grouped, config.subgroup_minimum), [*at_thresholds, *grouped]
