"""torchvision's residual networks as backbones, with a width.

He et al., arXiv:1512.03385. At width 1 layers, their names and their initial values are torchvision's, so that its
files fit; torchvision itself offers no multiplier of the channels.
"""

from typing import Any

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from comit_ray.models.layers import scaled


class Backbone(ResNet):  # type: ignore[misc]  # torchvision has no types
    """A ResNet up to its last residual stage, without pooling and classifier.

    Args:
        block: torchvision's BasicBlock or Bottleneck.
        depths: residual blocks of the four stages.
        width: multiplies the channels of the stages; the first convolution keeps its 64.

    Attributes:
        stages: channels of the four stages; the last one's result, a 32nd of the frame's sides, is the backbone's.
    """

    def __init__(self, block: type[nn.Module], depths: list[int], width: float = 1.0) -> None:
        self._width = width  # before torchvision's constructor, which builds the stages
        self.stages: list[int] = []
        super().__init__(block, depths)
        del self.avgpool, self.fc

    def _make_layer(self, block: Any, planes: int, blocks: int, stride: int = 1, dilate: bool = False) -> nn.Sequential:
        stage: nn.Sequential = super()._make_layer(block, scaled(planes, self._width), blocks, stride, dilate)
        self.stages.append(self.inplanes)
        return stage

    def _forward_impl(self, x: Any) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def resnet18_backbone(width: float = 1.0) -> Backbone:
    """18 layers: two blocks of two 3x3 convolutions a stage, 512 channels at width 1."""
    return Backbone(BasicBlock, [2, 2, 2, 2], width)


def resnet50_backbone(width: float = 1.0) -> Backbone:
    """50 layers: 3, 4, 6 and 3 bottlenecks, 2048 channels at width 1."""
    return Backbone(Bottleneck, [3, 4, 6, 3], width)
