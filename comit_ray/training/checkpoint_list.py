"""Ray Train's list of a run's checkpoints, made again from the checkpoints if a kill or a crash tore it.

Ray Train writes the list in place after each epoch. A process that is killed in the middle leaves half of it, and Ray
Train cannot continue from that. Each checkpoint is written before the list that names it, and an old one is removed
after the list that leaves it out. So all checkpoints that the torn list would have named are there.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from comit_ray.checkpoint import checkpoint
from comit_ray.checkpoint.checkpoint_facts import read_json
from comit_ray.chunks.run_record import package_version
from comit_ray.errors import CheckpointError, ConfigError
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import counted
from comit_ray.training.run_directory import SNAPSHOT

NAME = re.compile(r"checkpoint_\d{4,}")
LOSS = "val_loss"


def mend(run: str) -> None:
    """Writes the list of the run's checkpoints anew if there is one that is no complete JSON object.

    The list then has the latest complete checkpoint and the one with the lowest validation loss.

    Args:
        run: URI of STORAGE/NAME.

    Raises:
        ConfigError: the list is torn, and no checkpoint is complete.
        StorageError: a file cannot be read or written.
    """
    uri = storage.join(run, SNAPSHOT)
    if not storage.exists(uri) or _whole(storage.read_bytes(uri)):
        return
    problems: list[str] = []
    found = dict(_complete(run, problems))
    if not found:
        told = f": {'; '.join(problems)}" if problems else ""
        raise ConfigError(
            f"{uri}, the list of this run's checkpoints, is torn, and the run has no complete checkpoint{told}; give "
            "another --name"
        )
    storage.write_bytes(uri, json.dumps(_listed(found)).encode())
    print(
        f"{uri} was torn; it was made again from {counted(len(found), 'complete checkpoint')}, the latest "
        f"{max(found, key=_epoch)}" + "".join(f"\nnot used: {problem}" for problem in problems),
        flush=True,
    )


def _whole(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:  # a UnicodeDecodeError is one too
        return False


def _complete(run: str, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields name and metrics of each complete checkpoint, from the earliest to the latest."""
    names = {entry.path.partition("/")[0] for entry in storage.list_files(run)}
    for name in sorted(filter(NAME.fullmatch, names), key=_epoch):
        uri = storage.join(run, name)
        try:
            checkpoint.load_state(uri, checkpoint.load(uri).model)
            metrics = read_json(uri, checkpoint.METRICS)
            if not isinstance(metrics, dict) or not isinstance(metrics.get(LOSS), float):
                raise CheckpointError(f"{storage.join(uri, checkpoint.METRICS)}: expected metrics with {LOSS}")
        except CheckpointError as error:
            problems.append(str(error))
        else:
            yield name, metrics


def _listed(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The list as Ray Train 2 writes it: checkpoints from the worst to the best, and the latest one.

    Args:
        found: name -> metrics of complete checkpoints.
    """

    def worth(name: str) -> tuple[bool, float, int]:  # of equal losses, Ray Train prefers the later one
        loss = found[name][LOSS]
        return not math.isnan(loss), -loss, _epoch(name)

    latest, best = max(found, key=_epoch), max(found, key=worth)
    order = [best] if best == latest else [latest, best]
    states = {name: {"version": 0, "checkpoint_dir_name": name, "metrics": found[name]} for name in order}
    return {
        "ray_version": package_version("ray"),
        "checkpoint_results": [states[name] for name in order],
        "checkpoint_report_indices": [_epoch(name) - 1 for name in order],
        "latest_checkpoint_result": states[latest],
        "pending_training_results": [],
        "pending_validation_specs": [],
        "current_report_index": _epoch(latest),
        "validated_checkpoint_dir_names": [],
        "timed_out_validation_checkpoint_dir_names": [],
        "failed_validation_checkpoint_dir_names": [],
    }


def _epoch(name: str) -> int:
    return int(name.rpartition("_")[2])
