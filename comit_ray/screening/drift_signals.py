"""Computes one drift signal: images outside a range, another distribution, or values that are not known.

`gap` measures how far a distribution is from every mix of several others, because an archive may hold more images of
one source than the training data did.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.checkpoint import temperature
from comit_ray.checkpoint.reference import DISTANCE, Facts
from comit_ray.statistics.intervals import wilson
from comit_ray.tables.vocabulary import counted

FloatArray = npt.NDArray[np.float64]

POINTS = 400
"""Largest number of places at which distributions are compared."""


def gap(values_N: FloatArray, groups: Sequence[FloatArray]) -> tuple[float, float]:
    """Measures how far values are from the nearest mix of several groups.

    The weights of the mix (at least 0, with sum 1) minimise the largest difference between the cumulative
    distributions; a linear program finds them. With one group, the result is the two-sample Kolmogorov-Smirnov
    distance.

    Args:
        values_N: (N,) at least one value.
        groups: at least one group of at least one value each.

    Returns:
        The Kolmogorov-Smirnov distance (0 to 1), and the effective number of values in the mix (Kish 1965, "Survey
        sampling": 1 / sum of squared weight / number).
    """
    from scipy.optimize import linprog  # imported late: a screen needs scipy only after its last chunk

    places_X = np.unique(np.concatenate([values_N, *groups]))
    if len(places_X) > POINTS:
        places_X = np.unique(np.quantile(places_X, np.linspace(0, 1, POINTS), method="nearest"))
    mine_X = _cumulative(values_N, places_X)
    theirs_XG = np.stack([_cumulative(group, places_X) for group in groups], axis=1)
    # Unknowns: the weights, and the largest difference d, with |theirs @ weights - mine| <= d everywhere.
    limit_X1 = np.ones((len(places_X), 1))
    solved = linprog(
        c=[0.0] * len(groups) + [1.0],
        A_ub=np.block([[theirs_XG, -limit_X1], [-theirs_XG, -limit_X1]]),
        b_ub=np.concatenate([mine_X, -mine_X]),
        A_eq=[[1.0] * len(groups) + [0.0]],
        b_eq=[1.0],
        bounds=(0, None),
    )
    assert solved.x is not None, f"equal weights would do: {solved.message}"
    *weights_G, distance = solved.x
    worth = 1 / sum(weight**2 / len(group) for weight, group in zip(weights_G, groups, strict=True))
    return float(np.clip(distance, 0, 1)), float(worth)


def _cumulative(values_N: FloatArray, places_X: FloatArray) -> FloatArray:
    return np.searchsorted(np.sort(values_N), places_X, side="right") / len(values_N)


OUTSIDE = 0.05
"""Share of the reference's own images that lie outside its range, by definition."""
HALF = OUTSIDE / 2
MOST = 2 * OUTSIDE
"""A range or a name differs if surely more than this share of the images is outside."""
LEVEL = 0.99
"""Level of the intervals. It is high because there are several signals, and nobody reads warnings that are
often wrong."""
RARE = 0.01
"""The model does not know a view or source that a smaller share of the training images has."""
GAP, SURE = 0.2, 0.001
"""A spread differs if the Kolmogorov-Smirnov distance is at least `GAP` and its p-value is below `SURE`."""
UNSTATED = "unknown"
"""Name used where a table or a header does not state one."""
ENOUGH = 50
"""Sampled images that a source and view needs to be a group. Smaller ones form one group together, if they suffice."""


class SignalKind(StrEnum):
    """How a signal compares the archive with the reference; see `Signal`."""

    RANGE = "range"
    SPREAD = "spread"
    NAMES = "names"


@dataclass(frozen=True)
class Signal:
    """One comparison of an archive with the checkpoint's data.

    Args:
        signal: `embedding_distance`, a statistic of pixels, `view`, `source`, or a score.
        kind: range: images outside the range of the checkpoint's data. names: images with a name that the checkpoint
            does not know. spread: whether all images together are distributed differently.
        value: share of images outside (0 to 1), or for a spread the Kolmogorov-Smirnov distance (0 to 1). None: not
            compared, and `detail` says why.
        outside: number of images outside; None for a spread.
        low: lower end of the share's 99% interval; None for a spread.
        high: upper end of that interval; None for a spread.
        expected: share outside among images like the checkpoint's; None for a spread.
        differs: whether the difference is more than chance.
        detail: what was found, in words, or None.
        unknown: for names, images without a name, which count as neither inside nor outside; None for other kinds.
    """

    signal: str
    kind: SignalKind
    value: float | None
    outside: int | None = None
    low: float | None = None
    high: float | None = None
    expected: float | None = None
    differs: bool = False
    detail: str | None = None
    unknown: int | None = None


def of_distance(values: pd.Series, facts: Facts, patients: int) -> Signal:
    """Counts embeddings farther from the training images than 95% of the validation images; near ones never differ."""
    problem = _problem(values, facts)
    if problem is not None:
        return Signal(DISTANCE, SignalKind.RANGE, None, detail=problem)
    high = float(np.quantile(facts.quantiles[DISTANCE], 1 - OUTSIDE))
    values_N = values.to_numpy(np.float64)
    return _range(DISTANCE, values_N, -np.inf, high, patients, facts.validation_patients)


def of_pixels(name: str, values: pd.Series, facts: Facts, patients: int) -> tuple[Signal, Signal]:
    """Compares a statistic of pixels with the training images.

    Returns:
        The images outside the range of the central 95% of every group of training images, and the distribution of all
        images against any mix of these groups.
    """
    problem = _problem(values, facts)
    if problem is None and not any(name in group for group in facts.pixels.values()):
        problem = "not compared: the checkpoint's reference does not hold this statistic"
    if problem is not None:
        return Signal(name, SignalKind.RANGE, None, detail=problem), Signal(
            name, SignalKind.SPREAD, None, detail=problem
        )
    values_N = values.to_numpy(np.float64)
    groups = _groups(name, facts)
    low, high = (pick(np.quantile(group, at) for group in groups) for pick, at in ((min, HALF), (max, 1 - HALF)))
    alone = facts.sampled_patients / facts.sampled_images  # patients per image
    least = alone * min(map(len, groups))
    return _range(name, values_N, low, high, patients, least), _spread(name, values_N, groups, patients, alone)


def _groups(name: str, facts: Facts) -> list[FloatArray]:
    every = [np.asarray(group[name]) for group in facts.pixels.values() if name in group]
    large = [group for group in every if len(group) >= ENOUGH]
    small = [group for group in every if len(group) < ENOUGH]
    rest = np.concatenate([np.zeros(0), *small])
    return [*large, rest] if len(rest) >= ENOUGH or not large else large


def of_names(name: str, images: Mapping[str, int], shares: Mapping[str, float], patients: int) -> Signal:
    """Counts images whose view or source hardly any training image has.

    An image without a known name does not differ, because a folder of PNG files states no view. Such images are counted
    separately.

    Args:
        name: `view` or `source`.
        images: name -> number of images of the archive, the most frequent name first.
        shares: name -> share (0 to 1) of the training images.
        patients: number of patients of the archive.
    """
    total, unknown = sum(images.values()), images.get(UNSTATED, 0)
    stated = total - unknown
    if not stated:
        detail = f"not known for any of {counted(total, 'image')}: not compared"
        return Signal(name, SignalKind.NAMES, None, detail=detail, unknown=unknown)
    known = {value for value, share in shares.items() if share >= RARE}
    outside = {value: count for value, count in images.items() if value not in known and value != UNSTATED}
    told = 1 - shares.get(UNSTATED, 0.0)
    rare = sum(share for value, share in shares.items() if value not in known and value != UNSTATED)
    detail = ", ".join(f"{count:,} {value}" for value, count in outside.items())
    people = max(1, int(patients * stated / total))
    expected = rare / told if told > 0 else 0.0
    found = _share(name, SignalKind.NAMES, sum(outside.values()), stated, people, expected, detail, MOST)
    return replace(found, unknown=unknown)


def of_score(
    name: str, values: pd.Series, facts: Facts, patients: int, temperatures: Mapping[str, float]
) -> Signal | None:
    """Compares a score with that of the validation images at the same temperature; None if either has no such score."""
    values_N = values.dropna().to_numpy(np.float64)
    if not len(values_N) or name not in facts.quantiles:
        return None
    factor = temperatures.get(name, 1.0)
    known_M = np.asarray([temperature.carry(value, factor) for value in facts.quantiles[name]])
    return _spread(name, values_N, [known_M], patients, facts.validation_patients / len(known_M))


def _problem(values: pd.Series, facts: Facts) -> str | None:
    if facts.reason is not None:
        return f"not compared: {facts.reason}"
    unknown = int(values.isna().sum())
    return f"not compared: not measured by the version that scored {counted(unknown, 'image')}" if unknown else None


def _range(name: str, values_N: FloatArray, low: float, high: float, patients: int, known: float) -> Signal:
    below_N, above_N = values_N < low, values_N > high
    ends = [
        f"{int(outside_N.sum()):,} {where} {end:.3g}"
        for outside_N, where, end in ((below_N, "below", low), (above_N, "above", high))
        if outside_N.any()
    ]
    from scipy.stats import beta  # imported late, as above

    # The largest share that may lie outside the range of `known` patients, among patients just like them.
    left_open = float(beta.ppf((1 + LEVEL) / 2, OUTSIDE * (known + 1), (1 - OUTSIDE) * (known + 1)))
    most = max(MOST, left_open)
    outside = int((below_N | above_N).sum())
    return _share(name, SignalKind.RANGE, outside, len(values_N), patients, OUTSIDE, ", ".join(ends), most)


def _share(
    name: str,
    kind: SignalKind,
    outside: int,
    images: int,
    patients: int,
    expected: float,
    detail: str,
    most: float,
) -> Signal:
    share = outside / images
    interval = wilson(int(share * patients), patients, LEVEL)
    assert interval.low is not None, "an archive has a patient"
    assert interval.high is not None
    low, high = min(interval.low, share), max(interval.high, share)
    return Signal(name, kind, share, outside, low, high, expected, low > most, detail or None)


def _spread(name: str, values_N: FloatArray, groups: list[FloatArray], patients: int, alone: float) -> Signal:
    """Compares a distribution with any mix of groups; `alone` is the number of patients per value of the groups."""
    from scipy.stats import kstwobign  # imported late, as above

    distance, known = gap(values_N, groups)
    known *= alone
    p = float(kstwobign.sf(np.sqrt(patients * known / (patients + known)) * distance))
    theirs = float(np.median(np.concatenate(groups)))
    detail = f"median {np.median(values_N):.3g}, reference {theirs:.3g}"
    return Signal(name, SignalKind.SPREAD, distance, differs=distance >= GAP and p < SURE, detail=detail)
