"""Options of the job `train`, with default, unit and range.

`--help` prints the text below each field. The defaults are the paper's (section 3.3) where the paper gives a value.
"""

import re
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from comit_ray.config.config_base import (
    ADVANCED,
    EVERY_SOURCE,
    AboveZero,
    Config,
    Fraction,
    PositiveFloat,
    PositiveInt,
    operating_point_name,
)
from comit_ray.config.image_config import DecodeLimits, FrameConfig, MasksConfig
from comit_ray.tables.vocabulary import SPECIFICITIES

TaskName = Literal["lung", "disease", "health", "covid"]
"""The values of `comit_ray.tables.vocabulary.Task`, as the command line takes them."""
AppearanceName = Literal[
    "surroundings", "resolution", "blur", "gamma", "contrast", "noise", "collimation", "border", "text", "jpeg"
]
"""Aspects of an image's acquisition that training can vary; `comit_ray.training.appearance` explains each."""
FILE = "config.yaml"
"""Name of the file with a training's resolved configuration, in the run's directory and in its checkpoints."""


class LungCropConfig(Config):
    """Whether the network sees only the lungs, and what finds them."""

    checkpoint: str | None = None
    """URI of a checkpoint with the head lung, trained with the same frame. Its network finds the lungs, and the new
    network sees only the box around them. null: it sees the whole radiograph, as in the paper."""
    margin: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Margin around the lungs, as a fraction of the box's longer side, at each side."""
    name: str | None = None
    """Name of the lung network. The training reads it from that checkpoint."""
    width: PositiveFloat | None = None
    """Width of the lung network. The training reads it from that checkpoint."""


class ModelConfig(Config):
    """Options of the network."""

    name: str = "comit_net"
    """comit_net; densenet121, mobilenet_v2, resnet18, vgg19 (heads health, covid); unet, segnet, mask_rcnn (heads
    lung, disease)."""
    tasks: tuple[TaskName, ...] = ("lung", "disease", "health", "covid")
    """Heads of the model: any subset of the heads that the network can have, such as '[lung,covid]'."""
    width: PositiveFloat = 1.0
    """Multiplier of the number of channels. 1.0 is the published network; smaller values are for CPUs and tests."""
    weights: str = "imagenet"
    """Initial weights of the encoder: imagenet (torchvision's file), none, or a file of your own (path or URI)."""
    within_unhealthy: Annotated[bool, ADVANCED] = False
    """Whether COVID-19 and another disease count as kinds of unhealthy. true: their head learns from unhealthy images
    alone, and its scores are multiplied by p_unhealthy. false: the scores stand by themselves, as in the paper."""
    crop: Annotated[LungCropConfig, ADVANCED] = LungCropConfig()
    """Crop to the lungs."""

    @model_validator(mode="after")
    def _tasks(self) -> Self:
        if not self.tasks:
            raise ValueError(f"tasks must name at least one of {', '.join(get_args(TaskName))}")
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"tasks must not repeat, got {', '.join(self.tasks)}")
        if self.within_unhealthy and not {"health", "covid"} <= set(self.tasks):
            raise ValueError(f"within_unhealthy needs the heads health and covid, got {', '.join(self.tasks)}")
        if self.crop.checkpoint and "lung" not in self.tasks:
            raise ValueError(
                "crop.checkpoint needs the head lung, whose empty mask tells that no lungs were found, got "
                f"{', '.join(self.tasks)}"
            )
        if self.crop.checkpoint and self.name == "mask_rcnn":
            raise ValueError("crop.checkpoint: mask_rcnn, which has its own loss, cannot be cropped: set it to null")
        return self


class LossConfig(Config):
    """Options of the loss (equations 2 to 8 of the paper)."""

    reduction: Literal["mean", "sum"] = "mean"
    """mean: average per valid pixel, then per active sample of the whole batch; sum: the literal equations."""
    lung: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the lung loss Z1. The paper weighs all four equally."""
    disease: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the disease loss Z2."""
    health: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the health loss Z3."""
    covid: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the COVID-19 loss Z4."""
    source_penalty: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a penalty on embeddings that reveal the source of an image: the distance between the means and
    covariances of sources, within one class (Deep CORAL, Sun and Saenko 2016). 0: no penalty, as in the paper."""
    attention: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a penalty on COVID-19 evidence outside annotated lungs. A copy of each image with annotated lungs gets
    the surroundings of another image, and must have the same log-odds (Heo et al. 2023) and label. 0: no penalty,
    as in the paper; docs/training.md says what 5 did."""


