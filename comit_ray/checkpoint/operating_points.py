"""Operating points: thresholds that turn scores into flags, chosen on validation data, stored with the model.

The file is JSON, operating point -> score -> threshold, with its results on the validation split:

    {"specificity_0.90": {"covid": {"threshold": 0.41, "specificity": 0.904, "sensitivity": 0.93,
                                    "positives": 14, "negatives": 104, "reason": null}, "unhealthy": {...}}, ...}

A site may write its own file with `threshold` alone. A threshold that cannot be chosen is null, with the reason. A
threshold of `comit-ray calibrate` names the `model_id` for whose scores it was chosen, and says whether these were
calibrated. The reason: a new version of a model shifts its scores, and the old threshold might then find fewer
patients.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError

from comit_ray.config.config_base import EVERY_SOURCE, Config, Fraction, operating_point_name
from comit_ray.errors import ConfigError
from comit_ray.statistics import roc
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import SPECIFICITIES

ONLY_WHERE_SET = ("model_id", "calibration", "sources")
FILE = "operating_points.json"
"""File name in a checkpoint, and in the results of an embedding classifier."""


class SourceSupport(Config):
    """The evidence of one source for a threshold that is chosen for the worst source."""

    negatives: int
    """Number of the source's negatives in the validation split."""
    specificity: Fraction | None
    """Specificity of the source at the threshold; null without a negative or a threshold."""
    used: bool
    """Whether the source was used: fewer than 1 / (1 - specificity) negatives cannot show that specificity."""


class Threshold(Config):
    """The threshold of one score, and how it was chosen."""

    threshold: Annotated[float, Field(allow_inf_nan=False)] | None
    """A score at or above this is flagged; null if no threshold could be chosen."""
    specificity: Fraction | None = None
    """Specificity on the data for which it was chosen."""
    sensitivity: Fraction | None = None
    """Sensitivity on the data for which it was chosen."""
    positives: int | None = None
    """Number of positives in these data."""
    negatives: int | None = None
    """Number of negatives in these data."""
    reason: str | None = None
    """Why there is no threshold."""
    sources: dict[str, SourceSupport] | None = None
    """Source -> its evidence, for a threshold chosen for the worst source; null if it was chosen for all images
    together."""
    model_id: str | None = None
    """The only model for which it is meant; null: the model with which it is stored, or any model."""
    calibration: Literal["none", "temperature"] | None = None
    """The kind of scores for which it is meant (column `calibration` of the predictions); null: the scores as
    written."""


@dataclass(frozen=True)
class OperatingPoint:
    """Named thresholds: `covid` for `p_covid`, `unhealthy` for `p_unhealthy`.

    Attributes:
        name: name in the file and in the tables.
        thresholds: score -> threshold; a score at or above it is flagged.
        missing: score -> why it has no threshold.
        bound: score -> (model id, calibration) for which its threshold was chosen; absent if not stated.
    """

    name: str
    thresholds: dict[str, float]
    missing: dict[str, str] = field(default_factory=dict)
    bound: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)

    def threshold(self, score: str) -> float:
        """Returns the threshold of `score`.

        Raises:
            ConfigError: there is none; the message gives the reason.
        """
        if score not in self.thresholds:
            reason = self.missing.get(score, f"it has {', '.join(sorted(self.thresholds)) or 'none'}")
            raise ConfigError(f"operating point {self.name} has no threshold for {score}: {reason}")
        return self.thresholds[score]

    def check_made_for(self, model_id: str, calibration: str) -> None:
        """Refuses scores of another model, or on another scale, than those for which a threshold was chosen.

        Args:
            model_id: id of the model that gives the scores.
            calibration: `none` or `temperature`.

        Raises:
            ConfigError: the message says which threshold, and what to do.
        """
        for score, (model, scale) in self.bound.items():
            if model is not None and model != model_id:
                raise ConfigError(
                    f"operating point {self.name}: its threshold for {score} was chosen for scores of model {model}, "
                    f"but these are scores of {model_id}. Another model gives other scores, so the share of patients "
                    "that it would miss is not known: read part of its queue, and calibrate again"
                )
            if scale is not None and scale != calibration:
                raise ConfigError(
                    f"operating point {self.name}: its threshold for {score} is meant for scores with calibration "
                    f"{scale}, but these have {calibration}: set --temperature as it was when the queue was read"
                )


Document = dict[str, dict[str, Threshold]]
"""A whole file: operating point -> score -> threshold."""

_DOCUMENT = TypeAdapter(Document)


def choose(
    scores: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], specificities: tuple[float, ...] = SPECIFICITIES
) -> Document:
    """Chooses the thresholds at each of `specificities`.

    Args:
        scores: `covid`, `unhealthy` -> (N,) scores and (N,) labels (0 or 1) of validation images with a known label.
        specificities: each above 0 and at most 1.

    Raises:
        ValueError: a specificity is outside its range, or `comit_ray.statistics.roc` refuses the scores or labels.
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
    """Chooses thresholds at which each source alone, and all sources together, reach each of `specificities`.

    The threshold is the highest of those of the single sources and of all images together. A source with fewer
    negatives than 1 / (1 - specificity) gets no threshold of its own, because that would be its highest score, a single
    image. The result records which sources were used, with their numbers of negatives.

    Args:
        scores: `covid`, `unhealthy` -> (N,) scores, labels (0 or 1) and sources of the validation images.
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
        few = f"no source has {needed} negative images in the validation split, got {counts}"
        reason = few if not used else "no positive image in the validation split"
        support = {name: SourceSupport(negatives=n, specificity=None, used=False) for name, n in negatives.items()}
        return Threshold(
            threshold=None, positives=positives, negatives=sum(negatives.values()), reason=reason, sources=support
        )
    # All images together count too: they include small sources, and keep the threshold at least at the pooled one.
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
    """Returns the bytes of the file."""
    plain = {
        point: {score: _plain(threshold) for score, threshold in scores.items()} for point, scores in document.items()
    }
    return (json.dumps(plain, indent=2) + "\n").encode()


def _plain(threshold: Threshold) -> dict[str, Any]:
    """Returns a threshold as JSON values; keys of `ONLY_WHERE_SET` are left out if they are null."""
    values = threshold.model_dump(mode="json")
    return {key: value for key, value in values.items() if value is not None or key not in ONLY_WHERE_SET}


def parse(data: bytes | str, *, origin: str) -> dict[str, OperatingPoint]:
    """Reads the operating points of a file's bytes, by name.

    Raises:
        ConfigError: the message names `origin` and what is wrong with the file.
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
    """Reads the operating points of the file at `uri`, by name.

    Raises:
        ConfigError: the file does not hold operating points.
        StorageError: the file cannot be read.
    """
    return parse(storage.read_bytes(uri), origin=uri)
