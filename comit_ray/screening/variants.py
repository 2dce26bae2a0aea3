"""Alters copies of a radiograph and scores them beside it, to see whether a score comes from the lungs.

The method follows DeGrave et al. 2021, "AI for radiographic COVID-19 detection selects shortcuts over signal", and
Maguolo and Nanni 2021, who blacked the lungs out. Frames are 8-bit, at the model's size. The lungs are those that the
model itself predicts.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation

from comit_ray.inference.model import Model
from comit_ray.inference.scores import Scores
from comit_ray.tables import arrays
from comit_ray.tables.schema import VARIANTS
from comit_ray.tables.vocabulary import Task

LUNGS_ONLY, LUNGS_REMOVED, BORDERS_CROPPED = "lungs_only", "lungs_removed", "borders_cropped"
MARGIN = 0.05
"""Share of the frame's side by which lungs are widened before they are blacked out, so that their outline goes too."""
CROP = 0.10
"""Share of the frame's side that is blacked out along each edge, where marks and collimator edges lie.

The rest is not stretched to the frame: otherwise a lower score could come from the changed size of the lungs."""
LEAST = 0.02
"""Share of the frame that lungs must cover; a smaller area is no pair of lungs, and the score of the rest means
nothing."""
NO_LUNGS, NOT_FINITE = "no lungs predicted", "the model's output is not a finite number"
"""Why a copy has no scores."""

FramesBHW = npt.NDArray[np.uint8]


def needs_lungs(variant: str) -> bool:
    """Whether the variant needs the model's lung mask."""
    return variant != BORDERS_CROPPED


def alter(frames_BHW: FramesBHW, lungs_BHW: npt.NDArray[np.bool_] | None, variant: str) -> FramesBHW:
    """Returns the altered frames, of the same shape; black is 0.

    Args:
        frames_BHW: (B, H, W) radiographs, square, 8-bit.
        lungs_BHW: (B, H, W) lung masks; may be None for a variant that does not need them.
        variant: `lungs_only`, `lungs_removed` or `borders_cropped`.

    Raises:
        ValueError: the variant has another name, or lungs are missing that it needs.
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
    """Returns (B,) whether a mask has enough lung for the variants that need it."""
    found: npt.NDArray[np.bool_] = lungs_BHW.mean(axis=(1, 2)) >= LEAST
    return found


def table(
    model: Model,
    frames_BHW: FramesBHW,
    scores: Scores,
    image_ids: pa.ChunkedArray,
    altered: Sequence[str],
    temperatures: Mapping[str, float],
) -> pa.Table:
    """Returns the rows of the `variants` table: for every image with scores, one row per altered copy.

    Args:
        model: model that scores the copies.
        frames_BHW: (B, H, W) radiographs.
        scores: the model's output for them; `finite` says which of them have scores.
        image_ids: ids of the images that have scores; others have no row.
        altered: names of the variants.
        temperatures: score -> temperature that divides its log-odds; empty: scores as the model gives them.
    """
    if not len(frames_BHW):
        return VARIANTS.empty_table()
    sound_B, lungs_BHW = scores.finite, scores.mask_BHW(Task.LUNG)
    shape = int(np.count_nonzero(sound_B)), len(altered)
    reasons_BV, there_BV = np.full(shape, None, object), np.zeros(shape, bool)
    found = {name: np.zeros(shape, np.float32) for name in scores.probabilities}
    for at, variant in enumerate(altered):
        copies_BHW = alter(frames_BHW, lungs_BHW, variant)
        written = model.predict(copies_BHW, masks=False).take(sound_B).scaled(temperatures)
        seen_B = np.ones(shape[0], bool)
        if needs_lungs(variant):
            assert lungs_BHW is not None, "a model without a lung head is refused"
            seen_B = has_lungs(lungs_BHW)[sound_B]
        finite_B = np.all([np.isfinite(values) for values in written.values()], axis=0)
        there_BV[:, at] = seen_B & finite_B
        reasons_BV[~finite_B, at] = NOT_FINITE
        reasons_BV[~seen_B, at] = NO_LUNGS
        for name, values in written.items():
            found[name][:, at] = values
    there = there_BV.reshape(-1)
    of_images = pa.array(np.repeat(np.arange(shape[0]), len(altered)))
    columns = {
        "image_id": image_ids.take(of_images),
        "variant": pa.array([*altered] * shape[0], pa.string()),
        "reason": pa.array(reasons_BV.reshape(-1).tolist(), pa.string()),
    }
    columns |= {f"p_{name}": arrays.spread(v.reshape(-1)[there], there, pa.float32()) for name, v in found.items()}
    return arrays.table(columns, VARIANTS, len(there))


def _around(lungs_HW: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Returns the widened convex hull of both lungs; it covers the heart, and diseased lung that the mask misses."""
    from scipy.spatial import ConvexHull  # imported late: few predictors make these variants

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
