"""Metrics by sex, age, view, dataset, site and device, for groups with enough patients.

Metrics of groups that are too small are suppressed: they are null, with the reason, and counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.errors import Status
from comit_ray.evaluation.classification import PREFIXES, flagged, labelled, operating_points, why_one_class
from comit_ray.evaluation.screen_metrics import absent_heads
from comit_ray.statistics.intervals import patient_codes, patients_of
from comit_ray.statistics.measure import measure
from comit_ray.statistics.metric import (
    LEVELS,
    Block,
    BoolArray,
    IntArray,
    Metric,
    MetricEntry,
    Ratio,
    Values,
    ratios,
    share,
)
from comit_ray.statistics.weighted import Area

ATTRIBUTES = ("sex", "age", "view", "dataset", "site", "device")
AGES = {"0-17": 18.0, "18-39": 40.0, "40-59": 60.0, "60-79": 80.0, "80+": np.inf}
"""Age band -> its upper end in years, excluded."""
UNKNOWN = "unknown"
NO_GROUP = -1


class Groups(Mapping[str, pd.DataFrame]):
    """Name of a group -> its images, which are copied only when they are asked for.

    Args:
        images: all images.
        codes_N: number of each image's group.
        names: name of each group -> its number.
    """

    def __init__(self, images: pd.DataFrame, codes_N: npt.NDArray[np.integer], names: Mapping[str, int]) -> None:
        self._images, self._codes_N, self._names = images, codes_N, names

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self._images.iloc[np.flatnonzero(self._codes_N == self._names[name])]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Name of a group -> the numbers of its images and of its patients; an unknown patient counts as one."""
        codes_N = patient_codes(self._images["patient_id"])
        chosen = {name: self._codes_N == number for name, number in self._names.items()}
        return {name: (int(mine_N.sum()), patients_of(codes_N[mine_N])) for name, mine_N in chosen.items()}


def grouped(images: pd.DataFrame, attribute: str, among_N: BoolArray | None = None) -> Groups:
    """Name of a group, such as `sex=F`, -> its images, the largest group first; `sex=unknown` comes last.

    Args:
        images: result of `screen_metrics.join_tables`.
        attribute: one of `ATTRIBUTES`; ages fall into the bands of `AGES`, from low to high.
        among_N: (N,) whether an image belongs to any group; None: all do.
    """
    values = _bands(images["age"]) if attribute == "age" else images[attribute]
    codes_N, found = pd.factorize(values)
    words = [*map(str, found), UNKNOWN]  # a null has the code -1, which is the place of the last word
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    groups_N = np.array([numbers[word] for word in words], np.min_scalar_type(-len(words)))[codes_N]
    mine_N = groups_N if among_N is None else groups_N[among_N]
    sizes = dict(zip(numbers, np.bincount(mine_N, minlength=len(numbers)).tolist(), strict=True))
    if among_N is not None:
        groups_N[~among_N] = NO_GROUP
    names = [*AGES] if attribute == "age" else sorted(sizes, key=lambda name: (-sizes[name], name))
    order = [*(name for name in names if sizes.get(name) and name != UNKNOWN), *([UNKNOWN] if sizes[UNKNOWN] else [])]
    return Groups(images, groups_N, {f"{attribute}={name}": numbers[name] for name in order})


def is_known(group: str) -> bool:
    """Whether the attribute is known in this group."""
    return group.partition("=")[2] != UNKNOWN


def too_few(counted_N: BoolArray, patients: pd.Series, what: str, minimum: int) -> str | None:
    """Why a metric of so few patients is suppressed; None if there are enough.

    It counts patients and not images, because ten images of two patients are two observations.

    Args:
        counted_N: (N,) whether the metric counts each image.
        patients: (N,) patient of each image; a null is a patient of its own.
        what: words for the counted images, such as `with a positive image`.
        minimum: the fewest patients.
    """
    return too_few_of(patient_codes(patients), counted_N, what, minimum)


def too_few_of(codes_N: IntArray, counted_N: BoolArray, what: str, minimum: int) -> str | None:
    """The answer of `too_few` for patients that have codes already, of `patient_codes`."""
    people = patients_of(codes_N[counted_N])
    if people >= minimum:
        return None
    return f"suppressed: {people} patient{'' if people == 1 else 's'} {what}, at least {minimum} are needed"


