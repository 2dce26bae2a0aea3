"""Makes optimised models of a checkpoint: converts, calibrates, measures on the validation split, stores good ones."""

import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comit_ray.checkpoint import checkpoint, operating_points, temperature
from comit_ray.checkpoint.checkpoint import Checkpoint
from comit_ray.checkpoint.checkpoint_facts import CONFIG, ENVIRONMENT, OPERATING_POINTS, WEIGHTS, read_file
from comit_ray.checkpoint.operating_points import Document
from comit_ray.chunks.run_record import package_version
from comit_ray.config.config_base import Precision
from comit_ray.config.optimise_config import OptimiseConfig
from comit_ray.errors import ConfigError
from comit_ray.inference import openvino_export, optimised
from comit_ray.inference.model import Frames, Model, load_model
from comit_ray.inference.optimised import OptimisedRecord
from comit_ray.inference.scores import Scores
from comit_ray.optimisation import changes
from comit_ray.prepare.frames import FrameStore
from comit_ray.prepare.prepared import frame_tables, open_prepared
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import Split

FEWEST = 20
"""Least number of validation images, and of training images, for a result."""
TIMED = 32
"""Images on which both models are timed, in turns."""
TURNS = 3
SCREENED = ("covid", "unhealthy")
"""Scores that have thresholds."""


def optimise(config: OptimiseConfig) -> dict[str, list[str]]:
    """Makes each requested precision, and stores it beside the checkpoint if it is within the bounds.

    Args:
        config: configuration of the job.

    Returns:
        Precision -> what is worse than the bounds allow; empty if it was stored.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        ConfigError: the network cannot be converted, a library is not installed, or `--data` is not a training table or
            has too few images.
        StorageError: the table cannot be read, or the model cannot be written.
    """
    loaded = checkpoint.load(config.checkpoint)
    training, validation = _stores(config, loaded)
    frames_NHW = np.stack([validation.pixels_HW(index) for index in range(len(validation))])
    labels = {name: validation.labels[name] for name in ("covid", "other", "unhealthy")}
    print(f"model {loaded.model_id}: {len(training):,} training and {len(validation):,} validation images", flush=True)
    with load_model(config.checkpoint, threads=config.threads) as model:
        was = model.predict(frames_NHW)
    exact = openvino_export.convert(loaded)
    problems: dict[str, list[str]] = {}
    for precision in config.precisions:
        network = exact
        if precision == optimised.INT8:
            drawn = _drawn(training, config)
            network = openvino_export.quantised(exact, drawn, min(config.images, len(training)))
        problems[precision] = _store(
            config, loaded, precision, network, was, frames_NHW, labels, validation.datasets, len(training)
        )
    return problems


def _stores(config: OptimiseConfig, loaded: Checkpoint) -> tuple[FrameStore, FrameStore]:
    """Returns the training and validation frames of the table."""
    table = open_prepared(config.data)
    if table is None:
        raise ConfigError(f"--data {config.data}: expected a training table: comit-ray prepare makes one of a manifest")
    if loaded.manifest is not None and table.training_hash != loaded.manifest:
        print(f"NOTE: {loaded.model_id} was not trained on {config.data}: its thresholds were chosen on other images")
    made = loaded.config
    blocks = [
        block
        for part in table.parts
        for block in frame_tables(part, made.frame, made.model.tasks, made.masks.lungs, made.leave_out)
    ]
    stores = tuple(FrameStore(blocks, split, made.frame.size) for split in (Split.TRAIN, Split.VAL))
    for split, store in zip((Split.TRAIN, Split.VAL), stores, strict=True):
        if len(store) < FEWEST:
            raise ConfigError(
                f"--data {config.data}: at least {FEWEST} images of split {split} needed, {len(store)} there"
            )
    return stores[0], stores[1]


def _drawn(training: FrameStore, config: OptimiseConfig) -> Iterator[Frames]:
    order = np.random.default_rng(config.seed).permutation(len(training))[: config.images]
    for index in order:
        yield training.pixels_HW(int(index))[None]


