"""Temperature scaling: divides the log-odds of a score by one number that is fitted on the validation split.

Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017, arXiv:1706.04599): the temperature minimises the mean
negative log-likelihood of the validation labels. It changes how certain a score looks, never the order of the images.

The file is JSON, score -> temperature. A temperature that cannot be fitted is null, with the reason:

    {"covid": {"temperature": 1.73, "nll_before": 0.41, "nll_after": 0.33, "positives": 14, "negatives": 104,
               "reason": null}, "unhealthy": {...}, "other": {...}}
"""

import json
from collections.abc import Mapping
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError
from scipy.special import expit, logit

from comit_ray.config.config_base import Config
from comit_ray.errors import ConfigError
from comit_ray.statistics import roc
from comit_ray.tables.vocabulary import counted

FILE = "temperatures.json"
"""File name in a checkpoint."""
LOWEST, HIGHEST = 0.05, 20.0
"""The range that is searched. A best temperature at its border means that there is none, and none is returned."""
FEWEST = 10
"""Positives, and negatives, that a fit needs."""


class Temperature(Config):
    """The temperature of one score, and its effect on the validation images."""

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    """Divisor of the score's log-odds, above 1 if the model is too certain; null if none could be fitted."""
    nll_before: float | None = None
    """Mean negative log-likelihood (nats per image) of the validation labels at temperature 1."""
    nll_after: float | None = None
    """The same at `temperature`; null if there is no temperature."""
    positives: int | None = None
    """Number of positives among the validation images with a known label."""
    negatives: int | None = None
    """Number of negatives among these images."""
    reason: str | None = None
    """Why there is no temperature."""


Document = dict[str, Temperature]
"""A whole file: score (`covid`, `unhealthy`, `other`) -> temperature."""

_DOCUMENT = TypeAdapter(Document)


def fit(logits: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]) -> Document:
    """Fits the temperature of each score.

    Args:
        logits: score -> (N,) log-odds and (N,) labels, 0 or 1, of validation images with a known label. For a softmax
            over two classes, the log-odds are the difference of its logits.

    Raises:
        ValueError: labels are not 0 or 1, log-odds are not finite, or lengths differ.
    """
    return {score: _fit(values, labels) for score, (values, labels) in logits.items()}


def _fit(values: npt.ArrayLike, labels: npt.ArrayLike) -> Temperature:
    logits, positive = roc.checked(values, labels)
    positives = int(positive.sum())
    negatives = len(positive) - positives
    # A margin is large if the model is right and below 0 if it is wrong: the label's likelihood is expit(margin / T).
    margins = np.where(positive, logits, -logits).astype(np.float64)
    before = _nll(margins, 1.0) if len(margins) else None

    def none(reason: str) -> Temperature:
        return Temperature(temperature=None, nll_before=before, positives=positives, negatives=negatives, reason=reason)

    if min(positives, negatives) < FEWEST:
        return none(
            f"{positives:,} positive and {counted(negatives, 'negative image')} in the validation split: at least "
            f"{FEWEST} of each are needed"
        )
    # In 1/T the mean NLL is convex, so its minimum is where the slope changes sign.
    if _slope(margins, 1 / HIGHEST) >= 0:
        return none(
            f"the best temperature is above {HIGHEST:g}: on the validation split these scores are no better as "
            "probabilities than 0.5 for every image"
        )
    if _slope(margins, 1 / LOWEST) <= 0:
        return none(
            f"the best temperature is below {LOWEST:g}: the scores separate the validation split almost perfectly, so "
            "any smaller temperature would look even better"
        )
    from scipy.optimize import brentq  # imported late: it costs half a second, and predictors do not fit

    inverse = brentq(lambda x: _slope(margins, x), 1 / HIGHEST, 1 / LOWEST, xtol=1e-12)
    found = 1 / float(inverse)
    return Temperature(
        temperature=found,
        nll_before=before,
        nll_after=_nll(margins, found),
        positives=positives,
        negatives=negatives,
    )


def _nll(margins: npt.NDArray[np.float64], temperature: float) -> float:
    """Returns the mean of -log(expit(margin / temperature)), without overflow."""
    return float(np.mean(np.logaddexp(0, -margins / temperature)))


def _slope(margins: npt.NDArray[np.float64], inverse: float) -> float:
    """Returns the derivative of the mean NLL with respect to 1/T, at 1/T = `inverse`."""
    return -float(np.mean(margins * expit(-margins * inverse)))


def carry(threshold: float, temperature: float) -> float:
    """Converts a threshold of unscaled scores to the scale of scores whose log-odds are divided by `temperature`.

    A threshold that no score or every score reaches (outside 0 to 1, or at its ends) stays unchanged.
    """
    return float(expit(logit(threshold) / temperature)) if 0 < threshold < 1 else threshold


def to_json(document: Document) -> bytes:
    """Returns the bytes of the file."""
    plain = {score: value.model_dump(mode="json") for score, value in document.items()}
    return (json.dumps(plain, indent=2) + "\n").encode()


def parse(data: bytes | str, *, origin: str) -> Document:
    """Reads the temperatures of a file's bytes, by score.

    Raises:
        ConfigError: the message names `origin` and what is wrong with it.
    """
    try:
        return _DOCUMENT.validate_json(data)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise ConfigError(f'{origin}: expected JSON such as {{"covid": {{"temperature": 1.5}}}}; {problems}') from None
