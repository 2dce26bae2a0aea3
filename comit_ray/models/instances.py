"""Converts between masks and instances: targets of Mask R-CNN, and its detections as a mask."""

import numpy as np
import scipy.ndimage
import torch
from torch import Tensor

from comit_ray.data.masks.mask_images import IGNORE

LEAST_PIXELS = 4
"""Least pixels of an instance; a smaller component is a fragment from resampling."""
LEAST_PROBABILITY = 1e-4
"""Probability where nothing is detected. It is not 0, because logit and cross entropy would then be infinite."""


def has_known_pixel(mask_BHW: Tensor) -> Tensor:
    """Returns Booleans (B,): whether any pixel of the image has a known label."""
    return (mask_BHW != IGNORE).flatten(1).any(dim=1)


def targets_of(mask_HW: Tensor) -> dict[str, Tensor]:
    """Returns the connected components (8 neighbours) of a mask, in the form of torchvision's detection networks.

    Args:
        mask_HW: uint8, 1 in the region of the task; 0 and 255 (unknown) count as background.

    Returns:
        `boxes` (N, 4) float x1, y1, x2, y2, with 1 added to the last column and row, so that no box is flat; `labels`
            (N,), all 1; `masks` (N, H, W) uint8. An empty mask gives N = 0, a negative example.
    """
    labelled, _ = scipy.ndimage.label(mask_HW.cpu().numpy() == 1, structure=np.ones((3, 3)))
    boxes, masks = [], []
    for number, (rows, columns) in enumerate(scipy.ndimage.find_objects(labelled), start=1):
        component = labelled == number
        if component.sum() >= LEAST_PIXELS:
            boxes.append([columns.start, rows.start, columns.stop, rows.stop])
            masks.append(component)
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32, device=mask_HW.device).reshape(-1, 4),
        "labels": torch.ones(len(boxes), dtype=torch.int64, device=mask_HW.device),
        "masks": torch.tensor(
            np.array(masks, dtype=np.uint8).reshape(-1, *mask_HW.shape), dtype=torch.uint8, device=mask_HW.device
        ),
    }


def pixel_logits(masks_N1HW: list[Tensor]) -> Tensor:
    """Returns (B, 2, H, W) logits of background and region; their softmax is the highest probability of any instance.

    Args:
        masks_N1HW: of each image, the mask probabilities in 0..1 of its N >= 0 instances.
    """
    highest = [masks.amax(dim=0) if len(masks) else masks.new_zeros(masks.shape[1:]) for masks in masks_N1HW]
    p_B1HW = torch.stack(highest).clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return torch.cat([torch.log1p(-p_B1HW), torch.log(p_B1HW)], dim=1)