class OptimConfig(Config):
    """Options of epochs, batches and the optimiser."""

    epochs: PositiveInt = 30
    """Number of passes over the training split."""
    patience: PositiveInt | None = None
    """Stop after this many epochs without a lower validation loss; null: never stop early."""
    batch_size: PositiveInt = 16
    """Images per step, over all workers together."""
    accumulate: Annotated[PositiveInt, ADVANCED] = 1
    """Number of parts in which a worker computes its share of a step, to save memory; the loss stays that of the whole
    batch."""
    optimiser: Literal["adam", "sgd"] = "adam"
    """Adam, or stochastic gradient descent with momentum."""
    momentum: Annotated[float, Field(ge=0, lt=1), ADVANCED] = 0.9
    """Momentum of sgd."""
    lr: PositiveFloat = 5e-5
    """Learning rate. A narrow network that starts from random weights needs its own (see comit_net_cpu.yaml)."""
    schedule: Annotated[Literal["constant", "cosine"], ADVANCED] = "constant"
    """Learning rate over the epochs: constant (as in the paper), or one linear warm-up epoch and then a cosine
    to zero."""
    augment_covid: Annotated[bool, ADVANCED] = True
    """Use six fixed copies of each COVID-19 training image: itself, +-10 degrees, shifts of 10 px in X, Y and XY
    (section 3.1)."""
    vary: Annotated[bool, ADVANCED] = False
    """Apply small random rotations, shifts, scales and exposures to every training image; not in the paper."""
    balance: Annotated[Literal["none", "class", "source", "class_and_source"], ADVANCED] = "none"
    """none: every image (and copy) once per epoch, as in the paper. The other values draw the same number of images
    with replacement, so that every class (healthy, other disease, COVID-19, ...), every source, or every class of
    every source is equally frequent."""
    covid_from: Annotated[Literal["all", "both_classes"], ADVANCED] = "all"
    """Images from which the COVID-19 head learns. all: all images with its labels, as in the paper. both_classes: only
    images of sources that have images with COVID-19 and without it, because elsewhere the source alone gives the
    answer away. Other heads learn from all images."""
    other_from: Annotated[Literal["all", "both_classes"], ADVANCED] = "all"
    """The same as covid_from for the label of another disease, which is an output of the same head."""
    health_from: Annotated[Literal["all", "both_classes"], ADVANCED] = "all"
    """The same as covid_from for the health head. both_classes: only images of sources that have healthy and unhealthy
    images."""
    appearance: Annotated[tuple[AppearanceName, ...], ADVANCED] = ()
    """Aspects of a training image's acquisition that are varied at random: gamma, contrast, blur, noise, jpeg,
    resolution, collimation, border, text (printed letters and markers), surroundings (paints everything but
    annotated lungs in one grey)."""
    appearance_chance: Annotated[Fraction, ADVANCED] = 0.5
    """Probability of each of these variations, for each image of an epoch."""
    group_dro: Annotated[float, Field(ge=0), ADVANCED] = 0.0
    """Step size of group DRO (Sagawa et al. 2020): classes of sources with a larger classification loss get a larger
    weight, by the exponential of this number times the loss. 0.01 is usual, together with balance class_and_source.
    0: off."""
    batch_norm: Annotated[Literal["per_worker", "synchronised", "frozen"], ADVANCED] = "per_worker"
    """Statistics of batch normalisation: per worker, synchronised over the whole batch (GPUs only), or frozen at the
    initial weights."""
    precision: Annotated[Literal["float32", "bfloat16"], ADVANCED] = "float32"
    """Arithmetic of the network in training; weights and losses stay float32. bfloat16 suits GPUs, and CPUs that
    compute in it (AVX512-BF16, AMX); other CPUs become many times slower. On NVIDIA GPUs, float32 convolutions are
    computed in TF32."""
    specificities: Annotated[tuple[AboveZero, ...], ADVANCED] = SPECIFICITIES
    """Specificities for which operating points are chosen on the validation split; the default is the paper's two."""
    for_every_source: Annotated[bool, ADVANCED] = False
    """Also choose operating points that every source reaches by itself, not only all sources together:
    `specificity_0.90_every_source`. Sources with too few negatives are left out; the counts are stored."""
    flag_point: Annotated[str | None, ADVANCED] = None
    """Operating point that decides the flags if a screen names none; null: specificity_0.90."""
    seed: int = 0
    """Seed of the initial weights and of the order of images in every epoch."""

    @model_validator(mode="after")
    def _specificities(self) -> Self:
        if not self.specificities or len(set(self.specificities)) != len(self.specificities):
            raise ValueError(f"specificities: expected one or more values, none twice, got {list(self.specificities)}")
        known = [operating_point_name(one) for one in self.specificities]
        known += [f"{name}{EVERY_SOURCE}" for name in known] if self.for_every_source else []
        if self.flag_point is not None and self.flag_point not in known:
            raise ValueError(
                f"flag_point: expected one of the chosen points ({', '.join(known)}), got {self.flag_point}"
            )
        return self


class SpeedConfig(Config):
    """Options that change the speed but not the method; results differ by rounding only."""

    channels_last: bool = True
    """Use the channels-last memory layout."""
    fused: bool = True
    """Use one fused kernel for each step of the optimiser."""
    compile: bool = False
    """Use torch.compile. The first epoch is slower, and it needs a C++ compiler."""
    prefetch: Annotated[int, Field(ge=0)] = 2
    """Number of batches that a thread prepares in advance; 0: none."""


