"""Finds networks by name: COMiT-Net and the networks that the paper compares it with."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module

from torch import nn

from comit_ray.config.train_config import ModelConfig
from comit_ray.errors import ConfigError
from comit_ray.models import segmenters
from comit_ray.models.comit_net import COMiTNet
from comit_ray.models.layers import Branches
from comit_ray.models.lung_crop import LungCrop
from comit_ray.tables.vocabulary import ALL_TASKS, MASK_TASKS, SCORE_TASKS, Task


@dataclass(frozen=True)
class ImageNetFile:
    """torchvision's weight file that a network starts from.

    Attributes:
        network: torchvision's name of the network.
        part: path of our submodule that the file fills.
        prefix: prefix of the file's entries; the rest of the name is ours (except for the VGG encoder).
        classifier: prefix of the ImageNet classifier's entries, which are not loaded.
    """

    network: str
    part: str
    prefix: str
    classifier: str

    @cached_property
    def url(self) -> str:
        """URL where torchvision publishes the file; the part after the dash begins its SHA-256.

        Always IMAGENET1K_V1: the files of the paper's time.
        """
        from torchvision.models import get_model_weights  # late: see `_later`

        url: str = get_model_weights(self.network).IMAGENET1K_V1.url
        return url

    @property
    def name(self) -> str:
        """Name of the file in torch.hub's directory."""
        return self.url.rpartition("/")[2]


Build = Callable[[tuple[Task, ...], float], nn.Module]


@dataclass(frozen=True)
class ModelEntry:
    """One network.

    Attributes:
        build: function that builds it from its tasks, in the order of `ALL_TASKS`, and its width. The module returns a
            `ModelOutput` for a normalised (B, 3, H, W) batch. A module with a method `instance_loss` is trained by that
            loss. A module with a health or COVID head has `gradcam_layer`, whose output Grad-CAM reads, and `classify`,
            which returns those heads alone; in others `gradcam_layer` is None or absent.
        tasks: heads that it can have.
        file: its ImageNet weights at width 1; None if there are none.
        one_task: whether it has only one head at a time.
    """

    build: Build
    tasks: tuple[Task, ...]
    file: ImageNetFile | None
    one_task: bool = False


VGG16_BN = ImageNetFile("vgg16_bn", "encoder", "features.", "classifier.")
DENSENET121 = ImageNetFile("densenet121", "backbone", "features.", "classifier.")
MOBILENET_V2 = ImageNetFile("mobilenet_v2", "backbone", "features.", "classifier.")
RESNET18 = ImageNetFile("resnet18", "backbone", "", "fc.")
RESNET50 = ImageNetFile("resnet50", "network.backbone.body", "", "fc.")
VGG19 = ImageNetFile("vgg19", "backbone", "features.", "classifier.")


def _later(module: str, name: str) -> Build:
    """Returns the builder of a network that uses torchvision, which is imported only when it builds.

    torchvision costs each process a second and 150 MB, which a process that predicts with COMiT-Net does not need.
    """

    def build(tasks: tuple[Task, ...], width: float) -> nn.Module:
        network: nn.Module = getattr(import_module(f"comit_ray.models.{module}"), name)(tasks, width)
        return network

    return build


MODELS: dict[str, ModelEntry] = {
    "comit_net": ModelEntry(COMiTNet, ALL_TASKS, VGG16_BN),
    "densenet121": ModelEntry(_later("classifiers", "densenet121"), SCORE_TASKS, DENSENET121),
    "mobilenet_v2": ModelEntry(_later("classifiers", "mobilenet_v2"), SCORE_TASKS, MOBILENET_V2),
    "resnet18": ModelEntry(_later("classifiers", "resnet18"), SCORE_TASKS, RESNET18),
    "vgg19": ModelEntry(_later("classifiers", "vgg19"), SCORE_TASKS, VGG19),
    "unet": ModelEntry(segmenters.UNet, MASK_TASKS, None),
    "segnet": ModelEntry(segmenters.SegNet, MASK_TASKS, VGG16_BN),
    "mask_rcnn": ModelEntry(_later("mask_rcnn", "MaskRCNN"), MASK_TASKS, RESNET50, one_task=True),
}


def entry_of(config: ModelConfig) -> ModelEntry:
    """Returns the registered network that `config` names.

    Raises:
        ConfigError: no network has that name; the message lists those that exist.
    """
    if config.name not in MODELS:
        raise ConfigError(f"model.name: unknown model {config.name!r}; known: {', '.join(sorted(MODELS))}")
    return MODELS[config.name]


def build_model(config: ModelConfig) -> nn.Module:
    """Returns the network of `config` with random weights; `comit_ray.models.weights.load_pretrained` loads others.

    Raises:
        ConfigError: no network has that name, or it cannot have those heads.
    """
    entry = entry_of(config)
    lacking = [task for task in config.tasks if task not in entry.tasks]
    if lacking or (entry.one_task and len(config.tasks) > 1):
        problem = f"has no {' or '.join(lacking)} head" if lacking else "has one head at a time"
        possible = " or ".join(entry.tasks) if entry.one_task else f"{', '.join(entry.tasks)} or both"
        raise ConfigError(f"model.tasks: {config.name} {problem}: set model.tasks to {possible}")
    network = entry.build(tuple(task for task in ALL_TASKS if task in config.tasks), config.width)
    if isinstance(network, Branches):
        network.within_unhealthy = config.within_unhealthy
    return network if config.crop.checkpoint is None else LungCrop(network, _lung_network(config), config.crop.margin)


def _lung_network(config: ModelConfig) -> nn.Module:
    crop = config.crop
    if crop.name is None or crop.width is None:
        raise ConfigError(
            "model.crop: expected the lung network's name and width, got none; "
            "comit_ray.training.initial_weights reads them from model.crop.checkpoint"
        )
    return build_model(ModelConfig(name=crop.name, tasks=("lung",), width=crop.width, weights="none"))