def _bands(ages: pd.Series) -> pd.Series:
    """The age band of each image; null if the age is null or below 0."""
    edges = [0.0, *AGES.values()]
    return pd.Series(pd.cut(ages.astype(float), edges, right=False, labels=list(AGES)), index=ages.index)


AUROC, SENSITIVITY_METRIC, SPECIFICITY_METRIC = (
    "auroc",
    "sensitivity_at_operating_point",
    "specificity_at_operating_point",
)
SHARE_FLAGGED = "share_flagged_at_operating_point"
COMPARED = (AUROC, SENSITIVITY_METRIC, SPECIFICITY_METRIC)
"""The metrics that are compared. The share flagged is not, because it differs wherever the share of positives does."""
SUPPRESSED = "suppressed"
"""The beginning of the reason of a suppressed metric (`too_few`)."""


@dataclass(frozen=True)
class Gap:
    """Two groups of one attribute whose intervals do not overlap.

    Args:
        high: the metric of the group with the higher value.
        low: the metric of the other group.
    """

    high: Metric
    low: Metric

    @property
    def size(self) -> float:
        """The difference between the two values."""
        assert self.high.value is not None
        assert self.low.value is not None
        return self.high.value - self.low.value


def divided(images: pd.DataFrame) -> dict[str, Groups]:
    """Attribute -> name of a group -> its scored images, for attributes that divide the images into several groups.

    Args:
        images: result of `screen_metrics.join_tables`.
    """
    asked = [f"{kind}{label}{end}" for label in PREFIXES for kind, end in (("", ""), ("p_", ""), ("", "_flag"))]
    needed = ["status", "operating_point", "patient_id", *asked]
    scored_N = (images["status"] == Status.OK).to_numpy(bool)
    found = {attribute: grouped(images[[*needed, attribute]], attribute, scored_N) for attribute in ATTRIBUTES}
    return {attribute: groups for attribute, groups in found.items() if len(groups) > 1}


def subgroup_metrics(images: pd.DataFrame, split: str, minimum: int, draws: int = 1000, seed: int = 0) -> list[Metric]:
    """Measures AUROC, sensitivity, specificity and share flagged of both scores, in every group of `divided`.

    A metric with fewer than `minimum` patients is suppressed. It counts patients with a positive image for sensitivity,
    with a negative image for specificity, of each kind for AUROC, and with a flag for the share flagged.

    Args:
        images: result of `screen_metrics.join_tables`.
        split: name of the split.
        minimum: the fewest patients.
        draws: number of bootstrap draws.
        seed: seed of the draws.
    """
    absent = absent_heads(images)
    labels = [label for label in PREFIXES if label not in absent]
    judged = operating_points(images)
    points = {label: (judged[label], _of_all_flags(images, label)) for label in labels}
    found: list[Metric] = []
    for groups in divided(images).values():
        for group, rows in groups.items():
            mine = rows.reset_index(drop=True)
            codes_N = patient_codes(mine["patient_id"])
            asked = [one for label in labels for one in _asked(mine, codes_N, label, *points[label], minimum)]
            found += _measured(asked, mine["patient_id"], group, split, draws, seed)
    return found


def compared(found: Sequence[Metric], label: str) -> dict[str, tuple[list[Gap], int]]:
    """Attribute -> pairs of its known groups whose intervals do not overlap, and the number of pairs with intervals.

    Args:
        found: result of `subgroup_metrics`; the metrics of `COMPARED` are used.
        label: `covid` or `unhealthy`.
    """
    names = {f"{PREFIXES[label]}{metric}" for metric in COMPARED}
    places: dict[tuple[str, str], list[Metric]] = {}
    for figure in found:
        if figure.metric in names and figure.low is not None and is_known(figure.group):
            places.setdefault((figure.group.partition("=")[0], figure.metric), []).append(figure)
    told: dict[str, tuple[list[Gap], int]] = {}
    for (attribute, _), mine in places.items():
        pairs = list(combinations(mine, 2))
        gaps, before = told.get(attribute, ([], 0))
        told[attribute] = [*gaps, *(gap for gap in map(_gap, pairs) if gap is not None)], before + len(pairs)
    return told


def _gap(pair: tuple[Metric, Metric]) -> Gap | None:
    low, high = sorted(pair, key=lambda metric: metric.value or 0.0)
    assert high.low is not None
    assert low.high is not None
    return Gap(high, low) if high.low > low.high else None


