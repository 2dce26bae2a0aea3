"""Metrics of the scores: ROC and precision-recall, and rates at the stored operating point (paper, section 4.2).

`..._at_specificity` chooses the threshold on these same images, as the paper does: the lowest one that flags no more
than 1 - specificity of the negatives, without splitting ties. `specificity_at_sensitivity` uses the highest threshold
that finds the wanted share of positives. Nothing is interpolated. `..._at_operating_point` uses the flags in the table.

Studies and patients: a study or patient with one flagged image is flagged; one with a positive image is positive.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.errors import Status
from comit_ray.statistics.metric import (
    LEVELS,
    Block,
    BoolArray,
    FloatArray,
    IntArray,
    Level,
    MetricEntry,
    Ratio,
    Values,
    ratios,
    share,
)
from comit_ray.statistics.weighted import RankedScores


def to_level(images: pd.DataFrame, level: Level, label: str) -> pd.DataFrame:
    """Reduces images to studies or patients, one row each in order of appearance: columns unit (its id), flag, label.

    A study or patient counts as found if any image is flagged, positive or not, because that is whom readers are shown.

    Args:
        images: images with the id of the level, `label` and its flag; images without an id are left out.
        level: `study` or `patient`.
        label: `covid` or `unhealthy`.

    Raises:
        ValueError: a label or a flag is null, so that it is not known whether the image would have been flagged.
    """
    flag, unit = f"{label}_flag", f"{level}_id"
    unknown = int(images[[label, flag]].isna().any(axis=1).sum())
    if unknown:
        raise ValueError(
            f"expected a label and a flag of {label} for every image, got {unknown} of {len(images)} images without"
        )
    known = images[images[unit].notna()]
    table = pd.DataFrame({"unit": known[unit], "flag": known[flag].astype(bool), "label": known[label].astype("int8")})
    return table.groupby("unit", sort=False, as_index=False).max()


PREFIXES = {"covid": "", "unhealthy": "unhealthy_"}
"""Label -> prefix of its metrics; COVID-19, the purpose of a screen, has none."""
NAMES = {"covid": "COVID-19", "unhealthy": "unhealthy"}
AT_THRESHOLD = ("accuracy", "precision", "recall", "f1")


def blocks(
    images: pd.DataFrame, points: dict[str, str | None], specificities: Sequence[float], sensitivities: Sequence[float]
) -> Iterator[Block]:
    """Yields the metrics of both scores, ready to be measured.

    Args:
        images: result of `screen_metrics.join_tables`, scored or not.
        points: result of `operating_points`.
        specificities: specificities at which sensitivity, accuracy, precision, recall and F1 are measured, 0 to 1.
        sensitivities: sensitivities at which specificity is measured, 0 to 1.
    """
    for label in PREFIXES:
        yield ranked(images, label, specificities, sensitivities)
        yield ratios(flagged(images, label, points[label]))
    yield ratios([covid_called_unhealthy(images, points["unhealthy"])])


def operating_points(images: pd.DataFrame) -> dict[str, str | None]:
    """Label -> name of the operating point behind its flags; None if there are no flags, or several points."""
    found: dict[str, str | None] = {}
    for label in PREFIXES:
        names = images.loc[judged(images, label), "operating_point"].dropna().unique()
        found[label] = str(names[0]) if len(names) == 1 else None
    return found


def judged(images: pd.DataFrame, label: str) -> BoolArray:
    """(N,) whether the image has a label, a score and a flag; a null flag does not count as a negative one."""
    return np.asarray(labelled(images, label) & images[f"{label}_flag"].notna())


def ranked(images: pd.DataFrame, label: str, specificities: Sequence[float], sensitivities: Sequence[float]) -> Block:
    """The metrics that depend on the order of the scores.

    Args:
        images: result of `screen_metrics.join_tables`.
        label: `covid` or `unhealthy`.
        specificities: specificities at which sensitivity, accuracy, precision, recall and F1 are measured, above 0 and
            at most 1.
        sensitivities: sensitivities at which specificity is measured, above 0 and at most 1.
    """
    prefix = PREFIXES[label]
    known_N = labelled(images, label)
    positive_N = known_N & (images[label] == 1).to_numpy(bool)
    negative_N = known_N & ~positive_N
    scores_N = np.where(known_N, images[f"p_{label}"].to_numpy(np.float32, na_value=np.nan), np.float32(np.nan))
    # Of a large archive few images may have labels. Without any, all are ranked by scores that are not known.
    rows_K = np.flatnonzero(known_N) if known_N.any() else np.arange(len(images))
    order = RankedScores(scores_N[rows_K][None], positive_N[rows_K])
    one_class = why_one_class(known_N, positive_N, label)

    def entry(metric: str, counted_N: BoolArray, at: float | None = None) -> MetricEntry:
        undefined = one_class or "no image is flagged at this threshold"
        return MetricEntry(f"{prefix}{metric}", counted_N, at, undefined=undefined)

    area = replace(entry("auroc", known_N), positive_N=positive_N)
    entries = [area, *(entry(metric, known_N) for metric in ("average_precision", "eer"))]
    whole = order.rates(np.ones(rows_K.size, np.int64))
    curve = _Curve(whole.true_TN[0], whole.false_TN[0])
    for at in specificities:
        flagged_N = _highest(scores_N, 0 if one_class else curve.flagged(at)[2])
        over = {"accuracy": known_N, "precision": flagged_N, "recall": positive_N, "f1": known_N}
        entries.append(entry("sensitivity_at_specificity", positive_N, at))
        entries += [entry(f"{metric}_at_specificity", over[metric], at) for metric in AT_THRESHOLD]
    entries += [entry("specificity_at_sensitivity", negative_N, at) for at in sensitivities]

    def of_rows(rows_M: IntArray) -> Values:
        return _of_order(RankedScores(scores_N[rows_M][None], positive_N[rows_M]), specificities, sensitivities)

    of_known = _of_order(order, specificities, sensitivities)
    return Block(tuple(entries), lambda weights_N: of_known(weights_N[rows_K]), of_rows)


def _of_order(order: RankedScores, specificities: Sequence[float], sensitivities: Sequence[float]) -> Values:
    """The values of `ranked` for any weights of the images."""

    def values(weights_N: IntArray) -> FloatArray:
        rates = order.rates(weights_N)
        drawn = _Curve(rates.true_TN[0], rates.false_TN[0])
        found = [float(rates.auroc()[0]), drawn.average_precision(), float(rates.eer()[0])]
        for at in specificities:
            found += drawn.at_specificity(at)
        found += [drawn.specificity(at) for at in sensitivities]
        return np.array(found)

    return values


class _Curve:
    """The number of images flagged at every threshold, from high to low; the first threshold flags nothing.

    Args:
        true_N: number of positives flagged if image i of the sorted scores is the last one flagged, ties not split.
        false_N: number of negatives flagged there.
    """

    def __init__(self, true_N: IntArray, false_N: IntArray) -> None:
        self._true_N, self._false_N = np.concatenate([[0], true_N]), np.concatenate([[0], false_N])
        self._positives, self._negatives = int(true_N[-1]), int(false_N[-1])

    def average_precision(self) -> float:
        """Sum over thresholds of precision times the gain in recall, as in scikit-learn; NaN with one class."""
        if not self._defined:
            return math.nan
        gained = np.diff(self._true_N) / self._positives
        precision = self._true_N[1:] / np.maximum(self._true_N[1:] + self._false_N[1:], 1)
        return float(gained @ precision)

    def flagged(self, specificity: float) -> tuple[int, int, int]:
        """The lowest threshold with at least this specificity: positives flagged, negatives flagged, and its place."""
        rate = 1 - Fraction(str(specificity))  # exact, because floating point could lose one false positive
        allowed = rate.numerator * self._negatives // rate.denominator
        last = int(np.searchsorted(self._false_N, allowed, side="right")) - 1
        return int(self._true_N[last]), int(self._false_N[last]), last

    def at_specificity(self, specificity: float) -> list[float]:
        """Sensitivity, accuracy, precision, recall and F1 at the threshold of `flagged`; NaN if undefined."""
        if not self._defined:
            return [math.nan] * (1 + len(AT_THRESHOLD))
        true, false, _ = self.flagged(specificity)
        missed = self._positives - true
        sensitivity = true / self._positives
        accuracy = (true + self._negatives - false) / (self._positives + self._negatives)
        precision = true / (true + false) if true + false else math.nan
        return [sensitivity, accuracy, precision, sensitivity, 2 * true / (2 * true + false + missed)]

    def specificity(self, sensitivity: float) -> float:
        """Specificity of the highest threshold that finds at least this share of the positives; NaN with one class."""
        if not self._defined:
            return math.nan
        share_found = Fraction(str(sensitivity)) * self._positives
        first = int(np.searchsorted(self._true_N, math.ceil(share_found), side="left"))
        return 1 - float(self._false_N[first]) / self._negatives

    @property
    def _defined(self) -> bool:
        return self._positives > 0 and self._negatives > 0


def flagged(images: pd.DataFrame, label: str, point: str | None, levels: Sequence[Level] = LEVELS) -> list[Ratio]:
    """The metrics at the stored operating point, over images, studies and patients.

    Args:
        images: result of `screen_metrics.join_tables`.
        label: `covid` or `unhealthy`.
        point: name of the operating point; None if there is none, or several.
        levels: what is counted; images always are.
    """
    prefix, name = PREFIXES[label], NAMES[label]
    judged_N = judged(images, label)
    several = point is None and bool(judged_N.any())
    judged_N = judged_N & (not several)
    flag_N = judged_N & (images[f"{label}_flag"] == True).to_numpy(bool)  # noqa: E712 nulls are not flagged
    positive_N = judged_N & (images[label] == 1).to_numpy(bool)
    negative_N = judged_N & ~positive_N
    none = (
        "the flags come from several operating points"
        if several
        else f"no image has both a label and a flag for {name}"
    )
    no_positive, no_negative = (
        f"no image with a flag is labelled {word}{name}" if judged_N.any() else none for word in ("", "not ")
    )
    right_N = flag_N == positive_N
    found = [
        share(f"{prefix}sensitivity_at_operating_point", flag_N, positive_N, point, undefined=no_positive),
        share(f"{prefix}specificity_at_operating_point", ~flag_N, negative_N, point, undefined=no_negative),
        share(f"{prefix}accuracy_at_operating_point", right_N, judged_N, point, undefined=none),
        share(f"{prefix}precision_at_operating_point", positive_N, flag_N, point, undefined="no image is flagged"),
        share(f"{prefix}recall_at_operating_point", flag_N, positive_N, point, undefined=no_positive),
        Ratio(
            MetricEntry(f"{prefix}f1_at_operating_point", judged_N, point, undefined="no image is positive or flagged"),
            2 * (flag_N & positive_N).astype(np.float64),
            flag_N.astype(np.float64) + positive_N,
        ),
    ]
    return [*found, *(ratio for level in levels[1:] for ratio in _level(images, label, judged_N, point, level))]


def covid_called_unhealthy(images: pd.DataFrame, point: str | None) -> Ratio:
    """The share of COVID-19 images that are flagged unhealthy (paper, section 4.2).

    Args:
        images: result of `screen_metrics.join_tables`.
        point: name of the operating point of the unhealthy flag; None if there is none, or several.
    """
    covid_N = (images["status"] == Status.OK) & (images["covid"] == 1) & images["unhealthy_flag"].notna()
    counted_N = covid_N.to_numpy(bool) & (point is not None)
    flag_N = (images["unhealthy_flag"] == True).to_numpy(bool)  # noqa: E712
    undefined = "no image labelled COVID-19 has an unhealthy flag of one operating point"
    return share("covid_called_unhealthy", flag_N, counted_N, point, undefined=undefined)


def _level(images: pd.DataFrame, label: str, judged_N: BoolArray, point: str | None, level: Level) -> list[Ratio]:
    """Sensitivity and specificity over studies or patients; each takes the place of its first image."""
    ids = images[f"{level}_id"]
    places_N = np.flatnonzero(judged_N & ids.notna().to_numpy())
    needed = images[[f"{level}_id", label, f"{label}_flag"]].iloc[places_N]
    units = to_level(needed, level, label)
    codes_N, _ = pd.factorize(needed[f"{level}_id"])  # in order of appearance, as the units are
    rows = places_N[np.unique(codes_N, return_index=True)[1]]
    flag_N, positive_N, negative_N = (np.zeros(len(images), bool) for _ in range(3))
    flag_N[rows] = units["flag"].to_numpy(bool)
    positive_N[rows] = units["label"].to_numpy(np.int8) == 1
    negative_N[rows] = units["label"].to_numpy(np.int8) == 0
    words = f"no {level} with an id, a label and a flag"
    found = []
    for metric, hits_N, counted_N in (
        ("sensitivity", flag_N, positive_N),
        ("specificity", ~flag_N, negative_N),
    ):
        kind = "is positive" if metric == "sensitivity" else "is negative"
        name = f"{PREFIXES[label]}{metric}_at_operating_point"
        found.append(share(name, hits_N, counted_N, point, level, undefined=f"{words} {kind}"))
    return found


def labelled(images: pd.DataFrame, label: str) -> BoolArray:
    """(N,) whether the image was scored and its label is known."""
    known = (images["status"] == Status.OK) & images[label].notna() & images[f"p_{label}"].notna()
    return known.to_numpy(bool)


def why_one_class(known_N: BoolArray, positive_N: BoolArray, label: str) -> str | None:
    """Why metrics that compare two classes are undefined; None if both classes occur."""
    name = NAMES[label]
    if not known_N.any():
        return f"no image has both a label and a score for {name}"
    if not positive_N.any():
        return f"no scored image is labelled {name}"
    return f"no scored image is labelled not {name}" if positive_N.sum() == known_N.sum() else None


def _highest(scores_N: npt.NDArray[np.float32], count: int) -> BoolArray:
    """(N,) whether the image is among the `count` highest scores; ties are not split, and NaN never counts."""
    ordered = np.sort(scores_N[~np.isnan(scores_N)])[::-1]
    if not count or not ordered.size:
        return np.zeros(len(scores_N), bool)
    return np.asarray(scores_N >= ordered[min(count, ordered.size) - 1])
