"""OpenVINO's form of a network: unpooling without indices, int8 ranges, and what cannot be had."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from comit_ray.checkpoint import checkpoint
from comit_ray.errors import ConfigError
from comit_ray.inference.model import load_model
from comit_ray.inference.openvino_export import PoolToPlaces, UnpoolToPlaces, convert
from tests.support import with_openvino, write_checkpoint

SIZE = 64


@pytest.mark.parametrize(
    "x_BCHW",
    [
        torch.randn(2, 5, 16, 24, generator=torch.Generator().manual_seed(0)),
        torch.randint(0, 3, (2, 5, 16, 24), generator=torch.Generator().manual_seed(1)).float(),
        torch.randn(2, 5, 16, 24, generator=torch.Generator().manual_seed(2)).relu(),
        torch.zeros(1, 3, 8, 8),
    ],
    ids=["values", "ties", "ties at zero", "all equal"],
)
def test_unpooling_by_places_is_unpooling_by_indices_to_the_last_bit(x_BCHW: torch.Tensor) -> None:
    """Ties included: the first of equal values is the maximum."""
    largest, index = nn.MaxPool2d(2, 2, return_indices=True)(x_BCHW)
    found, places = PoolToPlaces()(x_BCHW)
    assert torch.equal(found, largest)
    values = torch.randn(largest.shape, generator=torch.Generator().manual_seed(3))
    assert torch.equal(UnpoolToPlaces()(values, places), nn.MaxUnpool2d(2, 2)(values, index))


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A COMiT-Net with OpenVINO models in both precisions."""
    made = write_checkpoint(tmp_path_factory.mktemp("openvino") / "checkpoint", seed=1)
    return with_openvino(with_openvino(made), "int8")


def frames(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE), np.uint8)


def test_in_float32_it_says_what_pytorch_says(uri: str) -> None:
    with load_model(uri) as torch_model, load_model(uri, "openvino") as model:
        expected, found = torch_model.predict(frames()), model.predict(frames())
    for name, values in expected.probabilities.items():
        np.testing.assert_allclose(found.probabilities[name], values, atol=1e-6)
        np.testing.assert_allclose(found.log_odds[name], expected.log_odds[name], atol=1e-4)
    np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-5 * np.abs(expected.embedding).max())
    for task in expected.masks:
        assert np.unpackbits(found.masks[task] ^ expected.masks[task]).mean() < 1e-4


def test_scores_within_unhealthy_are_pytorchs_too(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "c", tasks=["health", "covid"], within_unhealthy=True)
    with load_model(made) as torch_model, load_model(with_openvino(made), "openvino") as model:
        expected, found = torch_model.predict(frames()), model.predict(frames())
    for name, values in expected.probabilities.items():
        np.testing.assert_allclose(found.probabilities[name], values, atol=1e-6)
    assert (found.probabilities["covid"] < found.probabilities["unhealthy"]).all()


def test_int8_is_another_model_with_other_scores(uri: str) -> None:
    with load_model(uri, "openvino") as exact, load_model(uri, "openvino", precision="int8") as model:
        found, expected = model.predict(frames()), exact.predict(frames())
        assert len({model.model_id, exact.model_id, checkpoint.load(uri).model_id}) == 3
        assert model.model_id.startswith(f"{checkpoint.load(uri).model_id}-openvino-int8-")
    assert found.finite.all()
    assert not np.array_equal(found.embedding, expected.embedding)
    assert set(found.masks) == set(expected.masks)


def test_an_image_has_the_same_numbers_whatever_is_beside_it(uri: str) -> None:
    """To the last bit, also in int8: a pass always has the same size."""
    for precision in ("float32", "int8"):
        with load_model(uri, "openvino", precision=precision) as model:
            whole, alone = model.predict(frames(11)), model.predict(frames(11)[9:10])
        np.testing.assert_array_equal(alone.embedding[0], whole.embedding[9])
        for name, values in whole.probabilities.items():
            assert alone.probabilities[name][0] == values[9]
        for task, bits in whole.masks.items():
            np.testing.assert_array_equal(alone.masks[task][0], bits[9])


def test_a_screen_through_openvino_imports_no_pytorch(uri: str) -> None:
    script = f"""
import sys
from comit_ray.screening import run_screen, screen_pipeline
from comit_ray.inference import optimised
from comit_ray.inference.model import load_model
import numpy as np
facts = optimised.facts({uri!r}, "openvino", "int8")
with load_model({uri!r}, "openvino", precision="int8") as model:
    assert model.predict(np.zeros((1, {SIZE}, {SIZE}), np.uint8)).finite.all()
    assert model.model_id == facts.model_id
assert "torch" not in sys.modules, "torch is imported"
assert sys.modules["openvino_telemetry"] is None, "its makers are told"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_mask_rcnn_is_refused_by_name(tmp_path: Path) -> None:
    loaded = checkpoint.load(write_checkpoint(tmp_path / "c", name="mask_rcnn", tasks=["lung"]))
    with pytest.raises(ConfigError, match=r"mask_rcnn cannot be optimised .*screen with --backend torch"):
        convert(loaded)


def test_a_network_that_is_cropped_to_the_lungs_is_refused(tmp_path: Path) -> None:
    crop = {"checkpoint": "s3://bucket/lungs", "name": "comit_net", "width": 0.0625}
    loaded = checkpoint.load(write_checkpoint(tmp_path / "c", crop=crop))
    with pytest.raises(ConfigError, match=r"cropped to the lungs cannot be optimised: screen with --backend torch"):
        convert(loaded)
