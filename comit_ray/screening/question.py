"""The question of a screen: what decides its numbers, as `comit_ray.work.run_record` records it."""

from typing import Any

from comit_ray import operating_points
from comit_ray.config import ScreenConfig
from comit_ray.errors import ConfigError, StorageError
from comit_ray.operating_points import OperatingPoint
from comit_ray.schema import Task
from comit_ray.training.checkpoint import Checkpoint
from comit_ray.work import run_record
from comit_ray.work.plan import Plan


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
    try:
        point = run_record.read(output)["question"]["operating_point"]
        return OperatingPoint(str(point["name"]), {str(k): float(v) for k, v in point["thresholds"].items()})
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"the {run_record.FILE} of {output} is not that of a screening run: {error!r}") from error


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
