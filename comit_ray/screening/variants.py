"""Altered copies of a radiograph, scored beside it: does a score come from the lungs, or from what lies around them?

As in DeGrave et al. 2021, "AI for radiographic COVID-19 detection selects shortcuts over signal", and Maguolo and Nanni
2021, who blacked the lungs out. Frames are 8-bit, at the model's size; lungs are those that the model itself draws.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation
from scipy.spatial import ConvexHull

LUNGS_ONLY, LUNGS_REMOVED, BORDERS_CROPPED = "lungs_only", "lungs_removed", "borders_cropped"
MARGIN = 0.05
"""Share of the frame's side by which lungs are widened before they are blacked out: their outline goes with them."""
CROP = 0.10
"""Share of the frame's side that is blacked out on every side: marks and collimator edges lie there.

The rest is not stretched to the frame: a fall of the score could then be of the lungs' size, which is another one.
"""
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
        return _cropped(frames_BHW)
    if lungs_BHW is None:
        raise ValueError(f"variant {variant} needs lungs, got none")
    if variant == LUNGS_ONLY:
        return np.where(lungs_BHW, frames_BHW, np.uint8(0))
    if variant == LUNGS_REMOVED:
        removed_BHW = np.stack([_around(lungs_HW) for lungs_HW in lungs_BHW])
        return np.where(removed_BHW, np.uint8(0), frames_BHW)
    raise ValueError(f"variant: expected {LUNGS_ONLY}, {LUNGS_REMOVED} or {BORDERS_CROPPED}, got {variant!r}")


def has_lungs(lungs_BHW: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(B,) whether there is enough lung for the variants that need it."""
    found: npt.NDArray[np.bool_] = lungs_BHW.mean(axis=(1, 2)) >= LEAST
    return found


def _around(lungs_HW: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The convex hull of both lungs, widened: with what of a diseased lung the mask misses, and with the heart."""
    steps = max(1, round(MARGIN * lungs_HW.shape[0]))
    wide_HW = binary_dilation(lungs_HW, iterations=steps)
    corners = np.argwhere(wide_HW)
    if len(corners) < 3:
        return wide_HW
    hull = corners[ConvexHull(corners).vertices]
    filled = Image.new("1", (lungs_HW.shape[1], lungs_HW.shape[0]))
    ImageDraw.Draw(filled).polygon([(int(x), int(y)) for y, x in hull], fill=1, outline=1)
    found: npt.NDArray[np.bool_] = np.asarray(filled) | wide_HW
    return found


def _cropped(frames_BHW: FramesBHW) -> FramesBHW:
    cut = round(CROP * frames_BHW.shape[-1])
    found = np.zeros_like(frames_BHW)
    found[:, cut:-cut, cut:-cut] = frames_BHW[:, cut:-cut, cut:-cut]
    return found
