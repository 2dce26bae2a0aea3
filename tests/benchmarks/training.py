"""Speed of training, as ratios within one run: `python -m tests.benchmarks.training TABLE OUTPUT`.

TABLE is a training table (jobs/prepare.py), OUTPUT a new directory for runs. Three parts: one worker and two on Ray
against a plain PyTorch loop over the same tensors; each option of speed against the default; frames read at random
against Ray Data's own batches. COMiT-Net at 96 px, an eighth of the channels, one thread per worker.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import ray.data
import torch

from comit_ray.checkpoint import checkpoint
from comit_ray.config.train_config import TrainConfig
from comit_ray.models.registry import build_model
from comit_ray.prepare import prepared
from comit_ray.prepare.frames import FrameStore
from comit_ray.tables.vocabulary import Split
from comit_ray.training import batches as order
from comit_ray.training import collective
from comit_ray.training.batches import Batch, training_batches
from comit_ray.training.epoch import make_optimiser, train_epoch
from comit_ray.training.losses import Objective
from comit_ray.training.run_training import train
from comit_ray.training.validation import EpochMetrics

CPU = torch.device("cpu")
Groups = dict[str, dict[str, Any]]
EPOCHS = 3
STEPS = 12  # of one measurement of an option


def config(table: str, output: Path, name: str, workers: int = 1, groups: Groups | None = None) -> TrainConfig:
    """The benchmark's training."""
    values: dict[str, Any] = {
        "data": table,
        "storage": str(output),
        "name": name,
        "frame": {"size": 96},
        "model": {"width": 0.125, "weights": "none"},
        "workers": {"count": workers, "threads": 1},
    }
    values["train"] = {"epochs": EPOCHS, "lr": 1e-3, "batch_norm": "frozen", "augment_covid": False}
    for group, options in (groups or {}).items():
        values[group] = values.get(group, {}) | options
    return TrainConfig.parse(values, origin="benchmark")


def frames(table: str) -> FrameStore:
    """The training split's frames, without Ray."""
    opened = prepared.open_prepared(table)
    assert opened is not None, f"{table} is no training table"
    options = config(table, Path("/"), "n")
    tasks, lungs = options.model.tasks, options.masks.lungs
    blocks = [block for part in opened.parts for block in prepared.frame_tables(part, options.frame, tasks, lungs)]
    return FrameStore(blocks, Split.TRAIN, options.frame.size)


def batches(store: FrameStore, options: TrainConfig) -> list[Batch]:
    """An epoch's batches, made before the clock starts."""
    items = order.shuffled(order.items(torch.ones(len(store), dtype=torch.int64).numpy()), 0, 0)
    steps = order.global_batches(items, options.train.batch_size)
    return list(training_batches(store, steps, steps))


def plain_loop(store: FrameStore, options: TrainConfig) -> float:
    """Images a second of nothing but PyTorch: forward, loss, backward, step on tensors in memory."""
    torch.set_num_threads(1)
    ready = batches(store, options)
    objective = Objective(build_model(options.model).to(memory_format=torch.channels_last), options)
    collective.freeze(objective.train())
    optimiser = torch.optim.Adam(objective.parameters(), lr=options.train.lr, fused=True)
    speeds = []
    for _ in range(EPOCHS):
        began = time.perf_counter()
        for batch in ready:
            objective(batch).sum().backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        speeds.append(len(store) / (time.perf_counter() - began))
    return statistics.median(speeds)


def by_workers(table: str, output: Path, store: FrameStore) -> None:
    """One worker, two workers, and the plain loop."""
    histories: dict[int, list[EpochMetrics]] = {}
    for workers in (1, 2):
        train(config(table, output, f"workers_{workers}", workers))
        histories[workers] = checkpoint.load_history(str(output / f"workers_{workers}" / "last"))
    plain = plain_loop(store, config(table, output, "plain"))
    print(f"\nplain PyTorch loop, one thread: {plain:.1f} images/s")
    for workers, history in histories.items():
        speed = statistics.median(float(figures["images_per_second"] or 0) for figures in history)
        parts = {name: statistics.median(float(f[f"seconds_{name}"] or 0) for f in history) for name in PARTS}
        split = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in parts.items())
        print(f"{workers} worker(s) on Ray: {speed:.1f} images/s, {speed / plain:.2f} of the plain loop; {split}")
    one, two = histories[1], histories[2]
    worst = max(abs(float(b[k] or 0) / float(a[k] or 1) - 1) for a, b in zip(one, two, strict=True) for k in LOSSES)
    print(f"losses of one worker and of two, batch norm frozen: largest relative difference {worst:.1e}")


PARTS = ("waiting", "forward", "backward", "optimiser")
LOSSES = ("train_loss", "val_loss")
OPTIONS: dict[str, Groups] = {
    "bfloat16": {"train": {"precision": "bfloat16"}},
    "contiguous layout": {"speed": {"channels_last": False}},
    "optimiser not fused": {"speed": {"fused": False}},
    "two parts a step": {"train": {"accumulate": 2}},
    "torch.compile": {"speed": {"compile": True}},
}


def seconds_of_steps(store: FrameStore, options: TrainConfig) -> Callable[[], float]:
    """A measurement of `STEPS` steps with `options`; the first call compiles and warms up."""
    ready = batches(store, options)[:STEPS]
    layout = torch.channels_last if options.speed.channels_last else torch.contiguous_format
    model = build_model(options.model).to(memory_format=layout)
    optimiser = make_optimiser(model, options.train, options.speed.fused)
    objective = Objective(torch.compile(model) if options.speed.compile else model, options)  # type: ignore[arg-type]

    def measure() -> float:
        began = time.perf_counter()
        train_epoch(objective, optimiser, ready, [options.train.lr] * len(ready), options, CPU)
        return time.perf_counter() - began

    measure()
    return measure


def by_option(table: str, output: Path, store: FrameStore) -> None:
    """Each option beside the default, measured in turns."""
    torch.set_num_threads(1)
    default = seconds_of_steps(store, config(table, output, "n"))
    for name, groups in OPTIONS.items():
        other = seconds_of_steps(store, config(table, output, "n", groups=groups))
        pairs = [(default(), other()) for _ in range(3)]
        print(f"{name}: {statistics.median(b / a for a, b in pairs):.2f} times the default's time")


def by_reader(table: str, store: FrameStore) -> None:
    """Seconds to have every batch of an epoch: from the frame store, and from Ray Data's `iter_torch_batches`."""
    options = config(table, Path("/"), "n")
    began = time.perf_counter()
    batches(store, options)
    ours = time.perf_counter() - began
    rows = ray.data.from_items([{"pixels": store.pixels_HW(i)} for i in range(len(store))]).materialize()
    size, theirs = options.train.batch_size, []
    for _ in range(2):
        began = time.perf_counter()
        for _batch in rows.iter_torch_batches(batch_size=size, local_shuffle_buffer_size=len(store)):
            pass
        theirs.append(time.perf_counter() - began)
    print(f"an epoch's batches: frame store {ours:.2f} s with masks; iter_torch_batches {min(theirs):.2f} s without")


def main(table: str, output: str) -> None:
    """All three parts."""
    store = frames(table)
    by_workers(table, Path(output), store)
    by_reader(table, store)
    by_option(table, Path(output), store)


if __name__ == "__main__":
    main(*sys.argv[1:])
