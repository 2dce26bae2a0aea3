"""Models by name: COMiT-Net and the networks the paper compares it with."""

from collections.abc import Callable
from dataclasses import dataclass

import torchvision.models as tv
from torch import nn

from comit_ray.errors import ConfigError
from comit_ray.models import classifiers, segmenters
from comit_ray.models.comit import COMiTNet
from comit_ray.models.mask_rcnn import MaskRCNN
from comit_ray.schema import ALL_TASKS, MASK_TASKS, Task
from comit_ray.train_config import ModelConfig


@dataclass(frozen=True)
class ImageNetFile:
    """torchvision's file that a network starts from.

    Attributes:
        network: torchvision's name of the network the file is of.
        url: where torchvision publishes it; the part after the dash begins its SHA-256.
        part: path of the submodule of ours that it fills.
        prefix: of the file's entries for it, which otherwise have our names (the VGG encoder's apart).
        classifier: prefix of the ImageNet classifier's entries, which are passed over.
    """

    network: str
    url: str
    part: str
    prefix: str
    classifier: str

    @property
    def name(self) -> str:
        """The file's name, as torch.hub keeps it."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Entry:
    """One network.

    Attributes:
        build: from its tasks, in the order of `ALL_TASKS`, and its width; the module returns a `ModelOutput` from a
            normalised (B, 3, H, W) batch. One that has a method `instance_loss` is trained by it. One with a health or
            COVID head has `gradcam_layer`, the module whose result Grad-CAM reads, and `classify`, which gives those
            heads alone; of the others `gradcam_layer` is None or absent.
        tasks: heads it can have.
        file: its ImageNet weights at width 1; None: there are none.
        one_task: whether it has one head at a time.
    """

    build: Callable[[tuple[Task, ...], float], nn.Module]
    tasks: tuple[Task, ...]
    file: ImageNetFile | None
    one_task: bool = False


# IMAGENET1K_V1 throughout: the files of the paper's time.
VGG16_BN = ImageNetFile("vgg16_bn", tv.VGG16_BN_Weights.IMAGENET1K_V1.url, "encoder", "features.", "classifier.")
DENSENET121 = ImageNetFile(
    "densenet121", tv.DenseNet121_Weights.IMAGENET1K_V1.url, "backbone", "features.", "classifier."
)
MOBILENET_V2 = ImageNetFile(
    "mobilenet_v2", tv.MobileNet_V2_Weights.IMAGENET1K_V1.url, "backbone", "features.", "classifier."
)
RESNET18 = ImageNetFile("resnet18", tv.ResNet18_Weights.IMAGENET1K_V1.url, "backbone", "", "fc.")
RESNET50 = ImageNetFile("resnet50", tv.ResNet50_Weights.IMAGENET1K_V1.url, "network.backbone.body", "", "fc.")
VGG19 = ImageNetFile("vgg19", tv.VGG19_Weights.IMAGENET1K_V1.url, "backbone", "features.", "classifier.")

MODELS: dict[str, Entry] = {
    "comit_net": Entry(COMiTNet, ALL_TASKS, VGG16_BN),
    "densenet121": Entry(classifiers.densenet121, classifiers.TASKS, DENSENET121),
    "mobilenet_v2": Entry(classifiers.mobilenet_v2, classifiers.TASKS, MOBILENET_V2),
    "resnet18": Entry(classifiers.resnet18, classifiers.TASKS, RESNET18),
    "vgg19": Entry(classifiers.vgg19, classifiers.TASKS, VGG19),
    "unet": Entry(segmenters.UNet, MASK_TASKS, None),
    "segnet": Entry(segmenters.SegNet, MASK_TASKS, VGG16_BN),
    "mask_rcnn": Entry(MaskRCNN, MASK_TASKS, RESNET50, one_task=True),
}


def entry_of(config: ModelConfig) -> Entry:
    """The registered network of `config`.

    Raises:
        ConfigError: if none has that name, listing those there are.
    """
    if config.name not in MODELS:
        raise ConfigError(f"model.name: unknown model {config.name!r}; known: {', '.join(sorted(MODELS))}")
    return MODELS[config.name]


def build_model(config: ModelConfig) -> nn.Module:
    """The network of `config` with random weights; `comit_ray.models.weights.load_pretrained` gives it others.

    Raises:
        ConfigError: if no model has that name, or it cannot have those heads.
    """
    entry = entry_of(config)
    lacking = [task for task in config.tasks if task not in entry.tasks]
    if lacking or (entry.one_task and len(config.tasks) > 1):
        problem = f"has no {' or '.join(lacking)} head" if lacking else "has one head at a time"
        possible = " or ".join(entry.tasks) if entry.one_task else f"{', '.join(entry.tasks)} or both"
        raise ConfigError(f"model.tasks: {config.name} {problem}: set model.tasks to {possible}")
    return entry.build(tuple(task for task in ALL_TASKS if task in config.tasks), config.width)
