"""Reads the results of the job `sweep`: every planned trial, its outcome, its scores and labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.chunks import plan, run_record
from comit_ray.data.manifest import manifest
from comit_ray.errors import ConfigError, ManifestError, NotFoundError, Status, StorageError
from comit_ray.storage import storage
from comit_ray.tables import parquet

TRIALS, PREDICTIONS = "trials", "predictions"
LABELS = ("image_id", "dataset", "patient_id", "unhealthy", "covid", "other", "split")

TrialStatus = Literal["ok", "stopped", "failed", "missing"]
STATUSES: tuple[TrialStatus, ...] = ("ok", "stopped", "failed", "missing")


@dataclass(frozen=True)
class Trial:
    """One planned trial.

    Args:
        id: name of its row and its directories.
        variant: what is compared, in words.
        seed: seed of initial weights and order.
        status: `missing` if it has no row in `trials`.
        detail: why it is not ok; None if it is.
        row: its row of `comit_ray.tables.schema.TRIALS`; empty if it has none.
    """

    id: str
    variant: str
    seed: int
    status: TrialStatus
    detail: str | None
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """The tables of a study.

    Args:
        uri: URI of its directory.
        name: name of the study.
        split: the split that was scored.
        trials: all planned trials, in the order of the plan.
        images: labels and patients of the N images of the split (columns `LABELS`), one row each.
        scores: trial -> its predictions, N rows in the order of `images`; only for trials that are ok.
        judge: validation metric of its search; None if it is not a search.
    """

    uri: str
    name: str
    split: str
    trials: tuple[Trial, ...]
    images: pd.DataFrame
    scores: Mapping[str, pd.DataFrame]
    judge: str | None = None

    @property
    def variants(self) -> list[str]:
        """The variants, in the order of the plan."""
        return list(dict.fromkeys(trial.variant for trial in self.trials))

    def of(self, variant: str) -> list[Trial]:
        """Returns the trials of a variant, one per seed."""
        return [trial for trial in self.trials if trial.variant == variant]

    def ok(self, variant: str) -> list[Trial]:
        """Returns the trials of a variant that were scored."""
        return [trial for trial in self.of(variant) if trial.status == "ok"]

    def results(self, trial: Trial) -> str:
        """Returns the URI of the trial's screen."""
        return storage.join(self.uri, trial.row["results"])

    def joined(self, trial: Trial) -> pd.DataFrame:
        """Returns labels and predictions of the trial, N rows; `status` is that of the image."""
        predictions = self.scores[trial.id].drop(columns=["image_id"])
        return pd.concat([self.images, predictions], axis=1)

    def covid_scores(self, trial: Trial) -> npt.NDArray[np.float32]:
        """Returns (N,) p_covid; NaN where the image was not scored, or the model has no such head."""
        rows = self.scores[trial.id]
        scored = (rows["status"] == Status.OK).to_numpy()
        return np.where(scored, rows["p_covid"].to_numpy(np.float32, na_value=np.nan), np.float32(np.nan))


def read(study_uri: str, manifest_uri: str) -> Study:
    """Reads the tables of a study, and the labels of the split that it scored.

    Args:
        study_uri: directory of the study.
        manifest_uri: the manifest that it was scored on.

    Raises:
        NotFoundError: there is no study, or no trial was scored.
        ConfigError: the directory holds another kind of output.
        ManifestError: the study was scored on another manifest.
        StorageError: a table cannot be read, or is incomplete.
    """
    uri = storage.normalise(study_uri)
    asked = _question(uri)
    labels = _labels(uri, asked, storage.normalise(manifest_uri))
    trials = _trials(uri, asked)
    scored = [trial for trial in trials if trial.status == "ok"]
    if not scored:
        counts = ", ".join(f"{sum(t.status == status for t in trials)} {status}" for status in STATUSES[1:])
        first = next((f"; {t.id}: {t.detail}" for t in trials if t.status == "failed"), "")
        raise NotFoundError(
            f"expected a scored trial in the study {uri}, got none ({counts}{first}): run comit-ray sweep with "
            "--resume true"
        )
    scores = {trial.id: _scores(uri, trial, labels) for trial in scored}
    judge = (asked.get("search") or {}).get("metric")
    return Study(uri, str(asked["study"]), str(asked["split"]), trials, labels, scores, judge)


