"""Operating points: thresholds that turn scores into flags, chosen on validation data, stored with the model.

The file is JSON, point -> score -> threshold, with what the validation split gave there:

    {"specificity_0.90": {"covid": {"threshold": 0.41, "specificity": 0.904, "sensitivity": 0.93,
                                    "positives": 14, "negatives": 104, "reason": null}, "unhealthy": {...}}, ...}

A site may write its own with `threshold` alone. A threshold that cannot be chosen is null, with the reason. One that
`jobs/calibrate.py` made names the `model_id` whose scores it was made of, and whether these were calibrated: a new
version of a model moves its scores, and with the old threshold it would find fewer.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError

from comit_ray.config.config_base import EVERY_SOURCE, SPECIFICITIES, Config, Fraction, operating_point_name
from comit_ray.errors import ConfigError
from comit_ray.statistics import roc
from comit_ray.storage import storage

ONLY_WHERE_SET = ("model_id", "calibration", "sources")
FILE = "operating_points.json"
"""Its name in a checkpoint, and in the results of an embedding classifier."""


class SourceSupport(Config):
    """What one source says of a threshold that is chosen for the worst source."""

    negatives: int
    """Its negatives in the validation split."""
    specificity: Fraction | None
    """Its specificity at the threshold; null without a negative or a threshold."""
    used: bool
    """Whether it took part: with fewer negatives than 1 / (1 - specificity) a source cannot show that specificity."""


class Threshold(Config):
    """One score's threshold, and how it was chosen."""

    threshold: Annotated[float, Field(allow_inf_nan=False)] | None
    """A score at or above this is flagged; null: none could be chosen."""
    specificity: Fraction | None = None
    """Specificity on the data it was chosen on."""
    sensitivity: Fraction | None = None
    """Sensitivity on the data it was chosen on."""
    positives: int | None = None
    """Positives among those data."""
    negatives: int | None = None
    """Negatives among those data."""
    reason: str | None = None
    """Why there is no threshold."""
    sources: dict[str, SourceSupport] | None = None
    """Source -> what supports a threshold that was chosen for the worst of them; null: chosen for all together."""
    model_id: str | None = None
    """The only model that it is meant for; null: the model it is kept with, or any."""
    calibration: Literal["none", "temperature"] | None = None
    """The scores that it is meant for, as the column `calibration` of the predictions has it; null: as written."""


@dataclass(frozen=True)
class OperatingPoint:
    """Named thresholds: `covid` for `p_covid`, `unhealthy` for `p_unhealthy`.

    Attributes:
        name: as in the file and in the tables.
        thresholds: score -> threshold; a score at or above it is flagged.
        missing: score -> why it has no threshold.
        bound: score -> the model and the kind of scores that its threshold was made of; absent: not said.
    """

    name: str
    thresholds: dict[str, float]
    missing: dict[str, str] = field(default_factory=dict)
    bound: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)

    def threshold(self, score: str) -> float:
        """The threshold of `score`.

        Raises:
            ConfigError: if the point has none, with the reason.
        """
        if score not in self.thresholds:
            reason = self.missing.get(score, f"it has {', '.join(sorted(self.thresholds)) or 'none'}")
            raise ConfigError(f"operating point {self.name} has no threshold for {score}: {reason}")
        return self.thresholds[score]

    def check_made_for(self, model_id: str, calibration: str) -> None:
        """Refuse scores of another model, or on another scale, than a threshold was made of.

        Raises:
            ConfigError: says which threshold, and what to do.
        """
        for score, (model, scale) in self.bound.items():
            if model is not None and model != model_id:
                raise ConfigError(
                    f"operating point {self.name}: its threshold for {score} was made of the scores of model {model}, "
                    f"and these are of {model_id}. Another model gives other scores, so the share of patients it would "
                    "miss is not known: read part of its queue, and calibrate again"
                )
            if scale is not None and scale != calibration:
                raise ConfigError(
                    f"operating point {self.name}: its threshold for {score} is meant for scores with calibration "
                    f"{scale}, and these have {calibration}: set --temperature as it was when the queue was read"
                )


Document = dict[str, dict[str, Threshold]]
"""A whole file: operating point -> score -> threshold."""

_DOCUMENT = TypeAdapter(Document)


def choose(
    scores: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], specificities: tuple[float, ...] = SPECIFICITIES
) -> Document:
    """The thresholds at each of `specificities`.

    Args:
        scores: `covid`, `unhealthy` -> scores and labels (0 or 1) of the validation images whose label is known.
        specificities: each above 0 and at most 1.

    Raises:
        ValueError: for a specificity outside its range, or scores or labels that `comit_ray.statistics.roc` refuses.
    """
    return {
        operating_point_name(specificity): {
            score: _choose(values, labels, specificity) for score, (values, labels) in scores.items()
        }
        for specificity in specificities
    }


