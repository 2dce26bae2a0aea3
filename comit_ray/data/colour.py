"""RGB that is really grey -> grey; a coloured picture is no radiograph and is refused."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from comit_ray.errors import DecodeError, Reason

CHANNEL_SPREAD = 16
"""Grey levels of 256 that red, green and blue of a grey pixel may lie apart: ten times what JPEG's colour conversion
rounds by, and above the chroma noise of scanned films."""
COLOURED_SHARE = 0.01
"""Share of pixels that may exceed it: coloured side markers and annotations, not a coloured picture."""


def to_grey(rgb_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma (ITU-R BT.601) of a grey picture stored as RGB, uint8 (height, width).

    Raises:
        DecodeError: NOT_GRAYSCALE if more than 1% of the pixels are coloured.
    """
    spread_HW = rgb_HWC.max(axis=2) - rgb_HWC.min(axis=2)
    share = np.count_nonzero(spread_HW > CHANNEL_SPREAD) / spread_HW.size
    if share > COLOURED_SHARE:
        raise DecodeError(Reason.NOT_GRAYSCALE, f"expected a grey picture, got {share:.0%} coloured pixels")
    return np.array(Image.fromarray(rgb_HWC).convert("L"))
