"""Loads torchvision's ImageNet weights into the networks, without their classifier."""

import io
import re
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from comit_ray.config.train_config import ModelConfig
from comit_ray.errors import CheckpointError, ConfigError, StorageError
from comit_ray.models.lung_crop import LungCrop
from comit_ray.models.registry import ImageNetFile, entry_of
from comit_ray.models.vgg import Encoder
from comit_ray.storage import storage

OPTIONAL = "num_batches_tracked"  # a counter that files older than torch 0.4.1 lack; nothing here reads it
OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..*)")
"""`norm.1.weight` of the published DenseNet files is today's `norm1.weight`; torchvision renames it as well."""


def load_pretrained(model: nn.Module, config: ModelConfig) -> None:
    """Loads the weights that `config.weights` names: imagenet, none, or the URI of a state dict (local or s3://).

    They fill the encoder or backbone; all other parts keep their random weights.

    Args:
        model: the result of `comit_ray.models.registry.build_model(config)`.
        config: options of the model.

    Raises:
        ConfigError: there are no such weights for this model or width.
        CheckpointError: the weights cannot be fetched, or belong to another network.
    """
    if config.weights == "none":
        return
    file = entry_of(config).file
    if file is None:
        raise ConfigError(
            f"model.weights: there are no weights for {config.name} to start from, got {config.weights}: "
            "set model.weights to none"
        )
    if config.width != 1:
        raise ConfigError(
            f"model.weights: {config.weights} needs the full width 1.0, got model.width {config.width:g}: "
            "set model.weights to none"
        )
    origin = str(_imagenet(file)) if config.weights == "imagenet" else config.weights
    network = model.network if isinstance(model, LungCrop) else model
    fill(network.get_submodule(file.part), file, read_state_dict(origin), origin)


def fill(part: nn.Module, file: ImageNetFile, weights: dict[str, Tensor], origin: str) -> None:
    """Copies all convolutions, batch norm weights and running statistics into a full-width encoder or backbone.

    Args:
        part: the submodule `file.part` of a network.
        file: the expected file.
        weights: torchvision's state dict of the whole network, or without its classifier.
        origin: the source of the weights, for errors.

    Raises:
        CheckpointError: entries are missing, unknown or of another shape; the message names them.
    """
    names = torchvision_names(part, file.prefix)
    given = {
        OLD_DENSENET.sub(r"\1\2", key): value for key, value in weights.items() if not key.startswith(file.classifier)
    }
    missing = sorted(name for name in names if name not in given and not name.endswith(OPTIONAL))
    unknown = sorted(set(given) - set(names))
    if missing or unknown:
        raise CheckpointError(
            f"{origin} is not a {file.network} state dict: "
            f"{len(missing)} entries missing {missing[:3]}, {len(unknown)} unknown {unknown[:3]}"
        )
    target = part.state_dict()
    for name, ours in names.items():
        if name in given:
            if given[name].shape != target[ours].shape:
                raise CheckpointError(
                    f"{origin} is not a {file.network} state dict: {name} has shape {tuple(given[name].shape)}, "
                    f"expected {tuple(target[ours].shape)}"
                )
            target[ours] = given[name]
    part.load_state_dict(target)


def torchvision_names(part: nn.Module, prefix: str) -> dict[str, str]:
    """Returns for each entry of `part` its name in torchvision's file and our name.

    They differ by `prefix`, except in the VGG encoder (`features.0.weight` -> `blocks.0.0.0.weight`): in `features` a
    layer takes three places (convolution, batch norm, ReLU) and a pooling takes one.
    """
    if not isinstance(part, Encoder):
        return {prefix + name: name for name in part.state_dict()}
    names: dict[str, str] = {}
    for ours in part.state_dict():
        match = re.fullmatch(r"blocks\.(\d)\.(\d)\.(\d)\.(\w+)", ours)
        assert match, f"{ours} is no layer of the encoder"
        block, layer, place = map(int, match.groups()[:3])
        layers_before = sum(len(part.get_submodule(f"blocks.{b}")._modules) for b in range(block)) + layer
        names[f"{prefix}{3 * layers_before + block + place}.{match[4]}"] = ours
    return names


def _imagenet(file: ImageNetFile) -> Path:
    """Returns the file in torch.hub's directory, downloaded if it is not there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / file.name
    if not path.is_file():
        sha256 = path.stem.rpartition("-")[2]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(file.url, str(path), hash_prefix=sha256, progress=False)
        except (OSError, RuntimeError) as error:  # URLError and HTTPError are OSErrors; a wrong hash is a RuntimeError
            raise CheckpointError(
                f"cannot download the ImageNet weights {file.url} ({error}): put {file.name} at {path}, "
                "or set model.weights to its URI, or to none"
            ) from error
    return path


def read_state_dict(uri: str) -> dict[str, Tensor]:
    """Reads a state dict of tensors from `.safetensors`, or from a `.pth` without running code from it.

    Raises:
        CheckpointError: the file is absent, truncated or something else.
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
    except Exception as error:  # torch.load raises various errors for a broken file
        raise CheckpointError(f"{uri} is not a whole file of plain tensors: {type(error).__name__}") from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f"{uri} holds no state dict of tensors")
    return weights
