"""The fused PyTorch network gives the plain one's scores, but for rounding, and says in its id that it is another."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from comit_ray.inference import optimised
from comit_ray.inference.model import load_model
from comit_ray.inference.torch_model import TorchModel, fuse_batch_norms
from tests.support import write_checkpoint


def test_a_batch_norm_is_folded_into_the_convolution_right_before_it_and_no_other() -> None:
    norm = nn.BatchNorm2d(3)
    norm.load_state_dict(norm.state_dict() | {"running_mean": torch.rand(3) - 0.5, "running_var": torch.rand(3) + 0.5})
    block = nn.Sequential(nn.Conv2d(2, 3, 3), norm, nn.ReLU(), nn.BatchNorm2d(3)).eval()
    x_BCHW = torch.rand(2, 2, 8, 8)
    with torch.inference_mode():
        expected = block(x_BCHW)
        found = fuse_batch_norms(block)(x_BCHW)
    assert [type(layer) for layer in block] == [nn.Conv2d, nn.Identity, nn.ReLU, nn.BatchNorm2d]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_scores_differ_from_the_plain_networks_by_rounding_alone_and_the_id_says_so(tmp_path: Path) -> None:
    uri = write_checkpoint(tmp_path / "checkpoint")
    frames_BHW = np.random.default_rng(0).integers(0, 256, (6, 64, 64), np.uint8)
    with load_model(uri) as plain, load_model(uri, "torch-fused") as fused:
        expected, found = plain.predict(frames_BHW), fused.predict(frames_BHW)
        assert isinstance(fused, TorchModel)
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.network.modules())
        assert fused.model_id == f"{plain.model_id}-torch-fused"
        assert optimised.facts(uri, "torch-fused", "float32").model_id == fused.model_id
    for name, values in found.probabilities.items():
        np.testing.assert_allclose(values, expected.probabilities[name], atol=1e-5)
        assert not np.array_equal(values, np.zeros_like(values))
