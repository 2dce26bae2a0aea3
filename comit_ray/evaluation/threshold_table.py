"""What a threshold costs and finds: sensitivity, specificity, and at given prevalences what is sent to readers.

In the manner of the WHO/TDR toolkit "Determining the local calibration of computer-assisted detection (CAD) thresholds
and other parameters" (2021): a programme chooses its threshold on its own images, by what its readers can take.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.errors import Status
from comit_ray.evaluation.figure import Figure
from comit_ray.evaluation.measure import Ratio, measure, ratios, share
from comit_ray.evaluation.printing import cut, with_interval
from comit_ray.evaluation.tables import Table

MOST = 200
"""Thresholds in the table; of more distinct scores those at equal steps through the sorted images are taken."""
FOUND = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)
"""Sensitivities whose thresholds the report shows."""
ALL = "thresholds_all"
SENSITIVITY, SPECIFICITY = "sensitivity_at_threshold", "specificity_at_threshold"
BY = ("dataset", "view")


def thresholds(scores: npt.ArrayLike) -> list[float]:
    """Every distinct score, falling: at or above it an image is flagged. At most `MOST`, the ends always among them.

    Args:
        scores: (N,) of the images that are scored and labelled.
    """
    distinct = np.unique(np.asarray(scores, np.float32))[::-1]
    if len(distinct) > MOST:
        distinct = distinct[np.unique(np.linspace(0, len(distinct) - 1, MOST).round().astype(int))]
    return [float(value) for value in distinct]


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float | None, float | None]:
    """Positive and negative predictive value at a prevalence (Bayes); None where nobody is flagged, or everybody.

    Args:
        sensitivity: share of the positive that is flagged.
        specificity: share of the negative that is not.
        prevalence: share that is positive, above 0 and below 1.

    Raises:
        ValueError: a prevalence outside its range.
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence must be above 0 and below 1, got {prevalence}")
    found, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    cleared, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return (
        found / (found + false) if found + false else None,
        cleared / (cleared + missed) if cleared + missed else None,
    )


def tables(
    images: pd.DataFrame, prevalences: Sequence[float], minimum: int, split: str, draws: int, seed: int
) -> tuple[dict[str, Table], list[Figure]]:
    """`thresholds` and `thresholds_all`; `thresholds_by`, groups at the operating point, and the figures of that.

    Args:
        images: of `scores.join_tables`.
        prevalences: of COVID-19, each above 0 and below 1.
        minimum: positives, and negatives, below which a group's figures are not shown.
        split: its name.
        draws: of the bootstrap, where patients have several images.
        seed: of the draws.
    """
    known = images[(images["status"] == Status.OK) & images["covid"].notna() & images["p_covid"].notna()]
    if known["covid"].nunique() < 2:
        return {}, []
    grid = thresholds(known["p_covid"])
    figures = measure([ratios(_at(known, grid))], known["patient_id"], split, "all", draws, seed)
    whole = _whole(figures, grid, prevalences, len(np.unique(known["p_covid"])))
    found = {"thresholds": _first_to_find(whole, figures), ALL: whole}
    grouped, more = _groups(known, prevalences, minimum, split, draws, seed)
    return found | grouped, more


def _at(images: pd.DataFrame, grid: Sequence[float]) -> list[Ratio]:
    scores_N, positive_N = images["p_covid"].to_numpy(np.float32), (images["covid"] == 1).to_numpy(bool)
    found = []
    for threshold in grid:
        flagged_N = scores_N >= np.float32(threshold)
        found += [
            share(SENSITIVITY, flagged_N, positive_N, threshold),
            share(SPECIFICITY, ~flagged_N, ~positive_N, threshold),
        ]
    return found


def _whole(figures: Sequence[Figure], grid: Sequence[float], prevalences: Sequence[float], distinct: int) -> Table:
    pairs = zip(figures[::2], figures[1::2], strict=True)
    rows = tuple((_score(at), *_cells(one, other, prevalences)) for at, (one, other) in zip(grid, pairs, strict=True))
    first, other = figures[:2]
    note = (
        f"An image is flagged at or above the threshold. Over {first.n:,} images labelled COVID-19 and {other.n:,} "
        f"labelled otherwise; {len(grid):,} of {distinct:,} distinct scores. {_OF_PREVALENCE} Choosing a threshold "
        "here and quoting its figures flatters them: choose on one set of images, and judge on another."
    )
    return Table("COVID-19: what a threshold finds and costs", ("threshold", *_columns(prevalences)), rows, note)


