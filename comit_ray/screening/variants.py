"""Altered copies of a radiograph, scored beside it: does a score come from the lungs, or from what lies around them?

As in DeGrave et al. 2021, "AI for radiographic COVID-19 detection selects shortcuts over signal", and Maguolo and Nanni
2021, who blacked the lungs out. Frames are 8-bit, at the model's size; lungs are those that the model itself draws.
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation

from comit_ray.config import FrameConfig
from comit_ray.data.resize import to_frame

LUNGS_ONLY, LUNGS_REMOVED, BORDERS_CROPPED = "lungs_only", "lungs_removed", "borders_cropped"
MARGIN = 0.03
"""Share of the frame's side by which lungs are widened before they are blacked out: their outline goes with them."""
CROP = 0.10
"""Share of the frame's side that is cut off on every side: marks and collimator edges lie there."""
LEAST = 0.02
"""Share of the frame that lungs must have; less is no pair of lungs, and what is left says nothing."""
NO_LUNGS = "no lungs predicted"

FramesBHW = npt.NDArray[np.uint8]


def needs_lungs(variant: str) -> bool:
    """Whether the variant cannot be made without the model's lungs."""
    return variant != BORDERS_CROPPED


def alter(frames_BHW: FramesBHW, lungs_BHW: npt.NDArray[np.bool_] | None, variant: str) -> FramesBHW:
    """The altered frames, of the same shape; black is 0.

    Args:
        frames_BHW: radiographs, square.
        lungs_BHW: the lungs of each; None is allowed where the variant needs none.
        variant: `lungs_only`, `lungs_removed` or `borders_cropped`.

    Raises:
        ValueError: another variant, or no lungs where they are needed.
    """
    if variant == BORDERS_CROPPED:
        return np.stack([_cropped(frame_HW) for frame_HW in frames_BHW])
    if lungs_BHW is None:
        raise ValueError(f"variant {variant} needs lungs, got none")
    if variant == LUNGS_ONLY:
        return np.where(lungs_BHW, frames_BHW, np.uint8(0))
    if variant == LUNGS_REMOVED:
        steps = max(1, round(MARGIN * frames_BHW.shape[-1]))
        wide_BHW = np.stack([binary_dilation(lungs_HW, iterations=steps) for lungs_HW in lungs_BHW])
        return np.where(wide_BHW, np.uint8(0), frames_BHW)
    raise ValueError(f"variant: expected {LUNGS_ONLY}, {LUNGS_REMOVED} or {BORDERS_CROPPED}, got {variant!r}")


def has_lungs(lungs_BHW: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(B,) whether there is enough lung for the variants that need it."""
    found: npt.NDArray[np.bool_] = lungs_BHW.mean(axis=(1, 2)) >= LEAST
    return found


def _cropped(frame_HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The middle of the frame, as large as the frame again by the one resampling chain."""
    size = frame_HW.shape[0]
    cut = round(CROP * size)
    return to_frame(frame_HW[cut : size - cut, cut : size - cut], FrameConfig(size=size, fit="stretch"))
