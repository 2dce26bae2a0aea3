"""Mask R-CNN (He et al., arXiv:1703.06870): torchvision's, with the output of the other networks.

The paper gives only the name, the frames of 224 x 224 and the optimiser. The other choices are ours:

- Anchors are fractions of the frame. torchvision's 32 to 512 pixels suit photographs of 800.
- Frames are neither resized nor normalised here: `comit_ray.models.outputs.normalise` has prepared them.
- Batch normalisation of the backbone is the usual one. torchvision's is frozen, which suits ImageNet weights and
  batches of two, not random weights; `train.batch_norm: frozen` restores it. All stages are trained.
- 128 boxes per image train the second stage, from 500 proposals (512 of 2000 in torchvision), because a frame has a
  handful of regions, not dozens.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import MultiScaleRoIAlign

from comit_ray.models.classifiers import resnet50_backbone
from comit_ray.models.instances import has_known_pixel, pixel_logits, targets_of
from comit_ray.models.layers import check_sides, scaled
from comit_ray.models.outputs import ModelOutput
from comit_ray.tables.vocabulary import Task

ANCHORS = ((1 / 16, 1 / 11), (1 / 8, 1 / 6), (1 / 4, 1 / 2), (3 / 8, 2 / 3), (3 / 4, 1.0))
"""Sides of the square anchors on each level, finest first, as fractions of the frame's longer side. A lung is about a
third of the frame wide and two thirds high; regions of disease begin at a 20th."""
RATIOS = (0.5, 1.0, 2.0)
"""Height over width of the anchors, as in torchvision."""
SCORE = 0.5
"""Instances with a higher score are drawn; it is the paper's threshold for masks (section 4.1)."""
LEAST_SIDE = 64
"""Least side of the frame, in pixels: below it, the coarsest level is a single cell."""


class MaskRCNN(nn.Module):
    """Mask R-CNN with a ResNet-50 and feature pyramid, for one task.

    `forward` predicts, `instance_loss` trains.

    Args:
        tasks: lung or disease, one of them.
        width: multiplies the channels of the backbone's stages, the pyramid (256), and the heads (1024 and 256).
    """

    def __init__(self, tasks: Iterable[Task], width: float = 1.0) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        (self.task,) = self.tasks
        self.network: Any = _network(width)  # torchvision has no types

    def forward(self, x_B3HW: Tensor) -> ModelOutput:
        """Predicts the masks of `x_B3HW`, a normalised batch, without gradients, in any mode.

        A pixel's probability is the highest that an instance with a score above 0.5 gives it, and 0.0001 outside all
        instances. The embedding is the pooled coarsest level of the pyramid that comes from the backbone (1/32 of the
        frame).

        Raises:
            ConfigError: a side is not a multiple of 32, or shorter than 64.
        """
        with torch.no_grad(), _mode(self.network, training=False):
            images, features = self._features(x_B3HW)
            with torch.autocast(x_B3HW.device.type, enabled=False):
                proposals, _ = self.network.rpn(images, features)
                found, _ = self.network.roi_heads(features, proposals, images.image_sizes)
                size = x_B3HW.shape[-2:]
                logits = pixel_logits([paste_masks_in_image(one["masks"], one["boxes"], size) for one in found])
        return ModelOutput(
            lung=logits if self.task is Task.LUNG else None,
            disease=logits if self.task is Task.DISEASE else None,
            health=None,
            covid=None,
            embedding=features["3"].mean(dim=(2, 3)),
        )

    def instance_loss(self, x_B3HW: Tensor, mask_BHW: Tensor) -> Tensor:
        """Sums torchvision's five losses: objectness and boxes of the proposals, then classes, boxes and masks.

        Images without a known pixel are left out. Every parameter gets a gradient, zero if necessary, even if no image
        is left or none has a positive box, because DistributedDataParallel waits for all of them.

        Args:
            x_B3HW: a normalised batch.
            mask_BHW: uint8, 1 in the region of the task, 0 outside, 255 where it is unknown. In an image with known
                pixels the unknown ones count as background: the losses work on boxes, not pixels.

        Returns:
            A scalar, the mean over the images.

        Raises:
            ConfigError: as `forward`.
        """
        every_parameter = torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum()
        loss: Tensor = 0 * every_parameter
        known_B = has_known_pixel(mask_BHW)
        if not known_B.any():
            return loss
        images, features = self._features(x_B3HW[known_B])
        targets = [targets_of(mask_HW) for mask_HW in mask_BHW[known_B]]
        rpn, heads = self.network.rpn, self.network.roi_heads
        with (
            torch.autocast(x_B3HW.device.type, enabled=False),
            _mode(rpn, training=True),
            _mode(heads, training=True),
        ):
            proposals, first = rpn(images, features, targets)
            _, second = heads(features, proposals, images.image_sizes, targets)
        return loss + torch.stack([*first.values(), *second.values()]).sum()

    def _features(self, x_B3HW: Tensor) -> tuple[ImageList, dict[str, Tensor]]:
        """Returns the pyramid's levels in float32 for torchvision's box operators; the convolutions may be bfloat16."""
        check_sides(x_B3HW, 32, LEAST_SIDE)
        features = OrderedDict((name, level.float()) for name, level in self.network.backbone(x_B3HW).items())
        return ImageList(x_B3HW, [tuple(x_B3HW.shape[-2:])] * len(x_B3HW)), features


class FrameAnchors(AnchorGenerator):  # type: ignore[misc]
    """Anchors whose sizes are fractions of the frame's longer side."""

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Returns (A, 4) boxes of each image, in pixels."""
        side = max(image_list.tensors.shape[-2:])
        self.cell_anchors = [
            self.generate_anchors([fraction * side for fraction in sizes], ratios)
            for sizes, ratios in zip(self.sizes, self.aspect_ratios, strict=True)
        ]
        anchors: list[Tensor] = super().forward(image_list, feature_maps)
        return anchors


def _network(width: float) -> nn.Module:
    pyramid, boxes, masks = scaled(256, width), scaled(1024, width), scaled(256, width)
    backbone = resnet50_backbone(width)
    levels = {f"layer{i + 1}": str(i) for i in range(len(backbone.stages))}
    network: nn.Module = TorchvisionMaskRCNN(
        BackboneWithFPN(backbone, levels, backbone.stages, pyramid),
        rpn_anchor_generator=FrameAnchors(ANCHORS, (RATIOS,) * len(ANCHORS)),
        rpn_post_nms_top_n_train=500,
        rpn_post_nms_top_n_test=500,
        box_head=TwoMLPHead(pyramid * 7 * 7, boxes),
        box_predictor=FastRCNNPredictor(boxes, num_classes=2),
        box_batch_size_per_image=128,
        box_score_thresh=SCORE,
        # Levels follow torchvision's rule, for 224 px: in smaller frames nearly all boxes read the finest level.
        mask_roi_pool=MultiScaleRoIAlign(list(levels.values()), output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(pyramid, [masks] * 4, dilation=1),
        mask_predictor=MaskRCNNPredictor(masks, masks, num_classes=2),
    )
    return network


@contextmanager
def _mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Sets every part of `module` to training or evaluation mode, then restores each; frozen parts stay frozen."""
    before = {part: part.training for part in module.modules()}
    for part in before:
        part.training = training
    try:
        yield
    finally:
        for part, was in before.items():
            part.training = was