def _first_to_find(whole: Table, figures: Sequence[Figure]) -> Table:
    """Of every share in `FOUND` the highest threshold that finds as much."""
    values = [figure.value or 0.0 for figure in figures[::2]]
    chosen = dict.fromkeys(next((i for i, value in enumerate(values) if value >= least), None) for least in FOUND)
    rows = tuple(whole.rows[place] for place in chosen if place is not None)
    shares = ", ".join(f"{least * 100:g}%" for least in FOUND)
    note = f"The highest thresholds that find at least {shares}; tables/{ALL}.csv has the others. {whole.note}"
    return Table(whole.title, whole.columns, rows, note)


def _groups(
    known: pd.DataFrame, prevalences: Sequence[float], minimum: int, split: str, draws: int, seed: int
) -> tuple[dict[str, Table], list[Figure]]:
    """At the frozen operating point, by dataset and by view."""
    judged = known[known["covid_flag"].notna() & known["operating_point"].notna()]
    if judged["operating_point"].nunique() != 1:
        return {}, []
    point = str(judged["operating_point"].iloc[0])
    rows, figures = [], []
    for column in BY:
        for value, mine in judged.fillna({column: "not known"}).groupby(column):
            positive_N = (mine["covid"] == 1).to_numpy(bool)
            flagged_N = mine["covid_flag"].to_numpy(bool)
            found = [
                share(SENSITIVITY, flagged_N, positive_N, point),
                share(SPECIFICITY, ~flagged_N, ~positive_N, point),
            ]
            name = f"{column}={value}"
            counts = f"{int(positive_N.sum()):,} and {int((~positive_N).sum()):,}"
            if min(positive_N.sum(), (~positive_N).sum()) < minimum:
                blank = ("not shown", *[""] * (len(_columns(prevalences)) - 1))
                rows.append((name, counts, *blank))
                continue
            measured = measure([ratios(found)], mine["patient_id"], split, name, draws, seed)
            rows.append((name, counts, *_cells(measured[0], measured[1], prevalences)))
            figures += measured
    note = (
        f"At the operating point {point}. Not shown: fewer than {minimum} images labelled COVID-19 or otherwise. "
        f"{_OF_PREVALENCE}"
    )
    columns = ("images", "labelled COVID-19 and otherwise", *_columns(prevalences))
    return {"thresholds_by": Table("The operating point by data set and view", columns, tuple(rows), note)}, figures


_OF_PREVALENCE = (
    "PPV, NPV and images read for each case found follow from the sensitivity and specificity beside them at the "
    "prevalence given; sent is the share of all images that is flagged. They hold only where images are like these."
)


def _columns(prevalences: Sequence[float]) -> tuple[str, ...]:
    names: tuple[str, ...] = ("sensitivity", "specificity")
    for prevalence in prevalences:
        at = f"{float(Fraction(str(prevalence)) * 100):g}%"
        names += (f"PPV at {at}", f"NPV at {at}", f"sent at {at}", f"read for one found at {at}")
    return names


def _cells(sensitivity: Figure, specificity: Figure, prevalences: Sequence[float]) -> list[str]:
    cells = [with_interval(sensitivity), with_interval(specificity)]
    assert sensitivity.value is not None, "both classes are there"
    assert specificity.value is not None, "both classes are there"
    for prevalence in prevalences:
        positive, negative = predictive_values(sensitivity.value, specificity.value, prevalence)
        found = sensitivity.value * prevalence
        sent = found + (1 - specificity.value) * (1 - prevalence)
        cells += [
            _or_dash(positive),
            _or_dash(negative),
            cut(sent),
            f"{-(-sent / found // 0.1) / 10:.1f}" if found else "-",
        ]
    return cells


def _score(value: float) -> str:
    """Six digits, so that the threshold can be told from its neighbours."""
    return f"{value:.6g}"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else cut(value)
