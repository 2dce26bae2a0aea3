"""Frames as the networks want them, on the device."""

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of pixels in 0..1, by channel: what torchvision's weights were trained with."""


def normalise(frames_BHW: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Three equal channels with ImageNet's mean and deviation, on the tensor's device.

    Args:
        frames_BHW: uint8 frames.
        dtype: of the result, the model's precision.

    Returns:
        (B, 3, H, W).
    """
    mean, std = (torch.tensor(values, device=frames_BHW.device) for values in (IMAGENET_MEAN, IMAGENET_STD))
    scaled_B1HW = (frames_BHW.unsqueeze(1).float()) / 255
    return ((scaled_B1HW - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)).to(dtype)
