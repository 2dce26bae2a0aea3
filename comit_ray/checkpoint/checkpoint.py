"""Writes and reads checkpoints: plain files that are loaded without running code.

    weights.safetensors     the network
    config.yaml             the resolved configuration of the training
    operating_points.json   thresholds chosen on the validation split (comit_ray.checkpoint.operating_points)
    temperatures.json       divisors of the log-odds, fitted on the validation split
                            (comit_ray.checkpoint.temperature); applied only on request
    reference.json, reference.safetensors
                            statistics of the training data (comit_ray.checkpoint.reference), to detect drift
    frontal_check.json      tells frontal chests from other pictures (comit_ray.checkpoint.frontal_check)
    metrics.json            metrics of the epoch
    history.json            metrics of every epoch up to this one
    environment.json        versions, and the hashes of the manifest and of the weights that the files belong to
    state.pt                optimiser, epoch and random states, to continue the training

`load` reads a whole checkpoint, `save` writes one, and `publish` copies one to its place.
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
    NOT_IN_OLDER_VERSIONS,
    OPERATING_POINTS,
    REFERENCE,
    STATE,
    TEMPERATURES,
    WEIGHTS,
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
    """A trained model with its facts.

    Attributes:
        model: the network, on the CPU, in evaluation mode.
    """

    model: nn.Module = field(kw_only=True)


@dataclass(frozen=True)
class TrainingState:
    """What a training needs to continue.

    Attributes:
        history: metrics of each epoch that led to these weights.
        optimiser: state dict of the optimiser.
        random: torch's random states of each worker: the host's and, on a GPU, the GPU's.
    """

    history: list[dict[str, Any]]
    optimiser: dict[str, Any]
    random: list[list[torch.Tensor]]


def load(uri: str) -> Checkpoint:
    """Loads the checkpoint at `uri`.

    Raises:
        CheckpointError: it is missing, incomplete or truncated, or its weights do not fit its configuration.
    """
    facts, weights = read_facts(uri)
    model = build_model(facts.config.model)
    load_weights(model, weights, storage.join(storage.normalise(uri), WEIGHTS))
    return Checkpoint(**vars(facts), model=model.eval())


def load_weights(model: nn.Module, data: bytes, origin: str) -> None:
    """Loads every entry of a safetensors file's bytes into `model`.

    Raises:
        CheckpointError: the bytes are not a safetensors file, or belong to another model.
    """
    try:
        weights = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{origin} is not a complete safetensors file ({len(data)} bytes): {error}") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        problems = " ".join(str(error).split())
        raise CheckpointError(f"{origin} does not fit its {CONFIG}: {problems[:500]}") from error


def load_state(uri: str, model: nn.Module) -> TrainingState:
    """Loads the weights at `uri` into `model`, and returns the state from which the training continues.

    Raises:
        CheckpointError: files are missing or truncated, belong to another model, or do not belong to one checkpoint.
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
    except Exception as error:  # on a damaged file, torch.load may raise any error
        raise CheckpointError(f"{uri}: {STATE} is not a complete training state: {type(error).__name__}") from error
    if stated != weights_id(weights):
        raise CheckpointError(
            f"{uri}: expected the {STATE} of its weights {weights_id(weights)}, got that of {stated}: copy it again"
        )
    return found


def load_history(uri: str) -> list[dict[str, Any]]:
    """Reads the metrics of every epoch up to the checkpoint at `uri`.

    Raises:
        CheckpointError: the file is missing or is not a list of metrics.
    """
    history = read_json(uri, HISTORY)
    if not isinstance(history, list) or not history:
        raise CheckpointError(f"{storage.join(uri, HISTORY)}: expected a list of metrics of epochs, got none")
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
    """Writes a checkpoint's files into the local `directory`.

    Args:
        directory: local directory.
        model: the network.
        config: resolved configuration of the training.
        points: operating points.
        temperatures: temperatures of the scores.
        state: state from which the training can continue.
        manifest: training hash of the manifest; None: not recorded.
        known: statistics of the training data; None: no reference is written.
        learns_from: see `comit_ray.training.sources.Lessons`; None: not recorded.
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
    """Copies a checkpoint to `uri` and replaces any that is there, so that no reader finds half a checkpoint.

    On a local disk, the copy gets a temporary name and is then renamed; the old checkpoint comes back if that fails. S3
    has no rename. There the configuration is deleted first and written last, because a checkpoint does not load without
    it.

    Raises:
        StorageError: the checkpoint cannot be written.
    """
    uri = storage.normalise(uri)
    if storage.is_s3(uri):
        storage.delete(storage.join(uri, CONFIG))
        for name in FILES:
            if (directory / name).exists() or name not in NOT_IN_OLDER_VERSIONS:
                storage.write_bytes(storage.join(uri, name), (directory / name).read_bytes())
            else:
                storage.delete(storage.join(uri, name))  # may be left from the earlier checkpoint
        return
    with local_files.replacing_directory(storage.normalise(uri)) as fresh:
        shutil.copytree(directory, fresh, dirs_exist_ok=True)
