"""Chooses the images that get masks under `--masks flagged`.

Two thirds of COMiT-Net's arithmetic are its two decoders, and a score needs neither: the encoder and the branches give
the same score to the last bit. So masks can be limited to images that are flagged, lie near a threshold, or are drawn
at random as the review queue draws its sample. For all other images, nothing that a mask shows is judged: their areas
are null, and they never get the reasons `no_lungs_found` and `disease_outside_lungs`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import run_record
from comit_ray.errors import NotFoundError
from comit_ray.inference.scores import Scores

ALL, FLAGGED, NONE = "all", "flagged", "none"
NEAR = 0.5
"""Distance below the threshold within which an image gets masks, in log-odds as written; the review queue's default."""
RANDOM = 0.03
"""Share (0 to 1) of images drawn at random. It is above the queue's default of 0.02, so that the queue's sample has
masks."""
SEED = 0
"""Seed of the random draw; the review queue's default."""


def setting(masks: str) -> dict[str, Any]:
    """Returns the choice for a run's record; empty for masks of all images, as in records older than this option."""
    if masks == ALL:
        return {}
    return {"of": masks} | ({"near": NEAR, "random": RANDOM, "seed": SEED} if masks == FLAGGED else {})


def chosen(
    scores: Scores,
    flags: Mapping[str, npt.NDArray[np.bool_]],
    point: OperatingPoint,
    temperatures: Mapping[str, float],
    site_thresholds: bool,
    image_ids: Sequence[str],
) -> npt.NDArray[np.bool_]:
    """Returns (B,) whether each image gets masks.

    Args:
        scores: scores of B images.
        flags: score -> (B,) whether each image is flagged.
        point: operating point that holds the thresholds.
        temperatures: score -> temperature that divides its log-odds; empty: no temperature scaling.
        site_thresholds: whether the thresholds apply to the divided scores; otherwise they apply to the model's own
            scores.
        image_ids: ids of the B images.
    """
    drawn_B = np.array([random_number(SEED, one) >= 1 - RANDOM for one in image_ids], bool)
    found_B = drawn_B.reshape(len(scores))
    for flag_B in flags.values():
        found_B |= flag_B
    for score, threshold in point.thresholds.items():
        if score in scores.log_odds:
            by = temperatures.get(score, 1.0)
            least = logit(threshold) / (1.0 if site_thresholds else by) - NEAR
            found_B |= scores.log_odds[score] / by >= least
    return found_B


def made_of_some(results: str) -> bool:
    """Whether the screen in `results` made masks of chosen images only, so that no measurement covers all images.

    Raises:
        StorageError: the record of the run cannot be read.
    """
    try:
        asked = run_record.read(results)["question"].get("masks")
    except NotFoundError:
        return False
    return isinstance(asked, dict) and asked.get("of") == FLAGGED


def random_number(seed: int, image_id: str) -> float:
    """Returns a number from 0 to 1 from seed and image alone, so that a rebuilt queue draws the same sample."""
    return int(hashlib.sha256(f"{seed}:{image_id}".encode()).hexdigest()[:13], 16) / 16**13