def choose_for_every_source(
    scores: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike, Sequence[str]]],
    specificities: tuple[float, ...] = SPECIFICITIES,
) -> Document:
    """Thresholds at which each source, not only all together, has at least each of `specificities`.

    The threshold is the highest of those that the sources have by themselves and all images have together. A source
    with fewer negatives than 1 / (1 - specificity) has no part of its own, for its own threshold would be its greatest
    score, a single image. Which had one, with how many negatives, is kept.

    Args:
        scores: `covid`, `unhealthy` -> scores, labels (0 or 1) and sources of the validation images.
        specificities: each above 0 and at most 1.
    """
    return {
        f"{operating_point_name(specificity)}{EVERY_SOURCE}": {
            score: _choose_for_worst(np.asarray(values), np.asarray(labels), np.asarray(names, str), specificity)
            for score, (values, labels, names) in scores.items()
        }
        for specificity in specificities
    }


def _choose_for_worst(
    values: npt.NDArray[Any], labels: npt.NDArray[Any], names: npt.NDArray[np.str_], specificity: float
) -> Threshold:
    negatives = {str(name): int(((names == name) & (labels == 0)).sum()) for name in np.unique(names)}
    needed = math.inf if specificity == 1 else round(1 / (1 - specificity))
    used = [name for name, count in negatives.items() if count >= needed]
    positives = int((labels == 1).sum())
    if not used or not positives:
        counts = ", ".join(f"{name} {count}" for name, count in negatives.items()) or "none"
        few = f"no source has {needed} images without it in the validation split, got {counts}"
        reason = few if not used else "no positive image in the validation split"
        support = {name: SourceSupport(negatives=n, specificity=None, used=False) for name, n in negatives.items()}
        return Threshold(
            threshold=None, positives=positives, negatives=sum(negatives.values()), reason=reason, sources=support
        )
    # All together too: the negatives of small sources count there, and the point is never below the pooled one.
    parts = [np.full(len(values), True), *(names == name for name in used)]
    found = [roc.threshold_at_specificity(values[part], labels[part], specificity) for part in parts]
    threshold = max(one for one in found if one is not None)
    return Threshold(
        threshold=threshold,
        specificity=roc.specificity_at(values, labels, threshold),
        sensitivity=roc.sensitivity_at(values, labels, threshold),
        positives=positives,
        negatives=sum(negatives.values()),
        sources={
            name: SourceSupport(
                negatives=count,
                specificity=roc.specificity_at(values[names == name], labels[names == name], threshold),
                used=name in used,
            )
            for name, count in negatives.items()
        },
    )


def _choose(values: npt.ArrayLike, labels: npt.ArrayLike, specificity: float) -> Threshold:
    truth = list(map(int, labels))  # type: ignore[arg-type]
    positives, negatives = sum(truth), len(truth) - sum(truth)
    threshold = roc.threshold_at_specificity(values, labels, specificity)
    if threshold is None or not positives:
        lacking = "negative" if threshold is None else "positive"
        reason = f"no {lacking} image in the validation split"
        return Threshold(threshold=None, positives=positives, negatives=negatives, reason=reason)
    return Threshold(
        threshold=threshold,
        specificity=roc.specificity_at(values, labels, threshold),
        sensitivity=roc.sensitivity_at(values, labels, threshold),
        positives=positives,
        negatives=negatives,
    )


def to_json(document: Document) -> bytes:
    """The file's bytes."""
    plain = {
        point: {score: _plain(threshold) for score, threshold in scores.items()} for point, scores in document.items()
    }
    return (json.dumps(plain, indent=2) + "\n").encode()


def _plain(threshold: Threshold) -> dict[str, Any]:
    """What it is bound to is in the file only where it is bound."""
    values = threshold.model_dump(mode="json")
    return {key: value for key, value in values.items() if value is not None or key not in ONLY_WHERE_SET}


def parse(data: bytes | str, *, origin: str) -> dict[str, OperatingPoint]:
    """The operating points of a file, by name.

    Raises:
        ConfigError: naming `origin` and what is wrong with it.
    """
    try:
        document = _DOCUMENT.validate_json(data)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            f'{origin}: expected JSON such as {{"mine": {{"covid": {{"threshold": 0.4}}}}}}; {problems}'
        ) from None
    return {
        point: OperatingPoint(
            point,
            {score: value.threshold for score, value in scores.items() if value.threshold is not None},
            {score: value.reason or "null" for score, value in scores.items() if value.threshold is None},
            {
                score: (value.model_id, value.calibration)
                for score, value in scores.items()
                if value.model_id is not None or value.calibration is not None
            },
        )
        for point, scores in document.items()
    }


def read(uri: str) -> dict[str, OperatingPoint]:
    """The operating points of the file at `uri`, by name.

    Raises:
        ConfigError: if it is not such a file.
        StorageError: if it cannot be read.
    """
    return parse(storage.read_bytes(uri), origin=uri)
