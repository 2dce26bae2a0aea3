"""What a frame's pixels say of how it was made, not of what it shows: brightness, contrast, black, white."""

import numpy as np
import numpy.typing as npt

STATISTICS = ("pixel_mean", "pixel_sd", "pixel_black", "pixel_white")
"""Mean and standard deviation of the grey values, and the shares of pixels that are black and white."""

WHITE = 255


def statistics(frames_BHW: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """`STATISTICS` of each frame, (B,) each: fractions, 0..1, of white or of the frame.

    Args:
        frames_BHW: radiographs at the model's frame, padding included.
    """
    pixels_BN = frames_BHW.reshape(len(frames_BHW), -1)
    found = {
        "pixel_mean": pixels_BN.mean(axis=1) / WHITE,
        "pixel_sd": pixels_BN.std(axis=1) / WHITE,
        "pixel_black": (pixels_BN == 0).mean(axis=1),
        "pixel_white": (pixels_BN == WHITE).mean(axis=1),
    }
    return {name: values.astype(np.float32) for name, values in found.items()}
