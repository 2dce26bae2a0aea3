"""Metrics of the scores: ROC and precision-recall, and rates at the stored operating point (section 4.2).

`..._at_specificity` takes the threshold from these very images, as the paper does (the mildest that flags no more
than 1 - specificity of the negatives, ties never split), and `specificity_at_sensitivity` the strictest that finds as
much as is asked for; nothing is interpolated. `..._at_operating_point` is of the flags in the table.

From images to studies and patients: whoever has one flagged image is flagged, one positive image is positive.
"""

import math
from collections.abc import Sequence
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
    ratios,
    share,
)
from comit_ray.statistics.weighted import RankedScores


def to_level(images: pd.DataFrame, level: Level, label: str) -> pd.DataFrame:
    """One row a study or patient, in order of appearance: unit (its id), flag and label.

    A patient is found where any image is flagged, positive or not, for that is whom a reader is shown.

    Args:
        images: with the id of the level, `label`, and its flag; those without an id are left out.
        level: what a row is.
        label: `covid` or `unhealthy`.

    Raises:
        ValueError: a label or a flag is null: whether such an image would have been flagged is not known.
    """
    flag, unit = f"{label}_flag", f"{level}_id"
    unknown = int(images[[label, flag]].isna().any(axis=1).sum())
    if unknown:
        raise ValueError(f"every image needs a label and a flag of {label}, {unknown} of {len(images)} have not both")
    known = images[images[unit].notna()]
    table = pd.DataFrame({"unit": known[unit], "flag": known[flag].astype(bool), "label": known[label].astype("int8")})
    return table.groupby("unit", sort=False, as_index=False).max()


PREFIXES = {"covid": "", "unhealthy": "unhealthy_"}
"""Label -> prefix of its metrics: those of COVID, what the screen is for, have none."""
NAMES = {"covid": "COVID-19", "unhealthy": "unhealthy"}
AT_THRESHOLD = ("accuracy", "precision", "recall", "f1")


def blocks(
    images: pd.DataFrame, points: dict[str, str | None], specificities: Sequence[float], sensitivities: Sequence[float]
) -> list[Block]:
    """The figures of both scores.

    Args:
        images: of `scores.join_tables`, scored or not.
        points: of `operating_points`.
        specificities: at which sensitivity, accuracy, precision, recall and F1 are given.
        sensitivities: at which specificity is given.
    """
    found: list[Block] = []
    for label in PREFIXES:
        found.append(ranked(images, label, specificities, sensitivities))
        found.append(ratios(flagged(images, label, points[label])))
    return [*found, ratios([covid_called_unhealthy(images, points["unhealthy"])])]


def operating_points(images: pd.DataFrame) -> dict[str, str | None]:
    """Label -> name of the operating point that decided its flags; None where there are no flags, or of several."""
    found: dict[str, str | None] = {}
    for label in PREFIXES:
        names = images.loc[judged(images, label), "operating_point"].dropna().unique()
        found[label] = str(names[0]) if len(names) == 1 else None
    return found


def judged(images: pd.DataFrame, label: str) -> BoolArray:
    """(N,) whether the image has a label, a score and a flag; a null flag is not a negative one."""
    return np.asarray(labelled(images, label) & images[f"{label}_flag"].notna())


def ranked(images: pd.DataFrame, label: str, specificities: Sequence[float], sensitivities: Sequence[float]) -> Block:
    """The figures that need the scores' order.

    Args:
        images: of `scores.join_tables`.
        label: `covid` or `unhealthy`.
        specificities: at which sensitivity, accuracy, precision, recall and F1 are given, each above 0, at most 1.
        sensitivities: at which specificity is given, each above 0, at most 1.
    """
    prefix = PREFIXES[label]
    known_N = labelled(images, label)
    positive_N = known_N & (images[label] == 1).to_numpy(bool)
    negative_N = known_N & ~positive_N
    scores_N = np.where(known_N, images[f"p_{label}"].to_numpy(np.float32, na_value=np.nan), np.float32(np.nan))
    order = RankedScores(scores_N[None], positive_N)
    one_class = why_one_class(known_N, positive_N, label)

    def entry(metric: str, counted_N: BoolArray, at: float | None = None) -> MetricEntry:
        undefined = one_class or "no image is flagged at this threshold"
        return MetricEntry(f"{prefix}{metric}", counted_N, at, undefined=undefined)

    area = replace(entry("auroc", known_N), positive_N=positive_N)
    entries = [area, *(entry(metric, known_N) for metric in ("average_precision", "eer"))]
    whole = order.rates(np.ones(len(images), np.int64))
    curve = _Curve(whole.true_TN[0], whole.false_TN[0])
    for at in specificities:
        flagged_N = _highest(scores_N, 0 if one_class else curve.flagged(at)[2])
        over = {"accuracy": known_N, "precision": flagged_N, "recall": positive_N, "f1": known_N}
        entries.append(entry("sensitivity_at_specificity", positive_N, at))
        entries += [entry(f"{metric}_at_specificity", over[metric], at) for metric in AT_THRESHOLD]
    entries += [entry("specificity_at_sensitivity", negative_N, at) for at in sensitivities]

    def values(weights_N: IntArray) -> FloatArray:
        rates = order.rates(weights_N)
        drawn = _Curve(rates.true_TN[0], rates.false_TN[0])
        found = [float(rates.auroc()[0]), drawn.average_precision(), float(rates.eer()[0])]
        for at in specificities:
            found += drawn.at_specificity(at)
        found += [drawn.specificity(at) for at in sensitivities]
        return np.array(found)

    return Block(tuple(entries), values)


