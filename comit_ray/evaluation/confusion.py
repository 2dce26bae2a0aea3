"""Counts images by label and flag; every share in a report can be computed again from these counts."""

import numpy as np
import pandas as pd

from comit_ray.errors import Status
from comit_ray.evaluation.classification import NAMES, PREFIXES, judged, operating_points
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.screen_metrics import by_dataset
from comit_ray.statistics.roc import Confusion

COLUMNS = ["dataset", "covid", "unhealthy", "covid_flag", "unhealthy_flag"]
"""Columns that are counted, so that no others are copied."""
KINDS = ("COVID-19", "other disease", "healthy", "not COVID-19, health not known", "COVID-19 not known")


def tables(images: pd.DataFrame) -> dict[str, Table]:
    """The tables `confusion` (each label by its own flag) and `flags` (kind of image by both flags).

    Args:
        images: result of `screen_metrics.join_tables`.

    Returns:
        No tables if there are no flags.
    """
    scored = images[COLUMNS][images["status"] == Status.OK]
    if not scored[["covid_flag", "unhealthy_flag"]].notna().any(axis=None):
        return {}
    return {"confusion": _confusion(images), "flags": _flags(scored)}


def _confusion(images: pd.DataFrame) -> Table:
    points = operating_points(images)
    rows = []
    for group, mine in by_dataset(images, alone=False):
        for label in PREFIXES:
            known_N = judged(mine, label)
            if not known_N.any():
                continue
            flags, labels = (mine[name][known_N] for name in (f"{label}_flag", label))
            counts = Confusion.of(flags.to_numpy(bool), labels.to_numpy(np.int8))
            cells = (
                counts.true_positives,
                counts.false_negatives,
                counts.false_positives,
                counts.true_negatives,
            )
            rows.append((group, NAMES[label], points[label] or "several", *(f"{count}" for count in cells)))
    columns = (
        *("images", "score", "operating point", "positive, flagged", "positive, not flagged"),
        *("negative, flagged", "negative, not flagged"),
    )
    note = "Numbers of images that have both a label and a flag."
    return Table("Labels and flags at the operating point", columns, tuple(rows), note)


def _flags(scored: pd.DataFrame) -> Table:
    rows = []
    for group, mine in by_dataset(scored, alone=False):
        kinds = kinds_of(mine)
        for kind in KINDS:
            of_kind = mine[kinds == kind]
            if not of_kind.empty:
                rows.append((group, kind, *_cells(of_kind), f"{len(of_kind)}"))
    columns = (
        *("images", "label", "flagged COVID-19", "not flagged COVID-19", "flagged unhealthy", "not flagged unhealthy"),
        *("neither flag", "all"),
    )
    note = (
        "Numbers of scored images. The label COVID-19 comes before other findings; such an image may show no "
        "abnormality. If a score has no flag for some images, its two counts add up to less than all. Not flagged is "
        "not normal."
    )
    return Table("Flags by label", columns, tuple(rows), note)


def kinds_of(images: pd.DataFrame) -> pd.Series:
    """The kind of each image, one of `KINDS`."""
    covid, unhealthy = images["covid"], images["unhealthy"]
    chosen = [covid == 1, (covid == 0) & (unhealthy == 1), (covid == 0) & (unhealthy == 0), covid == 0]
    codes_N = np.select(chosen, np.arange(4, dtype=np.int8), np.int8(4))
    return pd.Series(pd.Categorical.from_codes(codes_N, pd.Index(KINDS)), index=images.index)


def _cells(images: pd.DataFrame) -> list[str]:
    counts = []
    for label in PREFIXES:
        flags = images[f"{label}_flag"].dropna().astype(bool)
        counts += [int(flags.sum()), int((~flags).sum())]
    both = images[images["covid_flag"].notna() & images["unhealthy_flag"].notna()]
    neither = ~both["covid_flag"].astype(bool) & ~both["unhealthy_flag"].astype(bool)
    return [f"{count}" for count in [*counts, int(neither.sum())]]
