"""ImageNet weights for the encoder: torchvision's `vgg16_bn`, every layer of its `features`."""

import io
import re
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from comit_ray import storage
from comit_ray.errors import CheckpointError, ConfigError, StorageError
from comit_ray.models.comit import COMiTNet
from comit_ray.train_config import ModelConfig

IMAGENET_FILE = "vgg16_bn-6c64b313.pth"
"""torchvision's `VGG16_BN_Weights.IMAGENET1K_V1`; the part after the dash begins the file's SHA-256."""
IMAGENET_URL = f"https://download.pytorch.org/models/{IMAGENET_FILE}"

OPTIONAL = "num_batches_tracked"  # a counter that files older than torch 0.4.1 lack; nothing here reads it


def load_pretrained(model: torch.nn.Module, config: ModelConfig) -> None:
    """Give the model's encoder the weights that `config.weights` names: imagenet, none, or a state dict's URI.

    Raises:
        ConfigError: if the model or its width has no such weights.
        CheckpointError: if they cannot be had, or are not vgg16_bn's.
    """
    if config.weights == "none":
        return
    if not isinstance(model, COMiTNet):
        raise ConfigError(f"model.weights: {config.name} takes none, got {config.weights}")
    if config.width != 1:
        raise ConfigError(
            f"model.weights: {config.weights} needs the full width 1.0, got model.width {config.width:g}: "
            "set model.weights to none"
        )
    weights, origin = _read(config.weights)
    load_features(model.encoder, weights, origin)


def load_features(encoder: torch.nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Copy all of `features` (convolutions, batch norm weights and running statistics) into a full-width encoder.

    Args:
        encoder: `comit_ray.models.vgg.Encoder` of width 1.
        weights: a `vgg16_bn` state dict; its `classifier.*` is passed over.
        origin: names the weights in errors.

    Raises:
        CheckpointError: naming missing, unknown or misshapen entries.
    """
    names = feature_names(encoder)
    given = {key: value for key, value in weights.items() if not key.startswith("classifier.")}
    missing = sorted(name for name in names if name not in given and not name.endswith(OPTIONAL))
    unknown = sorted(set(given) - set(names))
    if missing or unknown:
        raise CheckpointError(
            f"{origin} is not a vgg16_bn state dict: "
            f"{len(missing)} entries missing {missing[:3]}, {len(unknown)} unknown {unknown[:3]}"
        )
    target = encoder.state_dict()
    for name, ours in names.items():
        if name in given:
            if given[name].shape != target[ours].shape:
                raise CheckpointError(
                    f"{origin}: {name} has shape {tuple(given[name].shape)}, expected {tuple(target[ours].shape)}"
                )
            target[ours] = given[name]
    encoder.load_state_dict(target)


def feature_names(encoder: torch.nn.Module) -> dict[str, str]:
    """The name in torchvision of each of the encoder's entries: `features.0.weight` -> `blocks.0.0.0.weight`.

    In `features` a layer takes three places (convolution, batch norm, ReLU) and a pooling one.
    """
    names: dict[str, str] = {}
    for ours in encoder.state_dict():
        match = re.fullmatch(r"blocks\.(\d)\.(\d)\.(\d)\.(\w+)", ours)
        assert match, f"{ours} is no layer of the encoder"
        block, layer, part = map(int, match.groups()[:3])
        layers_before = sum(len(encoder.get_submodule(f"blocks.{b}")._modules) for b in range(block)) + layer
        names[f"features.{3 * layers_before + block + part}.{match[4]}"] = ours
    return names


def _read(source: str) -> tuple[dict[str, Tensor], str]:
    if source == "imagenet":
        path = Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_FILE
        if not path.is_file():
            _download(path)
        source = str(path)
    return read_state_dict(source), source


def _download(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(IMAGENET_URL, str(path), hash_prefix="6c64b313", progress=False)
    except (OSError, RuntimeError) as error:  # URLError and HTTPError are OSErrors; a wrong hash is a RuntimeError
        raise CheckpointError(
            f"cannot download the ImageNet weights {IMAGENET_URL} ({error}): put {IMAGENET_FILE} at {path}, "
            "or set model.weights to its URI, or to none"
        ) from error


def read_state_dict(uri: str) -> dict[str, Tensor]:
    """A state dict of tensors from `.safetensors`, or from a `.pth` read without executing code.

    Raises:
        CheckpointError: if it is absent, truncated or something else.
    """
    try:
        data = storage.read_bytes(uri)
        if uri.endswith(".safetensors"):
            return dict(safetensors.torch.load(data))
        weights = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except StorageError as error:
        raise CheckpointError(f"weights: {error}") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{uri} is not a whole safetensors file: {error}") from error
    except Exception as error:  # torch.load raises whatever the broken file makes it stumble on
        raise CheckpointError(f"{uri} is not a whole file of plain tensors: {type(error).__name__}") from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f"{uri} holds no state dict of tensors")
    return weights
