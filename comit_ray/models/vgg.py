"""VGG16 with batch normalisation as an encoder that keeps pooling indices, and the decoder that mirrors it.

Encoder: Simonyan and Zisserman, arXiv:1409.1556, configuration D, convolutions only. Decoder: SegNet, Badrinarayanan et
al., arXiv:1511.00561. `torchvision.models.vgg16_bn().features` has the encoder's layers in the same order.
"""

from torch import Tensor, nn

from comit_ray.models.layers import check_sides, conv_layer, scaled

BLOCKS: tuple[tuple[int, int], ...] = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of convolutions of each block (section 2.1: 2, 2, 3, 3, 3)."""
STRIDE = 2 ** len(BLOCKS)
"""Factor by which the poolings divide both sides of the frame: 32."""


def block_channels(width: float) -> list[int]:
    """Returns the output channels of the five blocks at `width`; at 1.0: 64, 128, 256, 512, 512."""
    return [scaled(channels, width) for channels, _ in BLOCKS]


class Encoder(nn.Module):
    """Five blocks of 2, 2, 3, 3 and 3 layers. A 2x2 max pooling follows each, and its indices are kept."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels = block_channels(width)
        self.blocks = nn.ModuleList()
        inputs = 3
        for outputs, (_, depth) in zip(channels, BLOCKS, strict=True):
            self.blocks.append(
                nn.Sequential(*[conv_layer(inputs if i == 0 else outputs, outputs) for i in range(depth)])
            )
            inputs = outputs
        self.pool = nn.MaxPool2d(kernel_size=2, stride=2, return_indices=True)
        self.channels = inputs

    def forward(self, x_B3HW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Returns the features, (B, 512 x width, H/32, W/32), and the indices of the five poolings from first to last.

        Raises:
            ConfigError: a side is not a multiple of 32, so that unpooling could not restore it.
        """
        check_sides(x_B3HW, STRIDE)
        features, indices = x_B3HW, []
        for block in self.blocks:
            features, index = self.pool(block(features))
            indices.append(index)
        return features, indices


class Decoder(nn.Module):
    """The mirrored encoder: five times unpooling by the indices, then 3, 3, 3, 2 and 2 convolutions, 13 in all.

    The last convolution mirrors the encoder's first (3 -> 64 channels): it computes the two logits, without
    normalisation.
    """

    def __init__(self, width: float = 1.0, classes: int = 2) -> None:
        super().__init__()
        channels = block_channels(width)
        self.unpool = nn.MaxUnpool2d(kernel_size=2, stride=2)
        self.blocks = nn.ModuleList()
        for i in reversed(range(len(BLOCKS))):
            depth = BLOCKS[i][1]
            layers = [conv_layer(channels[i], channels[i]) for _ in range(depth - 1)]
            if i > 0:
                layers.append(conv_layer(channels[i], channels[i - 1]))
            self.blocks.append(nn.Sequential(*layers))
        self.classify = nn.Conv2d(channels[0], classes, kernel_size=3, padding=1)

    def forward(self, features: Tensor, indices: list[Tensor]) -> Tensor:
        """Returns (B, 2, H, W) logits from the encoder's features and pooling indices."""
        for block, index in zip(self.blocks, reversed(indices), strict=True):
            features = block(self.unpool(features, index))
        logits: Tensor = self.classify(features)
        return logits
