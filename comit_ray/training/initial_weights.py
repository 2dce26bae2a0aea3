"""Makes the weights with which a training starts: random ones, ImageNet's, and those of the lung network of a crop.

They are made once, by the driver, so that no worker needs the internet or a cache.
"""

import safetensors.torch
import torch
from torch import nn

from comit_ray.checkpoint.checkpoint_facts import read_config, read_facts
from comit_ray.config.train_config import LungCropConfig, TrainConfig
from comit_ray.errors import ConfigError
from comit_ray.models.lung_crop import LungCrop
from comit_ray.models.registry import build_model
from comit_ray.models.weights import load_pretrained
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import Task


def make(config: TrainConfig) -> dict[str, torch.Tensor]:
    """Returns the weights from which every worker starts.

    Args:
        config: options of the training, with the kind of its lung network if it has one (`with_lung_network`).

    Raises:
        ConfigError: there are no such weights for this network.
        CheckpointError: weights cannot be fetched, or belong to another network.
    """
    torch.manual_seed(config.train.seed)
    model = build_model(config.model)
    load_pretrained(model, config.model)
    if isinstance(model, LungCrop):
        load_lungs(model.lungs, config.model.crop)
    return model.state_dict()


def with_lung_network(config: TrainConfig) -> TrainConfig:
    """Returns the options of a training with the name and the width of its lung network; the same without one.

    Raises:
        CheckpointError: there is no checkpoint, or its configuration cannot be read.
        ConfigError: its network finds no lungs, is cropped itself, or was trained with another frame.
    """
    crop = config.model.crop
    if crop.checkpoint is None:
        return config
    uri = storage.normalise(crop.checkpoint)
    found = read_config(uri)
    if Task.LUNG not in found.model.tasks or found.model.name == "mask_rcnn":
        raise ConfigError(
            f"model.crop.checkpoint: expected a network with the head lung, such as comit_net, got {found.model.name} "
            f"with {', '.join(found.model.tasks)} at {uri}"
        )
    if found.model.crop.checkpoint is not None:
        raise ConfigError(
            f"model.crop.checkpoint: expected a network that sees whole radiographs, but that at {uri} is cropped to "
            f"the lungs itself; the checkpoint that finds them there is {found.model.crop.checkpoint}"
        )
    if found.frame != config.frame:
        raise ConfigError(
            f"model.crop.checkpoint: expected a network trained with this frame ({config.frame!r}), got "
            f"{found.frame!r} at {uri}"
        )
    filled = crop.model_copy(update={"checkpoint": uri, "name": found.model.name, "width": found.model.width})
    return config.model_copy(update={"model": config.model.model_copy(update={"crop": filled})})


def load_lungs(network: nn.Module, crop: LungCropConfig) -> None:
    """Fills a network that finds lungs with the weights of the checkpoint; other heads of the checkpoint are left out.

    Raises:
        CheckpointError: the checkpoint is missing, incomplete, or belongs to other weights.
    """
    assert crop.checkpoint is not None, "only a cropped network has a lung network"
    _, data = read_facts(crop.checkpoint)
    weights = safetensors.torch.load(data)
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
