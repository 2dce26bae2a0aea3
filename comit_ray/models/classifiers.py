"""Classification networks of the comparison (section 4.2, table 4): torchvision's, with COMiT-Net's branches.

The paper only says "+ FC" about the layers that replace the ImageNet classifier. Each network here gets those of
COMiT-Net: global average pooling, then the same three fully connected layers per task. So rows of the table differ by
the backbone alone.

Residual networks (He et al., arXiv:1512.03385) have a width. At width 1 their layers, names and initial values are
torchvision's, so that its weight files fit; torchvision itself has no multiplier of the channels.
"""

from collections.abc import Iterable
from typing import Any

import torchvision.models
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vgg import cfgs, make_layers

from comit_ray.models.layers import Branch, Branches, he_initialise, scaled
from comit_ray.models.outputs import ModelOutput
from comit_ray.tables.vocabulary import SCORE_TASKS, Task


class Backbone(ResNet):  # type: ignore[misc]  # torchvision has no types
    """A ResNet up to its last residual stage, without pooling and classifier.

    Args:
        block: torchvision's BasicBlock or Bottleneck.
        depths: number of residual blocks in each of the four stages.
        width: multiplier of the channels of the stages; the first convolution keeps its 64.

    Attributes:
        stages: channels of the four stages. The last stage's output has 1/32 of the frame's side.
    """

    def __init__(self, block: type[nn.Module], depths: list[int], width: float = 1.0) -> None:
        self._width = width  # set before torchvision's constructor, which builds the stages
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
    """Builds 18 layers: two blocks of two 3x3 convolutions per stage, 512 channels at width 1."""
    return Backbone(BasicBlock, [2, 2, 2, 2], width)


def resnet50_backbone(width: float = 1.0) -> Backbone:
    """Builds 50 layers: 3, 4, 6 and 3 bottlenecks, 2048 channels at width 1."""
    return Backbone(Bottleneck, [3, 4, 6, 3], width)


class Classifier(Branches):
    """A backbone, global average pooling, and one branch per task.

    Args:
        backbone: maps (B, 3, H, W) to (B, channels, h, w); its entries have torchvision's names.
        channels: channels of the backbone's output and of the embedding.
        tasks: health, covid or both.
        width: multiplier of the branches.
        last: path of the part of the backbone that computes the last feature map; empty: the whole backbone.
    """

    def __init__(self, backbone: nn.Module, channels: int, tasks: Iterable[Task], width: float, last: str = "") -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.backbone = backbone
        self._last = last
        self.health = Branch(channels, width) if Task.HEALTH in self.tasks else None
        self.covid = Branch(channels, width) if Task.COVID in self.tasks else None

    @property
    def gradcam_layer(self) -> nn.Module:
        """The layer for Grad-CAM: the last feature map, (B, channels, H/32, W/32); H/16, W/16 for VGG19."""
        return self.backbone.get_submodule(self._last)

    def classify(self, x_B3HW: Tensor) -> ModelOutput:
        """Does the same as `forward`, because there are no decoders."""
        output: ModelOutput = self(x_B3HW)
        return output

    def forward(self, x_B3HW: Tensor) -> ModelOutput:
        """Returns the logits of `x_B3HW`, a normalised batch with sides of at least 32 pixels."""
        embedding = self.backbone(x_B3HW).mean(dim=(2, 3))
        health, covid = self.branch_logits(embedding)
        return ModelOutput(
            lung=None,
            disease=None,
            health=health,
            covid=covid,
            embedding=embedding,
        )


def densenet121(tasks: Iterable[Task] = SCORE_TASKS, width: float = 1.0) -> Classifier:
    """Builds DenseNet-121 (Huang et al., arXiv:1608.06993); `width` scales growth rate (32), first convolution (64)."""
    growth, first = scaled(32, width), scaled(64, width)
    network = torchvision.models.DenseNet(growth, (6, 12, 24, 16), first)
    network.features.add_module("relu5", nn.ReLU(inplace=True))  # torchvision applies it in `forward`
    return Classifier(network.features, network.classifier.in_features, tasks, width)


def mobilenet_v2(tasks: Iterable[Task] = SCORE_TASKS, width: float = 1.0) -> Classifier:
    """Builds MobileNetV2 (Sandler et al., arXiv:1801.04381); `width` is its multiplier; below 1 the last 1280 stay."""
    network = torchvision.models.MobileNetV2(width_mult=width)
    return Classifier(network.features, network.last_channel, tasks, width)


def resnet18(tasks: Iterable[Task] = SCORE_TASKS, width: float = 1.0) -> Classifier:
    """Builds ResNet-18 (He et al., arXiv:1512.03385); `width` scales the four stages."""
    backbone = resnet18_backbone(width)
    return Classifier(backbone, backbone.stages[-1], tasks, width)


def vgg19(tasks: Iterable[Task] = SCORE_TASKS, width: float = 1.0) -> Classifier:
    """Builds VGG19 (Simonyan and Zisserman, arXiv:1409.1556, configuration E): convolutions, no batch normalisation."""
    channels = [scaled(size, width) if isinstance(size, int) else size for size in cfgs["E"]]
    backbone = make_layers(channels).apply(he_initialise)
    before_pooling = str(len(backbone) - 2)  # as in COMiT-Net
    return Classifier(backbone, scaled(512, width), tasks, width, last=before_pooling)
