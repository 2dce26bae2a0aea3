"""Chooses the images that get masks under `--masks flagged`.

Two thirds of COMiT-Net's arithmetic are its two decoders. A score needs none of it: the encoder and the branches give
it alone, to the last bit. So masks may be made of those images alone that are flagged, lie near a threshold, or are
drawn at random, as the review queue draws its sample. Of all others nothing that a mask tells is judged: their areas
are null, and `no_lungs_found` and `disease_outside_lungs` are no reason of theirs.
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
"""Scores this little below their threshold, in log-odds as written: the review queue's default."""
RANDOM = 0.03
"""Share of the images drawn at random: more than the queue's default of 0.02, so that those it draws have masks."""
SEED = 0
"""Of the draw: the review queue's default."""


def setting(masks: str) -> dict[str, Any]:
    """What a run's record keeps of the choice; empty for all masks, as in records that are older than the choice."""
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
    """(B,) whether masks are made of each image.

    Args:
        scores: of B images.
        flags: score -> (B,) whether it is flagged.
        point: holds the thresholds.
        temperatures: score -> what its log-odds are divided by; empty: nothing is.
        site_thresholds: whether thresholds are meant for the divided scores; else for those that the model gives.
        image_ids: of the B images.
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
    """Whether the screen in `results` chose the images that have masks, so that no figure of masks is one of all.

    Raises:
        StorageError: its record cannot be read.
    """
    try:
        asked = run_record.read(results)["question"].get("masks")
    except NotFoundError:
        return False
    return isinstance(asked, dict) and asked.get("of") == FLAGGED


def random_number(seed: int, image_id: str) -> float:
    """A number in 0..1 that depends on the seed and the image alone, so that a rebuilt queue draws the same sample."""
    return int(hashlib.sha256(f"{seed}:{image_id}".encode()).hexdigest()[:13], 16) / 16**13
