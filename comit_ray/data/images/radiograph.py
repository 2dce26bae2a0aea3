"""The one thing decoding gives: a radiograph's pixels in the display sense, and what is known of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from comit_ray.tables.vocabulary import View


@dataclass(frozen=True)
class Radiograph:
    """A decoded radiograph.

    Attributes:
        pixels_HW: uint8 in the display sense: air dark, bone bright.
        height: rows of the original.
        width: columns of the original.
        view: of the DICOM header; `View.UNKNOWN` for PNG and JPEG.
        view_source: the evidence for `view`; "none" for PNG and JPEG.
        applied: what turned the stored values into these pixels, in order: "rescale", "modality_lut", "window",
            "voi_lut", "percentiles", "monochrome1_inverted", "padding", "colour_to_grey", "alpha_on_black",
            "exif_orientation".
    """

    pixels_HW: NDArray[np.uint8]
    height: int
    width: int
    view: View
    view_source: str
    applied: tuple[str, ...]
