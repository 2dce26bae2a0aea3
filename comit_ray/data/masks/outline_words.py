"""Says how coarse a network's outlines are: on what image they were drawn, and how long one of their steps is.

A network outlines lungs and disease on a small image, such as 96 x 96 pixels. Drawn over a radiograph of 3,000 pixels,
an outline looks like the border of a lesion, although each of its steps covers about 31 pixels. Every picture that
shows outlines says so, in the same words.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from comit_ray.data.images.frame import FrameMap


@dataclass(frozen=True)
class OutlineGrid:
    """The image on which a network drew outlines.

    Attributes:
        height: its rows, in pixels.
        width: its columns, in pixels.
        step: pixels of the radiograph, at its stored size, that the longer side of one of its pixels covers.
    """

    height: int
    width: int
    step: float

    @classmethod
    def of_row(cls, row: Mapping[Any, Any]) -> "OutlineGrid":
        """The grid of a row of the table `masks`."""
        covered = max(1 / row["rows_per_pixel"], 1 / row["columns_per_pixel"])
        return cls(int(row["frame_height"]), int(row["frame_width"]), float(covered))

    @classmethod
    def of_mask(cls, shape: tuple[int, int], place: FrameMap) -> "OutlineGrid":
        """The grid of a mask of `shape` (rows, columns) whose frame lies on the radiograph as `place` says."""
        return cls(shape[0], shape[1], max(1 / place.rows_per_pixel, 1 / place.columns_per_pixel))


def sentences(grids: Iterable[OutlineGrid]) -> str:
    """Two sentences about the outlines of one or more radiographs; empty if there are no outlines.

    Args:
        grids: the grid of each radiograph that has an outline.
    """
    known = list(grids)
    if not known:
        return ""
    sizes = " or ".join(dict.fromkeys(f"{grid.height} x {grid.width}" for grid in known))
    low, high = (max(1, round(end(grid.step for grid in known))) for end in (min, max))
    steps = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return (
        f"The network drew its outlines on an image of {sizes} pixels; one step of an outline is {steps} "
        f"pixel{'' if steps == '1' else 's'} of the radiograph. "
        "An outline is not a lesion's border; it may be misplaced."
    )
