import torch

from comit_ray.models.outputs import IMAGENET_MEAN, IMAGENET_STD, normalise


def test_normalise_gives_three_channels_with_imagenet_statistics() -> None:
    frames = torch.tensor([[[0, 255], [51, 102]]], dtype=torch.uint8)
    x = normalise(frames)
    assert x.shape == (1, 3, 2, 2)
    assert x.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)):
        expected = (torch.tensor([[0, 1], [0.2, 0.4]]) - mean) / std
        torch.testing.assert_close(x[0, channel], expected)
    assert normalise(frames, torch.bfloat16).dtype == torch.bfloat16