class _Curve:
    """Images flagged at every threshold, from the strictest to the mildest; the first flags nothing.

    Args:
        true_N: positives flagged, where image i of the sorted scores is the last one flagged, ties not split.
        false_N: negatives flagged there.
    """

    def __init__(self, true_N: IntArray, false_N: IntArray) -> None:
        self._true_N, self._false_N = np.concatenate([[0], true_N]), np.concatenate([[0], false_N])
        self._positives, self._negatives = int(true_N[-1]), int(false_N[-1])

    def average_precision(self) -> float:
        """Sum over thresholds of precision times the gain in recall, as scikit-learn defines it; NaN for one class."""
        if not self._defined:
            return math.nan
        gained = np.diff(self._true_N) / self._positives
        precision = self._true_N[1:] / np.maximum(self._true_N[1:] + self._false_N[1:], 1)
        return float(gained @ precision)

    def flagged(self, specificity: float) -> tuple[int, int, int]:
        """Positives and negatives flagged at the mildest threshold of at least this specificity, and their number."""
        rate = 1 - Fraction(str(specificity))  # exact: in floating point one false positive could be lost
        allowed = rate.numerator * self._negatives // rate.denominator
        last = int(np.searchsorted(self._false_N, allowed, side="right")) - 1
        return int(self._true_N[last]), int(self._false_N[last]), last

    def at_specificity(self, specificity: float) -> list[float]:
        """Sensitivity, accuracy, precision, recall and F1 at the threshold of `flagged`; NaN where undefined."""
        if not self._defined:
            return [math.nan] * (1 + len(AT_THRESHOLD))
        true, false, _ = self.flagged(specificity)
        missed = self._positives - true
        sensitivity = true / self._positives
        accuracy = (true + self._negatives - false) / (self._positives + self._negatives)
        precision = true / (true + false) if true + false else math.nan
        return [sensitivity, accuracy, precision, sensitivity, 2 * true / (2 * true + false + missed)]

    def specificity(self, sensitivity: float) -> float:
        """Of the strictest threshold that finds at least this share of the positives; NaN for one class."""
        if not self._defined:
            return math.nan
        share_found = Fraction(str(sensitivity)) * self._positives
        first = int(np.searchsorted(self._true_N, math.ceil(share_found), side="left"))
        return 1 - float(self._false_N[first]) / self._negatives

    @property
    def _defined(self) -> bool:
        return self._positives > 0 and self._negatives > 0


def flagged(images: pd.DataFrame, label: str, point: str | None) -> list[Ratio]:
    """The figures at the frozen operating point, over images, studies and patients.

    Args:
        images: of `scores.join_tables`.
        label: `covid` or `unhealthy`.
        point: name of the operating point; None: there is none, or the flags are of several.
    """
    prefix, name = PREFIXES[label], NAMES[label]
    judged_N = judged(images, label)
    several = point is None and bool(judged_N.any())
    judged_N = judged_N & (not several)
    flag_N = judged_N & (images[f"{label}_flag"] == True).to_numpy(bool)  # noqa: E712 nulls are not flagged
    positive_N = judged_N & (images[label] == 1).to_numpy(bool)
    negative_N = judged_N & ~positive_N
    none = "the flags are of several operating points" if several else f"no image has a label and a flag of {name}"
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
    return [*found, *_levels(images, label, judged_N, point)]


def covid_called_unhealthy(images: pd.DataFrame, point: str | None) -> Ratio:
    """The share of COVID-19 images that are flagged unhealthy (paper, section 4.2).

    Args:
        images: of `scores.join_tables`.
        point: name of the operating point of the unhealthy flag; None: there is none, or the flags are of several.
    """
    covid_N = (images["status"] == Status.OK) & (images["covid"] == 1) & images["unhealthy_flag"].notna()
    counted_N = covid_N.to_numpy(bool) & (point is not None)
    flag_N = (images["unhealthy_flag"] == True).to_numpy(bool)  # noqa: E712
    undefined = "no image labelled COVID-19 has an unhealthy flag of one operating point"
    return share("covid_called_unhealthy", flag_N, counted_N, point, undefined=undefined)


def _levels(images: pd.DataFrame, label: str, judged_N: BoolArray, point: str | None) -> list[Ratio]:
    """Sensitivity and specificity over studies and over patients; each unit stands where its first image does."""
    found = []
    for level in LEVELS[1:]:
        ids = images[f"{level}_id"]
        places_N = np.flatnonzero(judged_N & ids.notna().to_numpy())
        units = to_level(images.iloc[places_N], level, label)
        first = dict(zip(ids.iloc[places_N[::-1]], places_N[::-1], strict=True))
        rows = np.array([first[unit] for unit in units["unit"]], np.int64)
        flag_N, positive_N, negative_N = (np.zeros(len(images), bool) for _ in range(3))
        flag_N[rows] = units["flag"].to_numpy(bool)
        positive_N[rows] = units["label"].to_numpy(np.int8) == 1
        negative_N[rows] = units["label"].to_numpy(np.int8) == 0
        words = f"no {level} with an id, a label and a flag"
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
    """Why figures of an order are undefined; None where they are not."""
    name = NAMES[label]
    if not known_N.any():
        return f"no image has a label and a score of {name}"
    if not positive_N.any():
        return f"no scored image is labelled {name}"
    return f"no scored image is labelled not {name}" if positive_N.sum() == known_N.sum() else None


def _highest(scores_N: npt.NDArray[np.float32], count: int) -> BoolArray:
    """(N,) whether the image is among the `count` highest scores; ties are not split, NaN is none of them."""
    ordered = np.sort(scores_N[~np.isnan(scores_N)])[::-1]
    if not count or not ordered.size:
        return np.zeros(len(scores_N), bool)
    return np.asarray(scores_N >= ordered[min(count, ordered.size) - 1])
