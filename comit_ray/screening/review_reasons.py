"""Reasons why a radiologist should look at an image, the most urgent first, each as a condition in SQL.

The conditions apply to rows of `predictions` (`p`) and of the manifest (`m`). Numbers are compared in the precision of
their columns (32 bits), as they stand in the tables. A null score or mask measurement gives no reason.
"""

import math

import numpy as np
from scipy.special import logit

from comit_ray.config.queue_config import QueueConfig
from comit_ray.errors import Reason, Status
from comit_ray.tables.vocabulary import ReviewReason

WORTH_A_LOOK = (
    Reason.MISSING,
    Reason.UNREADABLE,
    Reason.STORAGE_ABSENT,
    Reason.STORAGE_CUT,
    Reason.STORAGE_CHANGED,
    Reason.TRUNCATED,
    Reason.CORRUPT,
    Reason.UNSUPPORTED_TRANSFER_SYNTAX,
    Reason.TOO_LARGE,
    Reason.BLANK,
    Reason.NO_PIXELS,
    Reason.BAD_GEOMETRY,
    Reason.NOT_GRAYSCALE,
    Reason.MODEL_FAILED,
    Reason.CRASHED_DECODER,
    Reason.TIMED_OUT,
    Reason.PROGRAM_FAILED,
)
"""Failures that may hide a patient's radiograph; a reader with the original system can still see it."""

MOST_URGENT_FIRST = (
    ReviewReason.ABOVE_OPERATING_POINT,
    ReviewReason.LABEL_DISAGREES,
    ReviewReason.COVID_BUT_HEALTHY,
    ReviewReason.COVID_WITHOUT_DISEASE,
    ReviewReason.DISEASE_OUTSIDE_LUNGS,
    ReviewReason.NO_LUNGS_FOUND,
    ReviewReason.NOT_A_FRONTAL_CHEST,
    ReviewReason.NEAR_THRESHOLD,
    ReviewReason.UNHEALTHY_ABOVE_OPERATING_POINT,
    ReviewReason.CHILD,
    ReviewReason.FAILED,
    ReviewReason.FLAGS_UNTRUSTED,
    ReviewReason.RANDOM_NEGATIVE,
)
"""The order of the queue: the most urgent reason of an image decides its place."""


def bit(reason: ReviewReason) -> int:
    """Returns the number of a reason in the sum of all reasons of an image."""
    return 1 << MOST_URGENT_FIRST.index(reason)


def as_sum(config: QueueConfig, threshold: float, head: str, untrusted: bool) -> str:
    """Returns an SQL expression for the sum of the bits of an image's reasons, without random negatives.

    Args:
        config: limits of the reasons.
        threshold: threshold of the score, 0 to 1; NaN: there is none.
        head: the score that orders the queue, `covid` or `unhealthy`.
        untrusted: whether every scored image is to be read, because the archive's flags are not trusted.
    """
    found = conditions(config, threshold, head)
    if untrusted:
        found[ReviewReason.FLAGS_UNTRUSTED] = SCORED
    return " + ".join(f"(CASE WHEN {condition} THEN {bit(reason)} ELSE 0 END)" for reason, condition in found.items())


SCORED = f"p.status = '{Status.OK}'"
"""SQL condition that an image has scores or masks."""


def conditions(config: QueueConfig, threshold: float, head: str) -> dict[ReviewReason, str]:
    """Returns reason -> its SQL condition, for reasons that depend on the image itself; arguments as for `as_sum`."""
    judged = f"({SCORED} AND p.{head}_flag IS NOT NULL)"  # a segmentation network gives no flag
    flagged = f"({SCORED} AND p.{head}_flag)"
    unflagged = f"NOT coalesce({flagged}, false)"
    outside = "1 - p.disease_in_lung * p.lung_area / p.disease_area"
    worth = ", ".join(f"'{reason}'" for reason in WORTH_A_LOOK)
    least = least_near(threshold, config.near_threshold)
    return {
        ReviewReason.ABOVE_OPERATING_POINT: flagged,
        ReviewReason.LABEL_DISAGREES: f"{judged} AND ((m.{head} = 1 AND {unflagged}) OR (m.{head} = 0 AND {flagged}))",
        ReviewReason.COVID_BUT_HEALTHY: f"{flagged} AND p.p_unhealthy < {_float(config.covid_but_healthy)}",
        ReviewReason.COVID_WITHOUT_DISEASE: f"{flagged} AND p.disease_area < {_float(config.min_disease_area)}",
        ReviewReason.DISEASE_OUTSIDE_LUNGS: f"{flagged} AND p.disease_area >= {_float(config.min_disease_area)} "
        f"AND p.disease_area > 0 AND {outside} > {_float(config.max_disease_outside)}",
        ReviewReason.NO_LUNGS_FOUND: f"{SCORED} AND p.lung_area < {_float(config.min_lung_area)}",
        ReviewReason.NOT_A_FRONTAL_CHEST: f"{SCORED} AND p.p_frontal_chest < {_float(config.min_frontal_chest)}",
        ReviewReason.NEAR_THRESHOLD: "false"
        if least is None
        else f"{SCORED} AND {unflagged} AND p.p_{head} >= {_float(least)}",
        ReviewReason.UNHEALTHY_ABOVE_OPERATING_POINT: "p.unhealthy_flag",
        ReviewReason.CHILD: f"p.status <> '{Status.EXCLUDED}' AND m.age < {_float(config.child_age)}",
        ReviewReason.FAILED: f"p.status = '{Status.FAILED}' AND p.reason IN ({worth})",
    }


def _float(value: float) -> str:
    """Returns a number in SQL, in the precision of the tables' columns."""
    return f"CAST({float(np.float32(value))!r} AS FLOAT)"


def least_near(threshold: float, distance: float) -> float | None:
    """Returns the lowest 32-bit score that counts as near the threshold; None if no score does.

    Distances are in log-odds: thresholds of 0.01 are common, and a fixed distance below one would include every image.

    Args:
        threshold: 0 to 1, or NaN: there is none.
        distance: distance in log-odds.
    """
    limit = _log_odds(threshold) - distance
    # From 0 to 1, 32-bit numbers have the same order as their bits.
    low, high = 0, int(np.float32(1).view(np.int32))
    if math.isnan(limit) or _log_odds(1.0) < limit:
        return None
    while low < high:
        middle = (low + high) // 2
        if _log_odds(float(np.int32(middle).view(np.float32))) >= limit:
            high = middle
        else:
            low = middle + 1
    return float(np.int32(low).view(np.float32))


def _log_odds(probability: float) -> float:
    """Returns the natural logarithm of the odds; finite, and NaN where the probability is NaN."""
    return float(logit(np.clip(probability, 1e-7, 1 - 1e-7)))
