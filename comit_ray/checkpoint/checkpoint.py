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

import hashlib
import io
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import yaml
from torch import nn

from comit_ray.checkpoint import frontal_check, operating_points, reference, temperature
from comit_ray.checkpoint.operating_points import Document, OperatingPoint
from comit_ray.checkpoint.reference import Reference
from comit_ray.chunks.run_record import package_version
from comit_ray.config import train_config
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import CheckpointError, ConfigError, NotFoundError, StorageError
from comit_ray.models.registry import build_model
from comit_ray.storage import local_files, storage

WEIGHTS, METRICS, STATE = "weights.safetensors", "metrics.json", "state.pt"
CONFIG, OPERATING_POINTS, TEMPERATURES = train_config.FILE, operating_points.FILE, temperature.FILE
REFERENCE, ENVIRONMENT, HISTORY = reference.FILES, reference.ENVIRONMENT, reference.HISTORY
FRONTAL_CHECK = frontal_check.FILE
FILES = (
    *(STATE, METRICS, HISTORY, ENVIRONMENT, *REFERENCE, FRONTAL_CHECK, OPERATING_POINTS, TEMPERATURES, WEIGHTS, CONFIG),
)
"""In the order in which they are published: without its configuration, the last, a checkpoint does not load."""
YOUNGER = frozenset({TEMPERATURES, *REFERENCE, FRONTAL_CHECK})
"""Files that an older checkpoint does not have."""
BELOW = ("best", "last")
"""What a training calls its checkpoints: a run's directory is easily given in place of them."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and what belongs to it.

    Attributes:
        model: on the CPU, in evaluation mode.
        config: its training's.
        operating_points: by name.
        temperatures: by score; empty in a checkpoint from before there were any.
        model_id: 12 hex digits of the weights file's SHA-256.
        manifest: `comit_ray.data.manifest.manifest.training_hash` of what it was trained on; None where it was not
            recorded.
        reference: of the data it was trained on; None in a checkpoint from before there was any.
    """

    model: nn.Module
    config: TrainConfig
    operating_points: dict[str, OperatingPoint]
    temperatures: temperature.Document
    model_id: str
    manifest: str | None
    reference: Reference | None = None


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
    uri = storage.normalise(uri)
    config = read_config(uri)
    weights = _read(uri, WEIGHTS)
    model = build_model(config.model)
    load_weights(model, weights, storage.join(uri, WEIGHTS))
    environment = _environment(uri, weights)
    try:
        points = operating_points.parse(_read(uri, OPERATING_POINTS), origin=storage.join(uri, OPERATING_POINTS))
        temperatures = _read_temperatures(uri)
        known = _read_reference(uri)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    model_id, manifest = environment["model_id"], environment.get("manifest")
    return Checkpoint(model.eval(), config, points, temperatures, model_id, manifest, known)


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
    weights = _read(uri, WEIGHTS)
    load_weights(model, weights, storage.join(uri, WEIGHTS))
    _environment(uri, weights)
    history = load_history(uri)
    data = _read(uri, STATE)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        stated, found = state["model_id"], TrainingState(history, state["optimiser"], state["random"])
    except Exception as error:  # torch.load raises whatever the broken file makes it stumble on
        raise CheckpointError(f"{uri}: {STATE} is not a whole training state: {type(error).__name__}") from error
    if stated != _model_id(weights):
        raise CheckpointError(f"{uri}: its weights are {_model_id(weights)}, its {STATE} belongs to {stated}")
    return found


def load_history(uri: str) -> list[dict[str, Any]]:
    """Figures of every epoch up to the checkpoint at `uri`.

    Raises:
        CheckpointError: if they are absent or no list of figures.
    """
    history = _read_json(uri, HISTORY)
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
        "model_id": _model_id(weights),
        "config_digest": config.digest(),
        "manifest": manifest,
        **({} if learns_from is None else {reference.LEARNS_FROM: learns_from}),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "comit_ray": package_version("comit-ray"),
        **{name: package_version(name) for name in ("torch", "torchvision", "ray", "numpy", "pyarrow")},
    }
    (directory / ENVIRONMENT).write_text(json.dumps(environment, indent=2) + "\n")
    kept = {"model_id": _model_id(weights), "optimiser": state.optimiser, "random": state.random}
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


def _read(uri: str, name: str) -> bytes:
    try:
        return storage.read_bytes(storage.join(uri, name))
    except NotFoundError:
        raise CheckpointError(_lacking(uri, name)) from None
    except StorageError as error:
        raise CheckpointError(f"checkpoint {uri}: {error}") from error


def _lacking(uri: str, name: str) -> str:
    """What is wrong with a place that lacks a checkpoint's file, and where one may be meant."""
    start = f"no whole checkpoint at {uri}"
    if not storage.is_s3(uri) and not storage.exists(uri):
        return f"{start}: there is no such directory"
    below = [storage.join(uri, child) for child in BELOW if storage.exists(storage.join(uri, child, WEIGHTS))]
    if below:
        return f"{start}, but there are some in it: give {' or '.join(below)}"
    lacking = [one for one in FILES if one not in YOUNGER and not storage.exists(storage.join(uri, one))]
    if len(lacking) > 1:
        return f"{start}: {', '.join(sorted(lacking))} are missing; expected what a training wrote as best/ or last/"
    return f"{start}: {name} is missing; copy the whole directory again"


def read_config(uri: str) -> TrainConfig:
    """The resolved configuration of the training that wrote the checkpoint at `uri`; its weights are not read.

    Raises:
        CheckpointError: it is absent, or none that this version knows.
    """
    data = _read(uri, CONFIG)
    origin = storage.join(uri, CONFIG)
    try:
        return TrainConfig.parse(yaml.safe_load(data), origin=origin)
    except yaml.YAMLError as error:
        raise CheckpointError(f"{origin} is not YAML: {' '.join(str(error).split())}") from error
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def _read_temperatures(uri: str) -> temperature.Document:
    """Those of an older checkpoint, which has none, are empty."""
    origin = storage.join(uri, TEMPERATURES)
    return temperature.parse(_read(uri, TEMPERATURES), origin=origin) if storage.exists(origin) else {}


def _read_reference(uri: str) -> Reference | None:
    """None of an older checkpoint, which has none."""
    facts, arrays = REFERENCE
    if not storage.exists(storage.join(uri, facts)):
        return None
    return reference.parse(_read(uri, facts), _read(uri, arrays), origin=storage.join(uri, facts))


def _environment(uri: str, weights: bytes) -> dict[str, Any]:
    environment = _read_json(uri, ENVIRONMENT)
    if not isinstance(environment, dict):
        raise CheckpointError(f"{storage.join(uri, ENVIRONMENT)} holds no JSON object")
    stated = environment.get("model_id")
    if stated != _model_id(weights):
        raise CheckpointError(
            f"{uri}: its weights are {_model_id(weights)}, its other files belong to {stated}: copy it again"
        )
    return environment


def _model_id(weights: bytes) -> str:
    return hashlib.sha256(weights).hexdigest()[:12]


def _read_json(uri: str, name: str) -> Any:
    try:
        return json.loads(_read(uri, name))
    except ValueError as error:
        raise CheckpointError(f"{storage.join(uri, name)} is not JSON: {error}") from error
