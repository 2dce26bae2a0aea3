"""Segmentation networks of the comparison (section 4.1): U-Net and SegNet.

The paper trains one network per mask. Networks with both tasks share everything except the last convolution.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from comit_ray.models.layers import check_sides, conv_layer, he_initialise, scaled
from comit_ray.models.outputs import ModelOutput
from comit_ray.models.vgg import Decoder, Encoder
from comit_ray.tables.vocabulary import MASK_TASKS, Task

UNET_CHANNELS = (64, 128, 256, 512, 1024)
"""Channels of U-Net's five resolutions, from the frame's to a 16th of it."""


class UNet(nn.Module):
    """U-Net, Ronneberger et al., arXiv:1505.04597 (figure 1), with two changes.

    Its convolutions are padded, so that masks have the frame's size; the original's masks are smaller than its images
    and need mirrored tiles. Batch normalisation follows each convolution, unlike in the original (2015): it lets a
    network with random weights learn in 25 epochs at the paper's learning rate. There is no dropout. The paper
    specifies neither.

    Args:
        tasks: lung, disease or both.
        width: multiplies every channel number; 1.0 is the published network's, 31 million parameters.
    """

    def __init__(self, tasks: Iterable[Task] = MASK_TASKS, width: float = 1.0) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        channels = [scaled(size, width) for size in UNET_CHANNELS]
        self.down, self.up, self.join = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        inputs = 3
        for outputs in channels:
            self.down.append(_two_layers(inputs, outputs))
            inputs = outputs
        for outputs in reversed(channels[:-1]):
            self.up.append(nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2))
            self.join.append(_two_layers(2 * outputs, outputs))
            inputs = outputs
        self.pool = nn.MaxPool2d(2)
        self.classify = nn.Conv2d(inputs, 2 * len(self.tasks), kernel_size=1)
        self.apply(he_initialise)

    def forward(self, x_B3HW: Tensor) -> ModelOutput:
        """Returns the logits of `x_B3HW`, a normalised batch.

        Raises:
            ConfigError: a side is not a multiple of 16.
        """
        check_sides(x_B3HW, 2 ** (len(self.down) - 1))
        features, skipped = x_B3HW, []
        for i, block in enumerate(self.down):
            features = block(self.pool(features) if i else features)
            skipped.append(features)
        embedding = features.mean(dim=(2, 3))
        for up, join, skip in zip(self.up, self.join, reversed(skipped[:-1]), strict=True):
            features = join(torch.cat([skip, up(features)], dim=1))
        return _segmented(self.classify(features), self.tasks, embedding)


class SegNet(nn.Module):
    """SegNet, Badrinarayanan et al., arXiv:1511.00561: the encoder and decoder of COMiT-Net, without its branches.

    Args:
        tasks: lung, disease or both; both share the decoder.
        width: multiplies every channel number.
    """

    def __init__(self, tasks: Iterable[Task] = MASK_TASKS, width: float = 1.0) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.encoder = Encoder(width)
        self.decoder = Decoder(width, classes=2 * len(self.tasks))
        self.apply(he_initialise)

    def forward(self, x_B3HW: Tensor) -> ModelOutput:
        """Returns the logits of `x_B3HW`, a normalised batch.

        Raises:
            ConfigError: a side is not a multiple of 32.
        """
        features, indices = self.encoder(x_B3HW)
        return _segmented(self.decoder(features, indices), self.tasks, features.mean(dim=(2, 3)))


def _two_layers(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv_layer(inputs, outputs), conv_layer(outputs, outputs))


def _segmented(logits: Tensor, tasks: tuple[Task, ...], embedding: Tensor) -> ModelOutput:
    """Returns a model's output from two channels per task, in the order of `tasks`."""
    by_task = dict(zip(tasks, logits.chunk(len(tasks), dim=1), strict=True))
    return ModelOutput(by_task.get(Task.LUNG), by_task.get(Task.DISEASE), None, None, embedding)
