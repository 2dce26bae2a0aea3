"""Moves training images on the device: the paper's six copies, and random turns and shifts. Noise: `appearance`.

Random variation goes beyond the paper: small rotations, shifts, scales and exposures. It depends only on seed, epoch
and image, so the same image varies in the same way on one worker or eight. Nothing is mirrored, because the heart lies
on the left.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from comit_ray.data.masks.mask_images import IGNORE

PAPER_SIZE = 224
"""Side in pixels of the frame for which the paper states its shifts of 10 px."""
COPIES: tuple[tuple[float, int, int], ...] = (
    (0, 0, 0),
    (10, 0, 0),
    (-10, 0, 0),
    (0, 10, 0),
    (0, 0, 10),
    (0, 10, 10),
)
"""Section 3.1: rotation in degrees (clockwise), shifts in X (right) and Y (down) in pixels. Copy 0 is the
image itself."""


def augment(frames_BHW: Tensor, masks_BMHW: Tensor, copy_B: Tensor) -> tuple[Tensor, Tensor]:
    """Moves each image and its masks as its copy requires.

    Pixels from outside the frame are black in the image and unknown (255) in the masks.

    Args:
        frames_BHW: (B, H, W) uint8 frames.
        masks_BMHW: (B, M, H, W) uint8 masks, any number M per image: 0, 1, or 255 for unknown.
        copy_B: (B,) index into `COPIES` of each image, on the host.

    Returns:
        Frames and masks of the same shapes and types.
    """
    if not bool(copy_B.any()):
        return frames_BHW, masks_BMHW
    # Imported late: torchvision costs a second and 150 MB, which the driver and Ray Train's controller do not need.
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


RANGES = {
    "angle": 10.0,  # degrees in either direction
    "log_scale": 0.12,  # natural logarithm of the factor: 0.89 to 1.13 times
    "right": 0.05,  # share of the frame in either direction
    "down": 0.05,
    "log_gamma": 0.35,  # natural logarithm of the exponent of grey values: 0.70 to 1.42
}


def draw(seed: int, epoch: int, items: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Draws parameters in the order of `RANGES`, uniform in their ranges.

    Args:
        seed: seed of the training.
        epoch: number of the epoch, from 0.
        items: (B, 2) index of the image and of its copy.

    Returns:
        (B, 5) parameters.
    """
    generators = (np.random.default_rng([seed, epoch, *item]) for item in items.tolist())
    unit_BP = np.stack([generator.uniform(-1, 1, len(RANGES)) for generator in generators])
    return np.asarray(unit_BP * np.array(list(RANGES.values())), dtype=np.float32)


def vary(frames_BHW: Tensor, masks_BMHW: Tensor, parameters_BP: Tensor) -> tuple[Tensor, Tensor]:
    """Moves each image and its masks, and applies a gamma to the image's grey values.

    Pixels from outside the frame are black in the image and unknown (255) in the masks.

    Args:
        frames_BHW: (B, H, W) uint8 frames.
        masks_BMHW: (B, M, H, W) uint8 masks: 0, 1, or 255 for unknown.
        parameters_BP: (B, 5) result of `draw`, on the frames' device.

    Returns:
        Frames and masks of the same shapes and types.
    """
    angle_B, log_scale_B, right_B, down_B, log_gamma_B = parameters_BP.unbind(1)
    cos_B = torch.cos(torch.deg2rad(angle_B)) / log_scale_B.exp()
    sin_B = torch.sin(torch.deg2rad(angle_B)) / log_scale_B.exp()
    # Maps an output place to its input place, in coordinates from -1 to 1: rotate and scale, then shift.
    back_B23 = torch.stack([cos_B, sin_B, -2 * right_B, -sin_B, cos_B, -2 * down_B], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(back_B23, [len(frames_BHW), 1, *frames_BHW.shape[1:]], align_corners=False)

    grey_B1HW = (frames_BHW.unsqueeze(1).float() / 255) ** log_gamma_B.exp().view(-1, 1, 1, 1)
    moved_B1HW = F.grid_sample(grey_B1HW, grid, mode="bilinear", align_corners=False)
    # Values are counted from one, so that zeros from outside the frame differ from every value.
    labels_BMHW = F.grid_sample(masks_BMHW.float() + 1, grid, mode="nearest", align_corners=False).round()
    labels_BMHW = torch.where(labels_BMHW == 0, IGNORE + 1, labels_BMHW) - 1
    return (moved_B1HW.squeeze(1) * 255).round().to(torch.uint8), labels_BMHW.to(torch.uint8)
