"""A study's directory: settings, and one row per trial that commits all its results.

STUDY/run.json                     settings: study, split, manifest, and every planned trial
STUDY/trials/<trial>.parquet       one row (comit_ray.tables.schema.TRIALS), written last
STUDY/predictions/<trial>.parquet  the scored split's rows (comit_ray.tables.schema.STUDY_PREDICTIONS)
STUDY/results/<trial>/             the trial's screen: predictions/, masks/, ...
STUDY/runs/<trial>/                the trial's training
STUDY/attempts/<trial>/<n>.json    time at which an attempt began

A study is scored only on the manifest of its training data.
"""

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.chunks import run_record
from comit_ray.config.sweep_config import StudyConfig, SweepConfig
from comit_ray.data.manifest import manifest
from comit_ray.errors import ConfigError, NotFoundError
from comit_ray.prepare import prepared
from comit_ray.screening.screen_tables import read_predictions
from comit_ray.storage import storage
from comit_ray.sweep.study import PlannedTrial
from comit_ray.tables import parquet
from comit_ray.tables.schema import STUDY_PREDICTIONS, TRIALS

TRIALS_TABLE, PREDICTIONS, RESULTS, RUNS, ATTEMPTS = "trials", "predictions", "results", "runs", "attempts"
OK, STOPPED, FAILED = "ok", "stopped", "failed"


def directory(config: SweepConfig) -> str:
    """Returns the URI of the study's directory.

    Raises:
        ConfigError: the name cannot be the name of a directory.
    """
    if not config.name or "/" in config.name or config.name.startswith("."):
        raise ConfigError(f"name: expected the name of a directory, got {config.name!r}")
    return storage.join(storage.normalise(config.storage), config.name)


def study_settings(
    name: str, study: StudyConfig, data: str, manifest: str, training_hash: str, trials: list[PlannedTrial]
) -> dict[str, Any]:
    """Returns the settings of a study; a later sweep with other settings is refused.

    Args:
        name: name of the study.
        study: the study, as read.
        data: URI of the training data; a training that has begun continues only with the same data.
        manifest: fingerprint of the manifest (`comit_ray.chunks.plan.Plan`).
        training_hash: hash of the training data (`comit_ray.data.manifest.manifest.training_hash`).
        trials: all planned trials.
    """
    members = [member for trial in trials for member in trial.members]
    return {
        "kind": "sweep",
        "study": name,
        "split": study.split,
        "search": study.search.model_dump(mode="json", exclude={"draw"}) if study.search else None,
        "embeddings": list(study.embeddings),
        "gradcam": list(study.gradcam),
        "data": data,
        "manifest": manifest,
        "training_hash": training_hash,
        "trials": [{"trial": one.id, "variant": one.variant, "seed": one.seed} for one in members],
    }


def open_study(uri: str, asked: dict[str, Any], settings: dict[str, Any], resume: bool) -> None:
    """Begins the study at `uri`, or continues it.

    Raises:
        ConfigError: the study exists and `resume` is not set, its settings differ, or another job has just begun it.
    """
    record = {"run_id": datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ"), "question": asked, "settings": settings}
    if storage.create(storage.join(uri, run_record.FILE), json.dumps(record, indent=2).encode()):
        return
    if not resume:
        raise ConfigError(f"the study {uri} exists: give another --name, or --resume true to go on with it")
    begun = run_record.read(uri)["question"]
    differing = sorted(key for key in {*begun, *asked} if begun.get(key) != asked.get(key))
    if differing:
        changes = "; ".join(_change(key, begun.get(key), asked.get(key)) for key in differing)
        raise ConfigError(f"the study {uri} was begun with another question ({changes}): give another --name")


def _change(key: str, was: Any, now: Any) -> str:
    if key != "trials":
        return f"{key} was {was!r}, now {now!r}"
    old, new = ({one["trial"] for one in trials or []} for trials in (was, now))
    return f"of its {len(old)} trials {len(old - new)} are not planned now, and {len(new - old)} others are"


def begin(uri: str, trial: str) -> int:
    """Records that the trial begins, and returns how often it has begun, this time included."""
    number = 1
    noted = json.dumps({"began": datetime.now(UTC).isoformat()}).encode()
    while not storage.create(storage.join(uri, ATTEMPTS, trial, f"{number}.json"), noted):
        number += 1
    return number


def attempts(uri: str, trial: str) -> int:
    """Returns how often the trial has begun."""
    where = storage.join(uri, ATTEMPTS, trial)
    return len(list(storage.list_files(where, ".json"))) if storage.exists(where) else 0


def is_open(status: str | None) -> bool:
    """Whether a trial is unfinished: it has no row, or a row that says it failed."""
    return status is None or status == FAILED


def recorded(uri: str) -> dict[str, str]:
    """Returns trial -> status, for every trial with a row."""
    try:
        table = parquet.read_table(storage.join(uri, TRIALS_TABLE), ["trial", "status"])
    except NotFoundError:
        return {}
    return dict(zip(table["trial"].to_pylist(), table["status"].to_pylist(), strict=True))


def results(uri: str, trial: str) -> str:
    """Returns the URI of the trial's screen."""
    return storage.join(uri, RESULTS, trial)


def commit(uri: str, row: dict[str, Any], scored: pa.Table | None = None) -> None:
    """Writes a trial's predictions, and then its row. A second call writes the same files again.

    Args:
        uri: URI of the study.
        row: columns of TRIALS; missing columns become null.
        scored: table STUDY_PREDICTIONS.
    """
    file = f"{row['trial']}.parquet"
    if scored is not None:
        parquet.write_table(storage.join(uri, PREDICTIONS, file), scored)
    whole = dict.fromkeys(TRIALS.names) | row | {"finished_at": datetime.now(UTC)}
    parquet.write_table(storage.join(uri, TRIALS_TABLE, file), pa.Table.from_pylist([whole], schema=TRIALS))


def scored_rows(uri: str, trial: str, variant: str, seed: int, ids: list[str]) -> pa.Table:
    """Returns the predictions of the trial's screen for the images `ids`, as STUDY_PREDICTIONS."""
    table = read_predictions(results(uri, trial))
    table = table.filter(pc.is_in(table["image_id"], pa.array(ids, pa.string())))
    key = {"trial": trial, "variant": variant, "seed": seed}
    columns = [
        pa.repeat(pa.scalar(value, STUDY_PREDICTIONS.field(name).type), table.num_rows) for name, value in key.items()
    ]
    columns += [table[name].combine_chunks() for name in STUDY_PREDICTIONS.names[len(key) :]]
    return pa.Table.from_arrays(columns, schema=STUDY_PREDICTIONS)


def find(config: SweepConfig) -> tuple[str, str]:
    """Returns the URI of the manifest, and its training hash (`comit_ray.data.manifest.manifest.training_hash`).

    Raises:
        ConfigError: its splits or labels are not those of the training data: a patient of its test split may have been
            trained on.
        ManifestError: the manifest or the training table is not whole.
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
