"""The manifest a study is scored on: that of its training data and no other."""

from comit_ray.chunks import run_record
from comit_ray.config.sweep_config import SweepConfig
from comit_ray.data.manifest import manifest
from comit_ray.errors import ConfigError
from comit_ray.prepare import prepared
from comit_ray.storage import storage


def find(config: SweepConfig) -> tuple[str, str]:
    """URI of the manifest, and its training hash (`comit_ray.data.manifest.manifest.training_hash`).

    Raises:
        ConfigError: its splits or labels are not those of the training data: a patient of its test split may have been
            trained on.
        ManifestError: it is not a whole manifest, or the training table is not whole.
        StorageError: it cannot be read.
    """
    data = storage.normalise(config.data)
    table = prepared.open_prepared(data)
    if config.manifest is not None:
        uri = storage.normalise(config.manifest)
    elif table is None:
        uri = data
    else:
        uri = storage.normalise(run_record.read(data)["settings"]["manifest"])
        if not storage.exists(uri):
            raise ConfigError(f"{data} was prepared from {uri}, which is not there: give --manifest")
    found = manifest.training_hash(manifest.read(uri))
    trained_on = table.training_hash if table else manifest.training_hash(manifest.read(data))
    if found != trained_on:
        raise ConfigError(
            f"the manifest {uri} is not that of the training data {data} (training hash {found}, expected "
            f"{trained_on}): its splits, exclusions, labels or masks differ, so that its test split may have been "
            "trained on"
        )
    return uri, found