class WorkersConfig(Config):
    """Options of the training workers."""

    count: PositiveInt | tuple[PositiveInt, PositiveInt] = 1
    """Number of data-parallel workers. '[2,8]': from 2 to 8, as many as the cluster has room for. The number then
    changes when nodes come or go."""
    gpu: bool = False
    """Use one GPU per worker (nccl); otherwise CPUs (gloo)."""
    cpus: PositiveFloat = 1
    """CPUs that are reserved for a worker. With a GPU none are reserved, and this is the number of threads it
    may use."""
    threads: Annotated[PositiveInt | None, ADVANCED] = None
    """Torch threads per worker; null: as many as its CPUs."""
    max_failures: Annotated[int, Field(ge=-1), ADVANCED] = 2
    """Number of restarts after a worker dies, before the job fails; -1: no limit."""

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"count must be [least, most], got [{self.least}, {self.most}]")
        return self

    @property
    def least(self) -> int:
        """Smallest number of workers."""
        return self.count if isinstance(self.count, int) else self.count[0]

    @property
    def most(self) -> int:
        """Largest number of workers."""
        return self.count if isinstance(self.count, int) else self.count[1]


class TrackConfig(Config):
    """Where the metrics of every epoch go, in addition to the line on the terminal."""

    tensorboard: bool = True
    """Write event files to STORAGE/NAME/tensorboard."""
    mlflow: str | None = None
    """MLflow tracking URI (needs the extra `mlflow`); null: none."""
    experiment: str = "comit-ray"
    """MLflow experiment."""

    @field_validator("mlflow")
    @classmethod
    def _no_password(cls, uri: str | None) -> str | None:
        # urlsplit would take a / in a password for the end of the host, and would quote a URI that it cannot split.
        if uri and re.match(r"(?!file:///)[^/]*:.*@", uri, re.DOTALL):
            raise ValueError(
                "no user or password in the URI, which is stored with the run: set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD"
            )
        return uri


class TrainConfig(Config):
    """Options of `comit-ray train`."""

    data: str
    """Path or URI of a training table (job `prepare`), or of a manifest, whose images are then decoded first."""
    storage: str
    """Directory for runs (path or URI); several nodes need a shared one."""
    name: str
    """Name of the run, and of its directory below `storage`."""
    resume: bool = False
    """Continue the run of this name. Without this option an existing run is an error."""
    frame: Annotated[FrameConfig, ADVANCED] = FrameConfig()
    """The frame: the size to which every radiograph is resampled."""
    model: ModelConfig = ModelConfig()
    """The network."""
    masks: Annotated[MasksConfig, ADVANCED] = MasksConfig()
    """The masks."""
    loss: Annotated[LossConfig, ADVANCED] = LossConfig()
    """The loss."""
    train: OptimConfig = OptimConfig()
    """Epochs and optimiser."""
    speed: Annotated[SpeedConfig, ADVANCED] = SpeedConfig()
    """Speed."""
    track: Annotated[TrackConfig, ADVANCED] = TrackConfig()
    """Tracking of metrics."""
    frames: Annotated[Literal["memory", "disk"], ADVANCED] = "memory"
    """Where decoded frames are kept. memory: in the object store of each node; disk: in files below the run that each
    node maps into memory, for more frames than the object store holds. The training is the same."""
    frames_directory: Annotated[str | None, ADVANCED] = None
    """With frames disk, a local directory of every node to which the files are copied first. null: files of a run on a
    local or shared disk are mapped where they are, those of a run in S3 are copied to TMPDIR."""
    leave_out: Annotated[tuple[str, ...], ADVANCED] = ()
    """Names of datasets that are used neither for training nor for validation, so that the model can be tested
    on them."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Limits for images."""
    max_failed_share: Annotated[Fraction, ADVANCED] = 0.05
    """Training stops if a larger share of its images cannot be read."""
    workers: WorkersConfig = WorkersConfig()
    """Parallelism."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.train.batch_norm == "synchronised" and not self.workers.gpu:
            raise ValueError("train.batch_norm: synchronised needs GPUs (workers.gpu); on CPUs: per_worker or frozen")
        if self.train.batch_norm == "synchronised" and (self.train.accumulate > 1 or self.model.name == "mask_rcnn"):
            raise ValueError(
                "train.batch_norm: synchronised needs the same number of passes in every worker: train.accumulate must "
                "be 1, and mask_rcnn, which skips images without masks, cannot use it"
            )
        if self.speed.compile and self.model.name == "mask_rcnn":
            raise ValueError("speed.compile: mask_rcnn cannot be compiled: set it to false")
        lacking = sorted({"lung", "covid"} - set(self.model.tasks))
        if self.loss.attention and lacking:
            raise ValueError(
                f"loss.attention: {self.model.name} is asked for no {' and no '.join(lacking)} head (model.tasks), but "
                "the penalty needs both lung and covid, which only comit_net can have: set it to 0"
            )
        if self.train.batch_size < self.workers.most:
            raise ValueError(
                f"train.batch_size: {self.train.batch_size} images cannot be shared by {self.workers.most} workers"
            )
        return self
