"""Reads the facts of a checkpoint without PyTorch: configuration, thresholds, temperatures, reference, model id.

`comit_ray.checkpoint.checkpoint` reads the same facts and the network too. A backend other than PyTorch, and the driver
of a screen, which computes nothing, need only the facts, and start some seconds faster without PyTorch.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import safetensors
import yaml

from comit_ray.checkpoint import frontal_check, operating_points, reference, temperature
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.checkpoint.reference import Reference
from comit_ray.config import train_config
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import CheckpointError, ConfigError, NotFoundError, StorageError
from comit_ray.storage import storage

WEIGHTS, METRICS, STATE = "weights.safetensors", "metrics.json", "state.pt"
CONFIG, OPERATING_POINTS, TEMPERATURES = train_config.FILE, operating_points.FILE, temperature.FILE
REFERENCE, ENVIRONMENT, HISTORY = reference.FILES, reference.ENVIRONMENT, reference.HISTORY
FRONTAL_CHECK = frontal_check.FILE
FILES = (
    *(STATE, METRICS, HISTORY, ENVIRONMENT, *REFERENCE, FRONTAL_CHECK, OPERATING_POINTS, TEMPERATURES, WEIGHTS, CONFIG),
)
"""Files in the order in which they are published. The configuration is last, because a checkpoint does not load without
it."""
NOT_IN_OLDER_VERSIONS = frozenset({TEMPERATURES, *REFERENCE, FRONTAL_CHECK})
"""Files that checkpoints of older versions do not have."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""What reads a configuration: libyaml takes an eighth of the time, where PyYAML has it."""
BELOW = ("best", "last")
"""Names of a training's checkpoints; users often give the directory of the run instead."""


@dataclass(frozen=True)
class CheckpointFacts:
    """The facts of a trained model, without its network.

    Attributes:
        config: configuration of its training.
        operating_points: name -> operating point.
        temperatures: score -> temperature; empty in checkpoints of versions without temperatures.
        model_id: 12 hex digits of the SHA-256 of the weights file; the id of an optimised model is longer
            (`comit_ray.inference.optimised`).
        manifest: `comit_ray.data.manifest.manifest.training_hash` of the training data; None if it was not recorded.
        reference: statistics of the training data; None in checkpoints of versions without a reference.
    """

    config: TrainConfig
    operating_points: dict[str, OperatingPoint]
    temperatures: temperature.Document
    model_id: str
    manifest: str | None
    reference: Reference | None = None


def read_facts(uri: str) -> tuple[CheckpointFacts, bytes]:
    """Reads the facts of the checkpoint at `uri`, and the bytes of its weights, whose hash is the model id.

    Raises:
        CheckpointError: it is missing or incomplete, or its files belong to different weights.
    """
    uri = storage.normalise(uri)
    config = read_config(uri)
    weights = read_file(uri, WEIGHTS)
    try:
        safetensors.deserialize(weights)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        origin = storage.join(uri, WEIGHTS)
        raise CheckpointError(f"{origin} is not a complete safetensors file ({len(weights)} bytes): {error}") from error
    environment = environment_of(uri, weights)
    try:
        points = operating_points.parse(read_file(uri, OPERATING_POINTS), origin=storage.join(uri, OPERATING_POINTS))
        temperatures = _read_temperatures(uri)
        known = _read_reference(uri)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    facts = CheckpointFacts(config, points, temperatures, environment["model_id"], environment.get("manifest"), known)
    return facts, weights


def read_file(uri: str, name: str) -> bytes:
    """Reads one file of a checkpoint.

    Raises:
        CheckpointError: the file is missing or cannot be read.
    """
    try:
        return storage.read_bytes(storage.join(uri, name))
    except NotFoundError:
        raise CheckpointError(_lacking(uri, name)) from None
    except StorageError as error:
        raise CheckpointError(f"checkpoint {uri}: {error}") from error


def _lacking(uri: str, name: str) -> str:
    """Says what is wrong with a directory that lacks a checkpoint's file, and where a checkpoint may be."""
    start = f"no complete checkpoint at {uri}"
    if not storage.is_s3(uri) and not storage.exists(uri):
        return f"{start}: there is no such directory"
    below = [storage.join(uri, child) for child in BELOW if storage.exists(storage.join(uri, child, WEIGHTS))]
    if below:
        return f"{start}, but there are checkpoints in it: give {' or '.join(below)}"
    lacking = [one for one in FILES if one not in NOT_IN_OLDER_VERSIONS and not storage.exists(storage.join(uri, one))]
    if len(lacking) > 1:
        return f"{start}: {', '.join(sorted(lacking))} are missing; expected the best/ or last/ directory of a training"
    return f"{start}: {name} is missing; copy the whole directory again"


def read_config(uri: str) -> TrainConfig:
    """Reads the resolved configuration of the training that wrote the checkpoint at `uri`, without its weights.

    Raises:
        CheckpointError: it is missing, or this version does not know its form.
    """
    data = read_file(uri, CONFIG)
    origin = storage.join(uri, CONFIG)
    try:
        return TrainConfig.parse(yaml.load(data, _LOADER), origin=origin)  # noqa: S506 a SafeLoader
    except yaml.YAMLError as error:
        raise CheckpointError(f"{origin} is not YAML: {' '.join(str(error).split())}") from error
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def _read_temperatures(uri: str) -> temperature.Document:
    """Reads the temperatures; a checkpoint of an older version has none."""
    origin = storage.join(uri, TEMPERATURES)
    return temperature.parse(read_file(uri, TEMPERATURES), origin=origin) if storage.exists(origin) else {}


def _read_reference(uri: str) -> Reference | None:
    """Reads the reference; None for a checkpoint of an older version."""
    facts, arrays = REFERENCE
    if not storage.exists(storage.join(uri, facts)):
        return None
    return reference.parse(read_file(uri, facts), read_file(uri, arrays), origin=storage.join(uri, facts))


def environment_of(uri: str, weights: bytes) -> dict[str, Any]:
    """Reads what a training recorded about its environment.

    Raises:
        CheckpointError: the record is missing, is not a JSON object, or belongs to other weights.
    """
    environment = read_json(uri, ENVIRONMENT)
    if not isinstance(environment, dict):
        raise CheckpointError(f"{storage.join(uri, ENVIRONMENT)}: expected a JSON object, got another value")
    stated = environment.get("model_id")
    if stated != weights_id(weights):
        raise CheckpointError(
            f"{uri}: its weights are {weights_id(weights)}, but its other files belong to {stated}: copy it again"
        )
    return environment


def weights_id(weights: bytes) -> str:
    """Returns 12 hex digits of the SHA-256 of the weights."""
    return hashlib.sha256(weights).hexdigest()[:12]


def read_json(uri: str, name: str) -> Any:
    """Reads a JSON file of a checkpoint.

    Raises:
        CheckpointError: the file is missing or is not JSON.
    """
    try:
        return json.loads(read_file(uri, name))
    except ValueError as error:
        raise CheckpointError(f"{storage.join(uri, name)} is not JSON: {error}") from error
