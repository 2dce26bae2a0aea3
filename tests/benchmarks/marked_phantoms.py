"""Synthetic chests with a white square where there is COVID-19: does a network that trains with OPTIONS follow it?

    python -m tests.benchmarks.marked_phantoms OPTIONS [SEEDS]

OPTIONS are those of a training as JSON, such as '{"loss": {"attention": 5}}'; SEEDS their number, 1 if not given. For a
crop to the lungs give '{"model": {"crop": {"checkpoint": "plain", "name": "comit_net", "width": 0.0625}}}'; the lung
network is then one that was trained without OPTIONS. The network, the phantoms and the epochs are those of
tests/jobs/test_audit.py: 160 to train on, 120 to test, half of them with COVID-19. Printed are AUROC on test images of
which those with COVID-19 are marked, none is, all are, and those without are; and on the first kind with the annotated
lungs blacked out, where an honest network has 0.5.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from comit_ray.config.train_config import TrainConfig
from comit_ray.data.phantom.phantom_drawing import Phantom, PhantomKind, draw
from comit_ray.models.lung_crop import LungCrop
from comit_ray.models.registry import build_model
from comit_ray.screening.variants import LUNGS_REMOVED, alter
from comit_ray.statistics import roc
from comit_ray.training.batches import Batch, appearance_of
from comit_ray.training.epoch import make_optimiser, train_epoch
from comit_ray.training.losses import Objective, predict

SIZE, TRAINED, TESTED, EPOCHS, BATCH, RATE, MARK = 64, 160, 120, 10, 16, 4e-3, 6
KINDS = (PhantomKind.HEALTHY, PhantomKind.COVID)
Frames = npt.NDArray[np.uint8]


def frames(phantoms: list[Phantom], marked: tuple[PhantomKind, ...]) -> Frames:
    """(B, H, W) radiographs, with a white square in a corner of those of the kinds `marked`."""
    found = np.stack([one.pixels_HW for one in phantoms])
    found[[one.kind in marked for one in phantoms], :MARK, :MARK] = 255
    return found


def train(phantoms: list[Phantom], options: dict[str, Any], seed: int) -> nn.Module:
    """A small COMiT-Net, trained on phantoms of which those with COVID-19 are marked."""
    small = {"width": 0.0625, "weights": "none"} | options.get("model", {})
    own = {"epochs": EPOCHS, "batch_size": BATCH, "lr": RATE, "seed": seed} | options.get("train", {})
    known = {"data": "d", "storage": "s", "name": "n", "frame": {"size": SIZE}}
    config = TrainConfig.parse(known | options | {"model": small, "train": own}, origin="benchmark")
    torch.manual_seed(seed)
    pixels = torch.from_numpy(frames(phantoms, (PhantomKind.COVID,)))
    masks = torch.from_numpy(np.stack([np.stack([one.lung_HW, one.disease_HW]) for one in phantoms])).to(torch.uint8)
    covid = torch.tensor([int(one.kind is PhantomKind.COVID) for one in phantoms])
    model = build_model(config.model)
    if isinstance(model, LungCrop):
        known_weights = train(phantoms, {}, seed).state_dict()
        model.lungs.load_state_dict({name: known_weights[name] for name in model.lungs.state_dict()})
    objective, optimiser = Objective(model, config), make_optimiser(model, config.train, fused=True)
    for epoch in range(EPOCHS):
        change, batches = appearance_of(config.train, epoch), []
        for rows in torch.randperm(len(phantoms)).split(BATCH):
            none = torch.zeros(len(rows), dtype=torch.int64)
            batch = Batch(pixels[rows], masks[rows], covid[rows], covid[rows], none, none, rows)
            batches.append(batch if change is None else change(batch, torch.stack([rows, none], dim=1).numpy()))
        train_epoch(objective, optimiser, batches, [RATE] * len(batches), config, torch.device("cpu"))
    return model.eval()


def area(model: nn.Module, frames_BHW: Frames, truth_B: npt.NDArray[np.int8]) -> float:
    """AUROC of COVID-19."""
    none = torch.zeros(len(frames_BHW), dtype=torch.int64)
    masks = torch.zeros((len(frames_BHW), 2, SIZE, SIZE), dtype=torch.uint8)
    with torch.no_grad():
        output = predict(model, Batch(torch.from_numpy(frames_BHW), masks, *[none] * 5), "float32")
    assert output.p_covid is not None
    found = roc.auroc(output.p_covid.numpy(), truth_B)
    assert found is not None
    return found


def main(options: str = "{}", seeds: str = "1") -> None:
    """Print a line a seed."""
    torch.set_num_threads(1)
    phantoms = [draw(n, KINDS[n % 2], size=(SIZE, SIZE)) for n in range(TRAINED + TESTED)]
    tested = phantoms[TRAINED:]
    truth_B = np.array([one.kind is PhantomKind.COVID for one in tested], np.int8)
    marked = frames(tested, (PhantomKind.COVID,))
    shown = {
        "those with it marked": marked,
        "none": frames(tested, ()),
        "all": frames(tested, KINDS),
        "those without": frames(tested, (PhantomKind.HEALTHY,)),
        "lungs removed": alter(marked, np.stack([one.lung_HW for one in tested]), LUNGS_REMOVED),
    }
    for seed in range(int(seeds)):
        began = time.process_time()
        model = train(phantoms[:TRAINED], json.loads(options), seed)
        spent = time.process_time() - began
        figures = ", ".join(f"{name} {area(model, each, truth_B):.2f}" for name, each in shown.items())
        print(f"{options} seed {seed}: {figures} ({spent:.0f} CPU s)", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
