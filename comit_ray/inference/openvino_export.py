"""Converts a checkpoint's network to OpenVINO, in float32 or with int8 ranges; only `comit-ray optimise` imports this.

OpenVINO has no unpooling by indices, so both sides of a pooling are written without them. The encoder's pooling gives
the place of each maximum as a mask of the size of its input, 1 at the first of equal values, as in `MaxPool2d`;
unpooling repeats each value 2 x 2 and multiplies by the mask. The result equals `MaxUnpool2d`'s, bit for bit.

In int8, places are taken from values that are not quantised: among 256 levels many values are equal, and masks tear.
"""

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from comit_ray.checkpoint.checkpoint import Checkpoint
from comit_ray.errors import ConfigError
from comit_ray.inference import optimised
from comit_ray.inference.openvino_outputs import library, output_names
from comit_ray.models.outputs import ModelOutput, normalise
from comit_ray.tables.vocabulary import Task

REFUSED = {"mask_rcnn": "its detections are of another number in every image"}
"""Networks that cannot be converted, and why."""
PLACES = "Equal"
"""OpenVINO's operation that finds the place of a maximum; its inputs must not be quantised."""


class PoolToPlaces(nn.Module):
    """2 x 2 max pooling that returns the places of the maxima as a mask instead of indices."""

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Returns maxima, (B, C, H/2, W/2), and a mask (B, C, H, W), 1 at the first maximum of each 2 x 2 window."""
        height, width = x_BCHW.shape[-2:]
        largest = functional.max_pool2d(x_BCHW, 2)
        rank_HW = torch.tensor([[4.0, 3.0], [2.0, 1.0]], device=x_BCHW.device).repeat(height // 2, width // 2)
        rank_BCHW = (x_BCHW == doubled(largest)).float() * rank_HW
        return largest, (rank_BCHW == doubled(functional.max_pool2d(rank_BCHW, 2))).float()


class UnpoolToPlaces(nn.Module):
    """The inverse of `PoolToPlaces`: puts values at the places of the maxima, and 0 elsewhere."""

    def forward(self, x_BChw: Tensor, places_BCHW: Tensor) -> Tensor:
        """Returns (B, C, 2 h, 2 w) values."""
        return doubled(x_BChw) * places_BCHW


def doubled(x_BChw: Tensor) -> Tensor:
    """Returns each value repeated 2 x 2."""
    return functional.interpolate(x_BChw, scale_factor=2.0, mode="nearest")


def without_indices(network: nn.Module) -> nn.Module:
    """Replaces the network's poolings by indices, in place, and returns the network."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.MaxPool2d) and child.return_indices:
                setattr(parent, name, PoolToPlaces())
            elif isinstance(child, nn.MaxUnpool2d):
                setattr(parent, name, UnpoolToPlaces())
    return network


class _Outputs(nn.Module):
    """A module from uint8 frames to the outputs that `comit_ray.inference.openvino_outputs` names."""

    def __init__(self, network: nn.Module, tasks: tuple[Task, ...]) -> None:
        super().__init__()
        self.network, self.tasks = network, tasks

    def forward(self, frames_BHW: Tensor) -> tuple[Tensor, ...]:
        """Returns the outputs in the order of `comit_ray.inference.openvino_outputs.output_names`."""
        output: ModelOutput = self.network(normalise(frames_BHW))
        found = [output.embedding]
        found += [logits for logits in (output.covid, output.health) if logits is not None]
        for logits_B2HW in (output.lung, output.disease):
            if logits_B2HW is not None:
                odds_BHW = logits_B2HW[:, 1] - logits_B2HW[:, 0]
                found += [(odds_BHW >= 0).to(torch.uint8), odds_BHW.sum(dim=(1, 2))]
        return tuple(found)


def convert(loaded: Checkpoint) -> Any:
    """Converts the network to OpenVINO in float32; the checkpoint's module is changed and must not be used again.

    Raises:
        ConfigError: the network cannot be converted, or OpenVINO is not installed.
    """
    name = loaded.config.model.name
    if name in REFUSED:
        raise ConfigError(f"{name} cannot be optimised ({REFUSED[name]}): screen with --backend torch")
    if loaded.config.model.crop.checkpoint is not None:
        raise ConfigError("a network that is cropped to the lungs cannot be optimised: screen with --backend torch")
    openvino = library()
    tasks = tuple(Task(task) for task in loaded.config.model.tasks)
    size = loaded.config.frame.size
    network = _Outputs(without_indices(loaded.model.eval()), tasks)
    example_BHW = torch.zeros(2, size, size, dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns that every size is now fixed, as it should be
        found = openvino.convert_model(
            network, example_input=example_BHW, input=[openvino.PartialShape([-1, size, size])]
        )
    assert len(found.outputs) == len(output_names(tasks))
    return found


def quantised(network: Any, frames: Iterator[npt.NDArray[np.uint8]], images: int) -> Any:
    """Returns the network with 8-bit ranges of activations and weights, which NNCF measures on `frames`.

    Args:
        network: network from `convert`.
        frames: (1, size, size) training frames.
        images: number of frames.

    Raises:
        ConfigError: NNCF is not installed.
    """
    try:
        import nncf
    except ImportError as error:
        raise ConfigError(f"--precisions int8 needs NNCF ({error}): pip install 'comit-ray[cpu]'") from error
    nncf.set_log_level(40)
    scope = nncf.IgnoredScope(types=[PLACES, "Interpolate", "Multiply", "Subtract"], validate=False)
    found = nncf.quantize(
        network,
        nncf.Dataset(list(frames)),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=images,
        ignored_scope=scope,
    )
    _compare_exact_values(found)
    return found


def _compare_exact_values(network: Any) -> None:
    """Takes the places of maxima from values before they are quantised, on both sides of the comparison.

    NNCF quantises between an activation and its pooling, or before the repeating. Compared with the activation itself,
    hardly any value would then be equal; and among values of 256 levels too many would be.
    """
    operations = library().opset13
    for node in network.get_ops():
        if node.get_type_name() != PLACES:
            continue
        exact = node.input_value(0)
        while exact.get_node().get_type_name() == "FakeQuantize":
            exact = exact.get_node().input_value(0)
        largest = operations.max_pool(exact, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
        repeated = operations.interpolate(
            largest,
            operations.constant(np.array([2, 2], np.float32)),
            mode="nearest",
            shape_calculation_mode="scales",
            axes=operations.constant(np.array([2, 3], np.int64)),
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        node.input(0).replace_source_output(exact)
        node.input(1).replace_source_output(repeated.output(0))
    network.validate_nodes_and_infer_types()


def files(network: Any) -> Mapping[str, bytes]:
    """Returns the two files of OpenVINO's form. Weights stay in float32 where they are not int8."""
    openvino = library()
    with tempfile.TemporaryDirectory() as directory:
        xml = Path(directory, optimised.XML)
        openvino.save_model(network, str(xml), compress_to_fp16=False)
        return {name: Path(directory, name).read_bytes() for name in (optimised.XML, optimised.BIN)}
