"""Writes and reads checkpoints: plain files that are loaded without running code.

weights.safetensors     the network
config.yaml             the training's resolved configuration
operating_points.json   thresholds chosen on the validation split (comit_ray.checkpoint.operating_points)
temperatures.json       what the log-odds are divided by to be calibrated on the validation split
                        (comit_ray.checkpoint.temperature); applied only where it is asked for
reference.json, reference.safetensors
                        what it remembers of its data (comit_ray.checkpoint.reference): says when an archive differs
frontal_check.json      tells frontal chests from other pictures (comit_ray.checkpoint.frontal_check)
metrics.json            figures of the epoch
history.json            figures of every epoch up to this one
environment.json        versions, and the hashes of the weights the other files belong to and of the manifest
state.pt                optimiser, epoch and random states, to go on with the training
"""

import io
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import yaml
from torch import nn

from comit_ray.checkpoint import operating_points, reference, temperature
from comit_ray.checkpoint.checkpoint_facts import (
    CONFIG,
    ENVIRONMENT,
    FILES,
    FRONTAL_CHECK,
    HISTORY,
    METRICS,
    OPERATING_POINTS,
    REFERENCE,
    STATE,
    TEMPERATURES,
    WEIGHTS,
    YOUNGER,
    CheckpointFacts,
    environment_of,
    read_facts,
    read_file,
    read_json,
    weights_id,
)
from comit_ray.checkpoint.operating_points import Document
from comit_ray.checkpoint.reference import Reference
from comit_ray.chunks.run_record import package_version
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import CheckpointError
from comit_ray.models.registry import build_model
from comit_ray.storage import local_files, storage

__all__ = [
    "CONFIG",
    "ENVIRONMENT",
    "FILES",
    "FRONTAL_CHECK",
    "HISTORY",
    "METRICS",
    "OPERATING_POINTS",
    "REFERENCE",
    "STATE",
    "TEMPERATURES",
    "WEIGHTS",
    "Checkpoint",
    "TrainingState",
    "load",
    "load_history",
    "load_state",
    "load_weights",
    "publish",
    "save",
]


@dataclass(frozen=True)
class Checkpoint(CheckpointFacts):
    """A trained model and what belongs to it.

    Attributes:
        model: on the CPU, in evaluation mode.
    """

    model: nn.Module = field(kw_only=True)


@dataclass(frozen=True)
class TrainingState:
    """What training needs to go on.

    Attributes:
        history: figures of the epochs behind these weights.
        optimiser: its state dict.
        random: torch's random states of each worker: the host's and, on a GPU, the GPU's.
    """

    history: list[dict[str, Any]]
    optimiser: dict[str, Any]
    random: list[list[torch.Tensor]]


def load(uri: str) -> Checkpoint:
    """The checkpoint at `uri`.

    Raises:
        CheckpointError: if it is absent, incomplete, truncated, or its weights do not fit its configuration.
    """
    facts, weights = read_facts(uri)
    model = build_model(facts.config.model)
    load_weights(model, weights, storage.join(storage.normalise(uri), WEIGHTS))
    return Checkpoint(**vars(facts), model=model.eval())


def load_weights(model: nn.Module, data: bytes, origin: str) -> None:
    """Load a safetensors file's bytes into `model`, every entry of it.

    Raises:
        CheckpointError: if it is no safetensors file or not this model's.
    """
    try:
        weights = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{origin} is not a whole safetensors file ({len(data)} bytes): {error}") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        problems = " ".join(str(error).split())
        raise CheckpointError(f"{origin} does not fit its {CONFIG}: {problems[:500]}") from error


def load_state(uri: str, model: nn.Module) -> TrainingState:
    """Give `model` the weights of the checkpoint at `uri`; the state to go on with.

    Raises:
        CheckpointError: if they are absent, truncated, of another model, or of another checkpoint than its other files.
    """
    uri = storage.normalise(uri)
    weights = read_file(uri, WEIGHTS)
    load_weights(model, weights, storage.join(uri, WEIGHTS))
    environment_of(uri, weights)
    history = load_history(uri)
    data = read_file(uri, STATE)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        stated, found = state["model_id"], TrainingState(history, state["optimiser"], state["random"])
    except Exception as error:  # torch.load raises whatever the broken file makes it stumble on
        raise CheckpointError(f"{uri}: {STATE} is not a whole training state: {type(error).__name__}") from error
    if stated != weights_id(weights):
        raise CheckpointError(f"{uri}: its weights are {weights_id(weights)}, its {STATE} belongs to {stated}")
    return found


def load_history(uri: str) -> list[dict[str, Any]]:
    """Figures of every epoch up to the checkpoint at `uri`.

    Raises:
        CheckpointError: if they are absent or no list of figures.
    """
    history = read_json(uri, HISTORY)
    if not isinstance(history, list) or not history:
        raise CheckpointError(f"{storage.join(uri, HISTORY)} holds no figures of epochs")
    return history


def save(
    directory: Path,
    model: nn.Module,
    config: TrainConfig,
    points: Document,
    temperatures: temperature.Document,
    state: TrainingState,
    manifest: str | None = None,
    known: Reference | None = None,
    learns_from: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
) -> None:
    """Write a checkpoint's files into the local `directory`.

    `manifest` and `known` are as `Checkpoint` describes them; `learns_from` as `comit_ray.training.sources.Lessons`.
    """
    weights = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()})
    (directory / WEIGHTS).write_bytes(weights)
    (directory / CONFIG).write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    (directory / OPERATING_POINTS).write_bytes(operating_points.to_json(points))
    (directory / TEMPERATURES).write_bytes(temperature.to_json(temperatures))
    if known is not None:
        for name, data in zip(REFERENCE, reference.to_files(known), strict=True):
            (directory / name).write_bytes(data)
    (directory / METRICS).write_text(json.dumps(state.history[-1], indent=2) + "\n")
    (directory / HISTORY).write_text(json.dumps(state.history, indent=1) + "\n")
    environment = {
        "model_id": weights_id(weights),
        "config_digest": config.digest(),
        "manifest": manifest,
        **({} if learns_from is None else {reference.LEARNS_FROM: learns_from}),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "comit_ray": package_version("comit-ray"),
        **{name: package_version(name) for name in ("torch", "torchvision", "ray", "numpy", "pyarrow")},
    }
    (directory / ENVIRONMENT).write_text(json.dumps(environment, indent=2) + "\n")
    kept = {"model_id": weights_id(weights), "optimiser": state.optimiser, "random": state.random}
    torch.save(kept, directory / STATE)


def publish(directory: Path, uri: str) -> None:
    """Copy a checkpoint to `uri` in place of any that lies there, so that no reader finds half of one.

    Local: under a temporary name, then renamed; the old one comes back if that fails. S3 has no rename: the
    configuration, without which a checkpoint does not load, is deleted first and written last.

    Raises:
        StorageError: if it cannot be written.
    """
    uri = storage.normalise(uri)
    if storage.is_s3(uri):
        storage.delete(storage.join(uri, CONFIG))
        for name in FILES:
            if (directory / name).exists() or name not in YOUNGER:
                storage.write_bytes(storage.join(uri, name), (directory / name).read_bytes())
            else:
                storage.delete(storage.join(uri, name))  # of the checkpoint that was there
        return
    with local_files.replacing_directory(storage.normalise(uri)) as fresh:
        shutil.copytree(directory, fresh, dirs_exist_ok=True)
