"""What a checkpoint says of its model, read without PyTorch: configuration, thresholds, temperatures, reference, id.

`comit_ray.checkpoint.checkpoint` reads the same and the network too. Who asks a model through another library, and the
driver of a screen, which computes nothing, need no more than this, and start some seconds earlier.
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
"""In the order in which they are published: without its configuration, the last, a checkpoint does not load."""
YOUNGER = frozenset({TEMPERATURES, *REFERENCE, FRONTAL_CHECK})
"""Files that an older checkpoint does not have."""
BELOW = ("best", "last")
"""What a training calls its checkpoints: a run's directory is easily given in place of them."""


@dataclass(frozen=True)
class CheckpointFacts:
    """What belongs to a trained model, without its network.

    Attributes:
        config: its training's.
        operating_points: by name.
        temperatures: by score; empty in a checkpoint from before there were any.
        model_id: 12 hex digits of the weights file's SHA-256; of an optimised model more follows
            (`comit_ray.inference.optimised`).
        manifest: `comit_ray.data.manifest.manifest.training_hash` of what it was trained on; None where it was not
            recorded.
        reference: of the data it was trained on; None in a checkpoint from before there was any.
    """

    config: TrainConfig
    operating_points: dict[str, OperatingPoint]
    temperatures: temperature.Document
    model_id: str
    manifest: str | None
    reference: Reference | None = None


def read_facts(uri: str) -> tuple[CheckpointFacts, bytes]:
    """The facts of the checkpoint at `uri`, and the bytes of its weights, whose hash is the model's id.

    Raises:
        CheckpointError: it is absent, incomplete, or its files belong to different weights.
    """
    uri = storage.normalise(uri)
    config = read_config(uri)
    weights = read_file(uri, WEIGHTS)
    try:
        safetensors.deserialize(weights)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        origin = storage.join(uri, WEIGHTS)
        raise CheckpointError(f"{origin} is not a whole safetensors file ({len(weights)} bytes): {error}") from error
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
    """The bytes of a checkpoint's file.

    Raises:
        CheckpointError: it is absent or cannot be read.
    """
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
    data = read_file(uri, CONFIG)
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
    return temperature.parse(read_file(uri, TEMPERATURES), origin=origin) if storage.exists(origin) else {}


def _read_reference(uri: str) -> Reference | None:
    """None of an older checkpoint, which has none."""
    facts, arrays = REFERENCE
    if not storage.exists(storage.join(uri, facts)):
        return None
    return reference.parse(read_file(uri, facts), read_file(uri, arrays), origin=storage.join(uri, facts))


def environment_of(uri: str, weights: bytes) -> dict[str, Any]:
    """What a training wrote of where it ran.

    Raises:
        CheckpointError: it belongs to other weights.
    """
    environment = read_json(uri, ENVIRONMENT)
    if not isinstance(environment, dict):
        raise CheckpointError(f"{storage.join(uri, ENVIRONMENT)} holds no JSON object")
    stated = environment.get("model_id")
    if stated != weights_id(weights):
        raise CheckpointError(
            f"{uri}: its weights are {weights_id(weights)}, its other files belong to {stated}: copy it again"
        )
    return environment


def weights_id(weights: bytes) -> str:
    """12 hex digits of their SHA-256."""
    return hashlib.sha256(weights).hexdigest()[:12]


def read_json(uri: str, name: str) -> Any:
    """What a checkpoint's JSON file holds.

    Raises:
        CheckpointError: it is absent or no JSON.
    """
    try:
        return json.loads(read_file(uri, name))
    except ValueError as error:
        raise CheckpointError(f"{storage.join(uri, name)} is not JSON: {error}") from error
