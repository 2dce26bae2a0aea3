"""The one question an output belongs to: what decides its numbers, written to `run.json` before any result."""

import json
from datetime import UTC, datetime
from typing import Any

from comit_ray import operating_points, storage
from comit_ray.config import ScreenConfig
from comit_ray.errors import ConfigError, NotFoundError, StorageError
from comit_ray.operating_points import OperatingPoint
from comit_ray.schema import Task
from comit_ray.screening.plan import Plan
from comit_ray.training.checkpoint import Checkpoint

FILE = "run.json"


def choose_operating_point(config: ScreenConfig, checkpoint: Checkpoint) -> OperatingPoint:
    """The operating point that is asked for, from the site's file or else from the checkpoint.

    Raises:
        ConfigError: there is none of that name (lists those there are), or it has no threshold for COVID-19 (for the
            unhealthy, if the model has no such head). Another head without threshold has null flags.
    """
    origin = config.operating_points or config.checkpoint
    points = operating_points.read(origin) if config.operating_points else checkpoint.operating_points
    point = points.get(config.operating_point)
    if point is None:
        raise ConfigError(
            f"no operating point {config.operating_point!r} in {origin}; known: {', '.join(sorted(points)) or 'none'}"
        )
    if Task.COVID in checkpoint.config.model.tasks:
        point.threshold("covid")  # raises, with the reason, where validation data gave none
    elif Task.HEALTH in checkpoint.config.model.tasks:
        point.threshold("unhealthy")
    return point


def recorded_operating_point(output: str) -> OperatingPoint:
    """The operating point that decided the flags of the results in `output`.

    Raises:
        NotFoundError: there is no `run.json`.
        StorageError: it is not one of ours.
    """
    uri = storage.join(output, FILE)
    try:
        point = json.loads(storage.read_bytes(uri))["question"]["operating_point"]
        return OperatingPoint(str(point["name"]), {str(k): float(v) for k, v in point["thresholds"].items()})
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{uri} is not the {FILE} of a screening run: {error!r}") from error


def of(config: ScreenConfig, checkpoint: Checkpoint, plan: Plan, operating_point: OperatingPoint) -> dict[str, Any]:
    """Everything that decides the numbers of a run."""
    return {
        "manifest": plan.fingerprint,
        "split": config.split,
        "model_id": checkpoint.model_id,
        "frame": checkpoint.config.frame.model_dump(),
        "operating_point": {"name": operating_point.name, "thresholds": operating_point.thresholds},
        "decode": config.decode.model_dump(),
        "embeddings": config.embeddings,
    }


def open_run(output: str, question: dict[str, Any], settings: dict[str, Any]) -> str:
    """The id of the run in `output`: begins one, or goes on with the one that asks the same question.

    Args:
        output: URI of the results directory.
        question: what decides the numbers: manifest, model, frame, operating point and thresholds, bounds.
        settings: everything else that was asked, for the record.

    Raises:
        ConfigError: the directory holds the answers to another question; says which parts differ.
    """
    uri = storage.join(output, FILE)
    question = json.loads(json.dumps(question))  # as it will be read back
    try:
        text = storage.read_bytes(uri)
    except NotFoundError:
        if storage.exists(storage.join(output, "predictions")):
            raise ConfigError(
                f"{output} holds predictions but no {FILE}: it is not known what they answer; "
                "choose another --output, or remove that directory"
            ) from None
        run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        record = {"run_id": run_id, "question": question, "settings": settings}
        storage.write_bytes(uri, json.dumps(record, indent=2).encode())
        return run_id
    try:
        record = json.loads(text)
        asked, run_id = record["question"], str(record["run_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{uri} is not the {FILE} of a screening run: {error!r}") from error
    differing = sorted(key for key in {*asked, *question} if asked.get(key) != question.get(key))
    if differing:
        changes = "; ".join(f"{key} was {asked.get(key)!r}, now {question.get(key)!r}" for key in differing)
        raise ConfigError(f"{output} belongs to another question ({changes}): choose another --output")
    return run_id