def _store(
    config: OptimiseConfig,
    loaded: Checkpoint,
    precision: Precision,
    network: object,
    was: Scores,
    frames_NHW: Frames,
    labels: changes.Labels,
    datasets: Sequence[str],
    training: int,
) -> list[str]:
    """Measures the model in a copy of the checkpoint, and stores it beside the checkpoint if within the bounds."""
    files = dict(openvino_export.files(network))
    files |= {operating_points.FILE: b"{}", temperature.FILE: b"{}"}
    int8 = precision == optimised.INT8
    record = OptimisedRecord(
        backend="openvino",
        precision=precision,
        model_id=loaded.model_id,
        files={},
        versions={name: package_version(name) or "?" for name in ("openvino", *(("nncf",) if int8 else ()), "torch")},
        instructions=optimised.instruction_set(),
        calibrated_on=min(config.images, training) if int8 else 0,
        measured={},
        bounds=config.bounds.model_dump(),
        speed=1.0,
    )
    with tempfile.TemporaryDirectory() as copy:
        for name in (WEIGHTS, CONFIG, ENVIRONMENT, OPERATING_POINTS):
            Path(copy, name).write_bytes(read_file(storage.normalise(config.checkpoint), name))
        publish(optimised.place(copy, precision), files, record)
        with (
            load_model(copy, "openvino", threads=config.threads, precision=precision) as model,
            load_model(copy, threads=config.threads) as before,
        ):
            now = model.predict(frames_NHW)
            speed = _speed(before, model, frames_NHW[:TIMED])
    points, old = (_points(one, labels, datasets, loaded) for one in (now, was))
    found = changes.measure(was, now, old, points, labels)
    print("\n".join(changes.lines(f"OpenVINO in {precision}", found, speed)), flush=True)
    problems = changes.beyond(found, config.bounds)
    folder = optimised.place(config.checkpoint, precision)
    if storage.exists(storage.join(folder, optimised.RECORD)):
        storage.delete(storage.join(folder, optimised.RECORD))  # an earlier model does not count without it
    if not problems:
        known = {name: now.finite & (labels[name] >= 0) for name in now.log_odds}
        odds = {name: (values[known[name]], labels[name][known[name]]) for name, values in now.log_odds.items()}
        files |= {
            operating_points.FILE: operating_points.to_json(points),
            temperature.FILE: temperature.to_json(temperature.fit(odds)),
        }
        publish(folder, files, record.model_copy(update={"measured": found, "speed": speed}))
    return problems


def publish(folder: str, files: dict[str, bytes], record: OptimisedRecord) -> None:
    """Writes the files, and after them the record with their hashes.

    Raises:
        StorageError: the files cannot be written.
    """
    for name, data in files.items():
        storage.write_bytes(storage.join(folder, name), data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    whole = record.model_copy(update={"files": digests})
    storage.write_bytes(storage.join(folder, optimised.RECORD), (whole.model_dump_json(indent=2) + "\n").encode())


def _points(scores: Scores, labels: changes.Labels, datasets: Sequence[str], loaded: Checkpoint) -> Document:
    """Returns the training's operating points, with thresholds chosen from these scores."""
    train = loaded.config.train
    found: dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.int8], list[str]]] = {}
    for name in SCREENED:
        values = scores.probabilities.get(name)
        if values is not None:
            known = scores.finite & (labels[name] >= 0)
            found[name] = values[known], labels[name][known], [datasets[int(at)] for at in np.flatnonzero(known)]
    points = operating_points.choose({name: one[:2] for name, one in found.items()}, train.specificities)
    if train.for_every_source:
        points |= operating_points.choose_for_every_source(found, train.specificities)
    return points


def _speed(before: Model, after: Model, frames_BHW: Frames) -> float:
    """Returns how many times as fast `after` is, by the best of some turns of each."""
    seconds: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(TURNS):
        for index, model in enumerate((before, after)):
            began = time.perf_counter()
            model.predict(frames_BHW)
            seconds[index].append(time.perf_counter() - began)
    return min(seconds[0]) / min(seconds[1])