def _question(uri: str) -> dict[str, Any]:
    try:
        asked = run_record.read(uri)["question"]
    except NotFoundError as error:
        raise NotFoundError(
            f"no study at {uri}: expected the directory of one study, with the {run_record.FILE} that comit-ray sweep "
            "writes first"
        ) from error
    needed = {"study", "split", "manifest", "trials"}
    if not needed <= asked.keys():
        raise ConfigError(
            f"{uri} is not a study: its {run_record.FILE} has no {', '.join(sorted(needed - asked.keys()))}; expected "
            "the output of comit-ray sweep"
        )
    return dict(asked)


def _labels(uri: str, asked: Mapping[str, Any], manifest_uri: str) -> pd.DataFrame:
    """Returns the images of the scored split, from the manifest that the study was scored on."""
    table = manifest.read(manifest_uri)
    found = {
        "manifest": plan.make_plan(manifest_uri, "all").fingerprint,
        "training_hash": manifest.training_hash(table),
    }
    for what, value in found.items():
        if asked.get(what, value) != value:
            raise ManifestError(
                f"{manifest_uri} is not the manifest that the study {uri} was scored on, or was written again since "
                f"({what}: expected {asked[what]}, got {value}): give that manifest"
            )
    labels: pd.DataFrame = table.select(list(LABELS)).to_pandas()
    labels = labels[labels["split"] == asked["split"]].reset_index(drop=True)
    if labels.empty:
        raise ManifestError(
            f"expected images of the split {asked['split']!r}, which {uri} scored, in {manifest_uri}, got none: give "
            "the manifest that the study was scored on"
        )
    return labels


def _trials(uri: str, asked: Mapping[str, Any]) -> tuple[Trial, ...]:
    planned: list[dict[str, Any]] = asked["trials"]
    try:
        rows = {row["trial"]: row for row in parquet.read_table(storage.join(uri, TRIALS)).to_pylist()}
    except NotFoundError:
        rows = {}  # the study was killed before its first trial ended: all trials are missing
    foreign = sorted(rows.keys() - {one["trial"] for one in planned})
    if foreign:
        raise StorageError(
            f"{uri}: expected rows of planned trials alone in {TRIALS}, got {len(foreign)} of other trials, such as "
            f"{foreign[0]}: two studies were mixed; keep each study in a directory of its own"
        )
    return tuple(_trial(one, rows.get(one["trial"])) for one in planned)


def _trial(planned: Mapping[str, Any], row: Mapping[str, Any] | None) -> Trial:
    name, variant, seed = str(planned["trial"]), str(planned["variant"]), int(planned["seed"])
    if row is None:
        return Trial(name, variant, seed, "missing", "not run yet: run comit-ray sweep with --resume true", {})
    if row["status"] not in STATUSES[:3]:
        raise StorageError(f"trial {name}: expected a status of {', '.join(STATUSES[:3])}, got {row['status']!r}")
    return Trial(name, variant, seed, row["status"], row["detail"], row)


def _scores(uri: str, trial: Trial, labels: pd.DataFrame) -> pd.DataFrame:
    """Returns the predictions of a trial, in the order of `labels`."""
    where = storage.join(uri, PREDICTIONS, f"{trial.id}.parquet")
    table: pd.DataFrame = parquet.read_part(where).to_pandas().drop(columns=["trial", "variant", "seed"])
    twice = int(table["image_id"].duplicated().sum())
    absent = int((~labels["image_id"].isin(table["image_id"])).sum())
    if twice or absent or len(table) != len(labels):
        raise StorageError(
            f"{where}: expected one row for each of the {len(labels):,} images of the split, got {len(table):,} rows "
            f"(images without a row: {absent:,}; duplicate rows: {twice:,}): remove {TRIALS}/{trial.id}.parquet and "
            "run comit-ray sweep with --resume true"
        )
    return labels[["image_id"]].merge(table, on="image_id", how="left", validate="one_to_one")