@dataclass(frozen=True)
class _Asked:
    """One metric: how it is measured, or why it is suppressed."""

    entry: MetricEntry
    how: Block | Ratio
    few: str | None


def _of_all_flags(images: pd.DataFrame, label: str) -> str | None:
    """Name of the operating point of all flags, also of images without a label; None if there is none, or several."""
    flags = (images["status"] == Status.OK) & images[f"{label}_flag"].notna()
    names = images.loc[flags, "operating_point"].unique()
    return str(names[0]) if len(names) == 1 and pd.notna(names[0]) else None


def _asked(
    rows: pd.DataFrame, codes_N: IntArray, label: str, judged_at: str | None, flagged_at: str | None, minimum: int
) -> list[_Asked]:
    """The four metrics of one score, in order.

    Args:
        rows: a group's images.
        codes_N: their patients.
        label: `covid` or `unhealthy`.
        judged_at: name of the operating point of images with a label; None if there is none, or several.
        flagged_at: the same for all images with a flag.
        minimum: the fewest patients.
    """
    prefix = PREFIXES[label]
    known_N = labelled(rows, label)
    positive_N = known_N & (rows[label] == 1).to_numpy(bool)
    scores_N = rows[f"p_{label}"].to_numpy(np.float32, na_value=np.nan)
    why = why_one_class(known_N, positive_N, label) or ""
    entry = MetricEntry(f"{prefix}{AUROC}", known_N, undefined=why, positive_N=positive_N)
    few_positive = too_few_of(codes_N, positive_N, "with a positive image", minimum)
    few = few_positive or too_few_of(codes_N, known_N & ~positive_N, "with a negative image", minimum)
    found = [_Asked(entry, area_block(entry, scores_N), few)]

    kinds = {
        f"{prefix}{SENSITIVITY_METRIC}": "with a positive image",
        f"{prefix}{SPECIFICITY_METRIC}": "with a negative image",
    }
    of_flags = {ratio.entry.metric: ratio for ratio in flagged(rows, label, judged_at, LEVELS[:1])}
    has_flag_N = rows[f"{label}_flag"].notna().to_numpy(bool) & (flagged_at is not None)
    flag_N = (rows[f"{label}_flag"] == True).to_numpy(bool)  # noqa: E712 nulls are not flagged
    none = "there are no flags, or they come from several operating points"
    all_flags = share(f"{prefix}{SHARE_FLAGGED}", flag_N, has_flag_N, flagged_at, undefined=none)
    for ratio, what in [*((of_flags[name], what) for name, what in kinds.items()), (all_flags, "with a flag")]:
        found.append(_Asked(ratio.entry, ratio, too_few_of(codes_N, ratio.entry.counted_N, what, minimum)))
    return found


def area_block(entry: MetricEntry, scores_N: npt.ArrayLike) -> Block:
    """The area under the ROC curve, ready to be measured.

    Args:
        entry: its description, with the counted and the positive images.
        scores_N: scores, compared as float32; those of images that are not counted are ignored.
    """
    assert entry.positive_N is not None, entry
    known_N, positive_N, scores = entry.counted_N, entry.positive_N, np.asarray(scores_N, np.float32)

    def of_rows(rows_M: IntArray) -> Values:
        return Area(scores[rows_M], positive_N[rows_M], known_N[rows_M])

    return Block((entry,), Area(scores, positive_N, known_N), of_rows)


def _measured(
    asked: Sequence[_Asked], patients: pd.Series, group: str, split: str, draws: int, seed: int
) -> list[Metric]:
    """The metrics in their order; suppressed metrics are not computed."""
    kept = [one.how for one in asked if one.few is None]
    shares = [how for how in kept if isinstance(how, Ratio)]
    blocks = [how for how in kept if isinstance(how, Block)] + ([ratios(shares)] if shares else [])
    measured = measure(blocks, patients, split, group, draws, seed) if blocks else []
    by_metric = {metric.metric: metric for metric in measured}
    codes_N = patient_codes(patients)
    return [
        by_metric[one.entry.metric]
        if one.few is None
        else Metric(
            one.entry.metric,
            None,
            int(one.entry.counted_N.sum()),
            split,
            group,
            one.entry.at,
            patients=patients_of(codes_N[one.entry.counted_N]),
            reason=one.few,
        )
        for one in asked
    ]
