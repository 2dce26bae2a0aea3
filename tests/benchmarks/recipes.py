"""What each option against shortcuts costs: CPU seconds of a training image and of a screened frame, as ratios.

    python -m tests.benchmarks.recipes [WIDTH SIZE]

One thread, random images: the work does not depend on what they show. Each figure is the median of three rounds, the
baseline measured beside it in every round, so that a busy machine moves both.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from comit_ray.config.image_config import FrameConfig
from comit_ray.config.train_config import ModelConfig, TrainConfig
from comit_ray.data.images.frame import to_frame
from comit_ray.data.masks.mask_images import IGNORE
from comit_ray.models.outputs import normalise
from comit_ray.models.registry import build_model
from comit_ray.training.appearance import CHANGES
from comit_ray.training.batches import Batch, appearance_of
from comit_ray.training.epoch import make_optimiser, train_epoch
from comit_ray.training.losses import Objective
from comit_ray.training.sources import GroupWeights

IMAGES, STEPS, ROUNDS = 16, 4, 3
ALL_BUT_SURROUNDINGS = [name for name in CHANGES if name != "surroundings"]
OPTIONS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "vary": {"train": {"vary": True}},
    **{f"appearance {name}": {"train": {"appearance": [name]}} for name in CHANGES},
    "appearance, all but surroundings": {"train": {"appearance": ALL_BUT_SURROUNDINGS}},
    "source_penalty": {"loss": {"source_penalty": 1.0}},
    "group_dro": {"train": {"group_dro": 0.01}},
    "attention, all lungs annotated": {"loss": {"attention": 5.0}},
    "attention, lungs of an eighth": {"loss": {"attention": 5.0}},
    "crop": {"model": {}},
}
ANNOTATED = {"attention, lungs of an eighth": IMAGES // 8}
"""Option -> number of images with annotated lungs; all, where it is not given."""


def batch(size: int, annotated: int = IMAGES) -> Batch:
    """Images of two sources and two classes, the first `annotated` of them with lungs."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 255, (IMAGES, size, size), dtype=torch.uint8, generator=generator)
    masks = torch.zeros((IMAGES, 2, size, size), dtype=torch.uint8)
    masks[:, 0, size // 5 : size // 2, size // 5 : -size // 5] = 1
    masks[annotated:, 0] = IGNORE
    numbers = torch.arange(IMAGES)
    groups = torch.stack([numbers % 4, numbers % 2, numbers // 2 % 2], dim=1)
    zeros, ones = torch.zeros(IMAGES, dtype=torch.int64), torch.ones(IMAGES, dtype=torch.bool)
    return Batch(frames, masks, numbers % 2, numbers % 2, zeros, zeros, numbers, teaches_B=ones, group_B3=groups)


def cropped(width: float) -> dict[str, Any]:
    """The options of a network whose lung network is as wide as itself."""
    return {"crop": {"checkpoint": "none", "name": "comit_net", "width": width}}


def training(options: dict[str, Any], width: float, size: int, annotated: int = IMAGES) -> Callable[[], float]:
    """A function that trains a few steps and gives the CPU seconds of an image."""
    known = {"data": "d", "storage": "s", "name": "n", "frame": {"size": size}}
    model_options = {"width": width, "weights": "none"} | (cropped(width) if "model" in options else {})
    config = TrainConfig.parse(known | options | {"model": model_options}, origin="benchmark")
    model = build_model(config.model)
    objective, optimiser = Objective(model, config), make_optimiser(model, config.train, fused=True)
    looks, images = appearance_of(config.train, 0), batch(size, annotated)
    items = np.stack([np.arange(IMAGES), np.zeros(IMAGES, int)], axis=1)
    varied = torch.zeros(IMAGES, 5) if config.train.vary else None
    groups = GroupWeights.begin(config.train.group_dro, list("abcd"), [], torch.device("cpu"))

    def run() -> float:
        began = time.process_time()
        made = [images if looks is None else looks(images, items) for _ in range(STEPS)]
        made = [Batch(**{**vars(one), "variation_BP": varied}) for one in made]
        train_epoch(objective, optimiser, made, [1e-3] * STEPS, config, torch.device("cpu"), groups)
        return (time.process_time() - began) / (IMAGES * STEPS)

    return run


def screening(options: dict[str, Any], width: float, size: int) -> Callable[[], float]:
    """A function that scores a few images with masks and gives the CPU seconds of an image, without its frame."""
    known: dict[str, Any] = {"width": width, "weights": "none"} | options
    network = build_model(ModelConfig.parse(known, origin="benchmark")).eval()
    frames = batch(size).frames_BHW

    def run() -> float:
        began = time.process_time()
        with torch.inference_mode():
            for _ in range(STEPS):
                network(normalise(frames))
        return (time.process_time() - began) / (IMAGES * STEPS)

    return run


def framing(equalise: str, size: int) -> float:
    """CPU seconds of one frame, of a radiograph of 512 x 512."""
    pixels_HW = np.random.default_rng(0).integers(0, 255, (512, 512), dtype=np.uint8)
    frame = FrameConfig.parse({"size": size, "equalise": equalise}, origin="benchmark")
    began = time.process_time()
    for _ in range(20):
        to_frame(pixels_HW, frame)
    return (time.process_time() - began) / 20


def main(width: str = "0.125", size: str = "96") -> None:
    """Print a line an option."""
    torch.set_num_threads(1)
    runs = {
        name: training(options, float(width), int(size), ANNOTATED.get(name, IMAGES))
        for name, options in OPTIONS.items()
    }
    for run in runs.values():
        run()
    rounds = [{name: run() for name, run in runs.items()} for _ in range(ROUNDS)]
    base = float(np.median([found["baseline"] for found in rounds]))
    print(f"baseline: {1000 * base:.1f} CPU ms a training image (width {width}, {size} px)")
    for name in runs:
        ratio = float(np.median([found["baseline"] / found[name] for found in rounds]))
        print(f"{name:34} {ratio:.2f} of the baseline's images/s")
    networks = {"": {}, "within_unhealthy": {"within_unhealthy": True}, "crop": cropped(float(width))}
    screens = {name: screening(options, float(width), int(size)) for name, options in networks.items()}
    for run in screens.values():
        run()
    spent = {name: float(np.median([run() for _ in range(ROUNDS)])) for name, run in screens.items()}
    frames = {
        equalise: float(np.median([framing(equalise, int(size)) for _ in range(ROUNDS)]))
        for equalise in ("none", "histogram", "clahe")
    }
    plain = spent.pop("")
    whole = plain + frames["none"]
    print(f"screening: {1000 * whole:.1f} CPU ms an image, its frame of 512 x 512 included, without reading a file")
    for name, seconds in spent.items():
        print(f"{name:34} {whole / (seconds + frames['none']):.2f} of that images/s")
    for equalise in ("histogram", "clahe"):
        ratio = whole / (plain + frames[equalise])
        print(f"{f'frame.equalise {equalise}':34} {ratio:.2f} of that images/s")


if __name__ == "__main__":
    main(*sys.argv[1:])
