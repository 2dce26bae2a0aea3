"""The paper's six copies of a COVID-19 training image, on the device."""

import torch
from torch import Tensor

from comit_ray.data.masks.mask_images import IGNORE

PAPER_SIZE = 224
"""Side in pixels of the frame in which the paper's shifts of 10 px are meant."""
COPIES: tuple[tuple[float, int, int], ...] = (
    (0, 0, 0),
    (10, 0, 0),
    (-10, 0, 0),
    (0, 10, 0),
    (0, 0, 10),
    (0, 10, 10),
)
"""Section 3.1: rotation in degrees (clockwise), shifts in X (right) and Y (down) in pixels. Copy 0 is the image."""


def augment(frames_BHW: Tensor, masks_BMHW: Tensor, copy_B: Tensor) -> tuple[Tensor, Tensor]:
    """Each image and its masks moved as its copy says.

    What comes in from outside the frame is black in the image and unknown (255) in the masks.

    Args:
        frames_BHW: uint8 frames.
        masks_BMHW: uint8 masks, any number M an image: 0, 1, or 255 where unknown.
        copy_B: index into `COPIES` of each image, on the host.

    Returns:
        Frames and masks of the same shapes and types.
    """
    if not bool(copy_B.any()):
        return frames_BHW, masks_BMHW
    # Late: torchvision takes a second, and 150 MB, which the driver and Ray Train's controller need not pay.
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    frames_BHW, masks_BMHW = frames_BHW.clone(), masks_BMHW.clone()
    scale = frames_BHW.shape[-1] / PAPER_SIZE
    for copy in torch.unique(copy_B).tolist():
        angle, right, down = COPIES[copy]
        if copy == 0:
            continue
        chosen = torch.nonzero(copy_B == copy).squeeze(1).to(frames_BHW.device, non_blocking=True)
        move = {"angle": angle, "translate": [round(right * scale), round(down * scale)], "scale": 1.0, "shear": [0.0]}
        frames_BHW[chosen] = F.affine(
            frames_BHW[chosen].unsqueeze(1), interpolation=InterpolationMode.BILINEAR, fill=[0.0], **move
        ).squeeze(1)
        masks_BMHW[chosen] = F.affine(
            masks_BMHW[chosen], interpolation=InterpolationMode.NEAREST, fill=float(IGNORE), **move
        )
    return frames_BHW, masks_BMHW
