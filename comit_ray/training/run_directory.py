"""A training run's directory: a run continues only with the same options and manifest.

    STORAGE/NAME/manifest.json   hash of the splits, labels and masks that it trains on
    STORAGE/NAME/config.yaml     configuration of the run
    STORAGE/NAME/run.json        who trained on it, with which code and configuration
    STORAGE/NAME/checkpoint_*    Ray Train's own checkpoints: the best and the latest
    STORAGE/NAME/tensorboard     event files, one per epoch
    STORAGE/NAME/mlflow.json     the run's id in MLflow, if MLflow is used
    STORAGE/NAME/best, last      best and latest checkpoint as plain directories, written at the end
    STORAGE/NAME/curves.png      learning curves, written at the end
    STORAGE/NAME/stop            other processes create it: the run ends after its current epoch

The functions below start, check and stop a run by these files.
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
"""Options that a resumed run may change; the number of epochs only if the learning rate is constant."""
SNAPSHOT = "checkpoint_manager_snapshot.json"  # Ray Train's list of complete checkpoints, written after each


def record(run: str, config: TrainConfig, trained_on: str) -> None:
    """Starts the run at the URI `run`: writes its configuration and the hash of its manifest.

    Args:
        run: URI of STORAGE/NAME.
        config: options of the training.
        trained_on: `comit_ray.data.manifest.manifest.training_hash` of its manifest.

    Raises:
        ConfigError: another job has started a run of this name in the meantime.
    """
    if not storage.create(storage.join(run, CONFIG), yaml.safe_dump(config.model_dump(mode="json")).encode()):
        raise ConfigError(f"another job has just started the run {run}: give another --name")
    storage.write_bytes(storage.join(run, MANIFEST), json.dumps({"training_hash": trained_on}).encode())


def goes_on(run: str, config: TrainConfig) -> bool:
    """Whether the run continues an earlier one; False if it is new.

    Raises:
        ConfigError: the name is invalid, a new run exists already, or an old one was started with other options.
    """
    if not config.name or "/" in config.name or config.name.startswith("."):
        raise ConfigError(f"name: expected the name of a directory, got {config.name!r}")
    if (
        not storage.exists(run) or next(iter(storage.list_files(run)), None) is None
    ):  # may be killed before its first file
        if config.resume:
            print(f"there is no run {config.name} at {config.storage} yet: starting it")
        return False
    if not config.resume:
        raise ConfigError(f"the run {run} exists: give another --name, or --resume true to continue it")
    recorded = storage.join(run, CONFIG)
    if not storage.exists(recorded):
        raise ConfigError(f"{run} is not a run of this job ({recorded} is missing): give another --name")
    if asked_to_stop(run):
        print(f"the run was asked to stop and does not continue; to continue it, remove {storage.join(run, STOP)}")
    begun = TrainConfig.parse(yaml.safe_load(storage.read_bytes(recorded)), origin=recorded)
    old, new = begun.flat(), config.flat()
    fixed = {"train.epochs"} if config.train.schedule != "constant" else set()  # epochs set the rate of each step
    changed = [
        f"{key} was {old.get(key)}, now {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not (MAY_CHANGE - fixed) & {key, key.partition(".")[0]}
    ]
    if changed:
        raise ConfigError(
            f"the run {config.name} was started with other options: {'; '.join(changed)}; give another --name"
        )
    return True


def has_checkpoint(run: str) -> bool:
    """Whether the run has a complete checkpoint to continue from."""
    return storage.exists(storage.join(run, SNAPSHOT))


def finished(run: str) -> bool:
    """Whether the run has ended: its last file exists."""
    return storage.exists(storage.join(run, CURVES))


def ask_to_stop(run: str) -> None:
    """Asks the run to end after its current epoch, as if that were its last."""
    storage.write_bytes(storage.join(run, STOP), b"")


def asked_to_stop(run: str) -> bool:
    """Whether the run was asked to end after its current epoch."""
    return storage.exists(storage.join(run, STOP))


def check_manifest(run: str, trained_on: str) -> None:
    """Refuses another manifest than the run was started on, because with other splits it would learn from test images.

    Raises:
        ConfigError: the manifest is another one.
    """
    recorded = storage.join(run, MANIFEST)
    if not storage.exists(recorded):
        print(f"{recorded} is missing: the manifest cannot be compared with that of the start of this run")
        return
    begun = json.loads(storage.read_bytes(recorded))["training_hash"]
    if begun != trained_on:
        raise ConfigError(
            f"the run {run} was started on another manifest (training hash {begun}, now {trained_on}): its splits, "
            "exclusions, labels or masks have changed; restore the old manifest, or give another --name"
        )
