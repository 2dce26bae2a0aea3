"""A training run's directory: a run continues only with the same options and manifest.

STORAGE/NAME/manifest.json   the hash of the splits, labels and masks it trains on
STORAGE/NAME/config.yaml     the run's configuration
STORAGE/NAME/run.json        who trained on it, with which code and configuration
STORAGE/NAME/checkpoint_*    Ray Train's own: the best and the latest
STORAGE/NAME/tensorboard     event files, one an epoch
STORAGE/NAME/mlflow.json     the run's id in MLflow, where it is asked for
STORAGE/NAME/best, last      the best and the latest checkpoint as plain directories, written at the end
STORAGE/NAME/curves.png      learning curves, written at the end
STORAGE/NAME/stop            put there by others: the run ends after the epoch it is in
"""

import json

import yaml

from comit_ray.config import train_config
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import ConfigError
from comit_ray.storage import storage

CONFIG, MANIFEST, CURVES, STOP = train_config.FILE, "manifest.json", "curves.png", "stop"
MAY_CHANGE = {
    "resume",
    "storage",
    "workers",
    "speed",
    "frames",
    "frames_directory",
    "track",
    "train.epochs",
    "train.patience",
    "max_failed_share",
}
"""Options that a resumed run may have otherwise than it began; the epochs only while the learning rate is constant."""
SNAPSHOT = "checkpoint_manager_snapshot.json"  # Ray Train's list of whole checkpoints, written after each


def record(run: str, config: TrainConfig, trained_on: str) -> None:
    """Begin the run at the URI `run`; `trained_on` is `comit_ray.data.manifest.manifest.training_hash` of its manifest.

    Raises:
        ConfigError: if another job began a run of this name in the meantime.
    """
    if not storage.create(storage.join(run, CONFIG), yaml.safe_dump(config.model_dump(mode="json")).encode()):
        raise ConfigError(f"the run {run} was begun by another job just now: give another --name")
    storage.write_bytes(storage.join(run, MANIFEST), json.dumps({"training_hash": trained_on}).encode())


def goes_on(run: str, config: TrainConfig) -> bool:
    """Whether the run goes on, rather than begins.

    Raises:
        ConfigError: if a new run exists already, or an old one was begun with other options.
    """
    if not config.name or "/" in config.name or config.name.startswith("."):
        raise ConfigError(f"name: expected the name of a directory, got {config.name!r}")
    if not storage.exists(run) or next(iter(storage.list_files(run)), None) is None:  # killed before its first file
        if config.resume:
            print(f"no run {config.name} at {config.storage} yet: beginning it")
        return False
    if not config.resume:
        raise ConfigError(f"the run {run} exists: give another --name, or --resume true to go on with it")
    recorded = storage.join(run, CONFIG)
    if not storage.exists(recorded):
        raise ConfigError(f"{run} is no run of this job ({recorded} is missing): give another --name")
    if asked_to_stop(run):
        print(f"the run was asked to stop and does not train on; to go on, remove {storage.join(run, STOP)}")
    begun = TrainConfig.parse(yaml.safe_load(storage.read_bytes(recorded)), origin=recorded)
    old, new = begun.flat(), config.flat()
    fixed = {"train.epochs"} if config.train.schedule != "constant" else set()  # they set the rate of every step
    changed = [
        f"{key} was {old.get(key)}, is {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not (MAY_CHANGE - fixed) & {key, key.partition(".")[0]}
    ]
    if changed:
        raise ConfigError(
            f"the run {config.name} was begun with other options: {'; '.join(changed)}; use another --name"
        )
    return True


def has_checkpoint(run: str) -> bool:
    """Whether the run has a whole checkpoint to go on from."""
    return storage.exists(storage.join(run, SNAPSHOT))


def finished(run: str) -> bool:
    """Whether the run has ended: its last file is there."""
    return storage.exists(storage.join(run, CURVES))


def ask_to_stop(run: str) -> None:
    """Have the run end after the epoch it is in, as if that were its last."""
    storage.write_bytes(storage.join(run, STOP), b"")


def asked_to_stop(run: str) -> bool:
    """Whether the run is to end after the epoch it is in."""
    return storage.exists(storage.join(run, STOP))


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
