"""Figures by sex, age, view, source and device: does the model fail somebody? And is there enough to say so?"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.errors import Status
from comit_ray.evaluation.figure import Figure
from comit_ray.evaluation.measure import Block, BoolArray, Entry, FloatArray, IntArray, measure, ratios, share
from comit_ray.evaluation.printing import cell
from comit_ray.evaluation.tables import Table
from comit_ray.evaluation.weighted import RankedScores

ATTRIBUTES = ("sex", "age", "view", "dataset", "site", "device")
AGES = ((0, 18), (18, 40), (40, 60), (60, 80), (80, 200))
"""Years from, and below which."""
UNKNOWN = "not known"
METRICS = ("auroc", "sensitivity_at_operating_point", "specificity_at_operating_point", "share_flagged")
NOT_SHOWN = "not shown"


def figures(images: pd.DataFrame, minimum: int, split: str, draws: int = 1000, seed: int = 0) -> list[Figure]:
    """Of every group of every attribute that is known of some image: AUROC, and the flags at the operating point.

    Args:
        images: of `scores.join_tables`.
        minimum: a sensitivity of fewer positives than this, a specificity of fewer negatives, an AUROC of fewer of
            either has no value.
        split: its name.
        draws: of the bootstrap.
        seed: of the draws.
    """
    scored = images[(images["status"] == Status.OK) & images["covid"].notna() & images["p_covid"].notna()]
    points = scored["operating_point"].dropna().unique()
    point = str(points[0]) if len(points) == 1 else None
    found = []
    for attribute in ATTRIBUTES:
        for value, rows in _groups(scored, attribute):
            found += measure(
                _blocks(rows, point, minimum), rows["patient_id"], split, f"{attribute}={value}", draws, seed
            )
    return found


def tables(figures: Sequence[Figure], minimum: int) -> dict[str, Table]:
    """A table an attribute; figures of too few images are not shown, and counted.

    Args:
        figures: of `figures`.
        minimum: as there.
    """
    found = {}
    for attribute in ATTRIBUTES:
        groups = dict.fromkeys(f.group for f in figures if f.group.startswith(f"{attribute}="))
        if not groups:
            continue
        by_place = {(f.group, f.metric): f for f in figures}
        rows = tuple(
            (group.partition("=")[2], *(_cell(by_place[group, metric]) for metric in METRICS)) for group in groups
        )
        hidden = sum(row.count(NOT_SHOWN) for row in rows)
        note = (
            f"Not shown, {hidden} of {len(rows) * len(METRICS)}: fewer than {minimum} images labelled COVID-19 (for "
            "specificity: otherwise; for AUROC: of either), or no flags of one operating point. Groups differ in more "
            "than their name, sources above all: a difference here is a question, not yet an answer."
        )
        columns = (attribute, *METRICS)
        found[f"subgroups_{attribute}"] = Table(f"COVID-19 by {attribute}", columns, rows, note)
    return found


def sentences(figures: Sequence[Figure]) -> list[str]:
    """Which groups' intervals lie apart; of how many pairs that were looked at."""
    apart, looked = [], 0
    for metric in METRICS[:3]:
        for attribute in ATTRIBUTES:
            known = [
                f
                for f in figures
                if f.metric == metric and f.low is not None and f.group.startswith(f"{attribute}=")
                and not f.group.endswith(f"={UNKNOWN}")
            ]  # fmt: skip
            pairs = [(a, b) for i, a in enumerate(known) for b in known[i + 1 :]]
            looked += len(pairs)
            apart += [f"{metric}: {a.group} {cell(a)}, {b.group} {cell(b)}" for a, b in pairs if _are_apart(a, b)]
    if not looked:
        return ["Too few images to compare groups of patients: nothing is known of whom the model fails."]
    if not apart:
        none = f"Of {looked} pairs of groups (sex, age, view, source, device) no two have intervals that lie apart."
        return [f"{none} That the model serves all alike is not shown."]
    told = "; ".join(apart[:5]) + (f"; and {len(apart) - 5} more in tables/" if len(apart) > 5 else "")
    chance = "by chance alone fewer than one pair in a hundred does"
    return [f"Of {looked} pairs of groups {len(apart)} have 95% intervals that lie apart ({chance}): {told}."]


def _groups(scored: pd.DataFrame, attribute: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Value -> its images, in a fixed order; nothing where the attribute is known of none."""
    if scored[attribute].notna().sum() == 0:
        return
    values = _age_bands(scored[attribute]) if attribute == "age" else scored[attribute]
    values = values.where(values.notna(), UNKNOWN).astype(str)
    for value in sorted(values.unique(), key=lambda text: (text == UNKNOWN, text)):
        yield value, scored[values == value]


def _age_bands(ages: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(ages).to_numpy(np.float64, na_value=np.nan)
    bands = np.full(len(ages), None, dtype=object)
    for low, high in AGES:
        bands[(numbers >= low) & (numbers < high)] = f"{low:02d}-{high - 1}" if high < 200 else f"{low}+"
    return pd.Series(bands, index=ages.index)


def _blocks(rows: pd.DataFrame, point: str | None, minimum: int) -> list[Block]:
    positive_N = (rows["covid"] == 1).to_numpy(bool)
    flags = rows["covid_flag"]
    judged_N = flags.notna().to_numpy(bool) & (point is not None)
    flag_N = judged_N & (flags == True).to_numpy(bool)  # noqa: E712 nulls are not flagged
    few = f"fewer than {minimum} images labelled so with a flag"
    kinds = (positive_N & judged_N, ~positive_N & judged_N)
    counted = [kind_N & (int(kind_N.sum()) >= minimum) for kind_N in kinds]
    flagged = [
        share("sensitivity_at_operating_point", flag_N, counted[0], point, undefined=few),
        share("specificity_at_operating_point", ~flag_N, counted[1], point, undefined=few),
        share("share_flagged", flag_N, judged_N, point, undefined="no image has a flag"),
    ]
    return [_auroc(rows["p_covid"].to_numpy(np.float32), positive_N, minimum), ratios(flagged)]


def _auroc(scores_N: npt.NDArray[np.float32], positive_N: BoolArray, minimum: int) -> Block:
    enough = min(int(positive_N.sum()), int((~positive_N).sum())) >= minimum
    ranked = RankedScores(scores_N[None], positive_N)

    def values(weights_N: IntArray) -> FloatArray:
        return ranked.rates(weights_N).auroc() if enough else np.array([np.nan])

    few = f"fewer than {minimum} images labelled COVID-19, or otherwise"
    return Block((Entry("auroc", np.full(len(scores_N), enough), undefined=few),), values)


def _are_apart(one: Figure, other: Figure) -> bool:
    assert one.low is not None
    assert one.high is not None
    assert other.low is not None
    assert other.high is not None
    return one.high < other.low or other.high < one.low


def _cell(figure: Figure) -> str:
    return NOT_SHOWN if figure.value is None else cell(figure)
