"""A training run's directory: begun once, gone on with only by the same options on the same manifest.

STORAGE/NAME/manifest.json   the hash of the splits, labels and masks it trains on
STORAGE/NAME/config.yaml     the run's configuration
STORAGE/NAME/checkpoint_*    Ray Train's own: the best and the latest
STORAGE/NAME/best, last      the same as plain directories, written at the end
"""

import json
from typing import Any

import yaml

from comit_ray import storage
from comit_ray.errors import ConfigError
from comit_ray.train_config import TrainConfig

CONFIG, MANIFEST = "config.yaml", "manifest.json"
MAY_CHANGE = {"resume", "storage", "workers", "train.epochs", "max_failed_share"}
"""Options that a resumed run may have otherwise than it began."""


def record(run: str, config: TrainConfig, trained_on: str) -> None:
    """Begin the run at the URI `run`; `trained_on` is `comit_ray.data.manifest.training_hash` of its manifest."""
    storage.write_bytes(storage.join(run, MANIFEST), json.dumps({"training_hash": trained_on}).encode())
    storage.write_bytes(storage.join(run, CONFIG), yaml.safe_dump(config.model_dump(mode="json")).encode())


def goes_on(run: str, config: TrainConfig) -> bool:
    """Whether the run goes on, rather than begins.

    Raises:
        ConfigError: if a new run exists already, or an old one was begun with other options.
    """
    if not config.name or "/" in config.name or config.name.startswith("."):
        raise ConfigError(f"name: expected the name of a directory, got {config.name!r}")
    if config.train.batch_size < config.workers.most:
        raise ConfigError(
            f"train.batch_size: {config.train.batch_size} images cannot be shared by {config.workers.most} workers"
        )
    if not storage.exists(run):
        if config.resume:
            print(f"no run {config.name} at {config.storage} yet: beginning it")
        return False
    if not config.resume:
        raise ConfigError(f"the run {run} exists: give another --name, or --resume true to go on with it")
    recorded = storage.join(run, CONFIG)
    if not storage.exists(recorded):
        raise ConfigError(f"{run} is no run of this job ({recorded} is missing): give another --name")
    begun = TrainConfig.parse(yaml.safe_load(storage.read_bytes(recorded)), origin=recorded)
    old, new = _flat(begun.model_dump(mode="json")), _flat(config.model_dump(mode="json"))
    changed = [
        f"{key} was {old.get(key)}, is {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not MAY_CHANGE & {key, key.partition(".")[0]}
    ]
    if changed:
        raise ConfigError(
            f"the run {config.name} was begun with other options: {'; '.join(changed)}; use another --name"
        )
    return True


def check_manifest(run: str, trained_on: str) -> None:
    """Refuse another manifest than the run was begun on: with other splits it would learn from those it is tested on.

    Raises:
        ConfigError: if it is another.
    """
    recorded = storage.join(run, MANIFEST)
    if not storage.exists(recorded):
        print(f"{recorded} is missing: whether the manifest is the one this run was begun on cannot be checked")
        return
    begun = json.loads(storage.read_bytes(recorded))["training_hash"]
    if begun != trained_on:
        raise ConfigError(
            f"the run {run} was begun on another manifest (training hash {begun}, now {trained_on}): its splits, "
            "exclusions, labels or masks have changed; write the old one again, or give another --name"
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
