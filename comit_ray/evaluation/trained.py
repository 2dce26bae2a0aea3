"""What the checkpoint of a screen says of its training, read as data; its weights are not loaded."""

import json
from dataclasses import dataclass
from typing import Any

import yaml

from comit_ray.chunks import run_record
from comit_ray.errors import NotFoundError, StorageError
from comit_ray.storage import storage


@dataclass(frozen=True)
class Trained:
    """What is known of a training; empty where it is not.

    Args:
        checkpoint: its URI; None: the results do not say.
        config: as in its `config.yaml`.
        environment: as in its `environment.json`.
        facts: as in its `reference.json`.
        epochs: that were trained.
        reason: why nothing of it is known; None: it is.
    """

    checkpoint: str | None = None
    config: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None
    facts: dict[str, Any] | None = None
    epochs: int | None = None
    reason: str | None = None


def read(results: str | None) -> Trained:
    """What the checkpoint that `results` were screened with says; a checkpoint that is gone is no error."""
    if results is None:
        return Trained(reason="a bare predictions table does not name its checkpoint")
    try:
        record = run_record.read(results)
    except (NotFoundError, StorageError) as error:
        return Trained(reason=f"the results have no run.json that tells: {error}")
    settings, question = record.get("settings"), record["question"]
    uri = settings.get("checkpoint") if isinstance(settings, dict) else None
    if not isinstance(uri, str):
        return Trained(reason="the results' run.json names no checkpoint")
    try:
        config, environment = _part(uri, "config.yaml"), _part(uri, "environment.json")
        if environment.get("model_id") != question.get("model_id"):
            return Trained(uri, reason=f"{uri} is not the checkpoint of these results any more")
        return Trained(uri, config, environment, _facts(uri), len(_history(uri)))
    except (StorageError, ValueError, yaml.YAMLError) as error:
        return Trained(uri, reason=f"the checkpoint cannot be read now: {error}")


def _part(uri: str, name: str) -> dict[str, Any]:
    found = yaml.safe_load(storage.read_bytes(storage.join(storage.normalise(uri), name)))  # YAML has JSON in it
    if not isinstance(found, dict):
        raise ValueError(f"{name} holds no mapping")
    return found


def _facts(uri: str) -> dict[str, Any] | None:
    try:
        return _part(uri, "reference.json")
    except NotFoundError:
        return None


def _history(uri: str) -> list[Any]:
    found = json.loads(storage.read_bytes(storage.join(storage.normalise(uri), "history.json")))
    return found if isinstance(found, list) else []
