"""Runs one trial of a study: trains, screens the scored split, fits classifiers on embeddings, records a row.

It also computes the main metrics of a trial from its tables: the columns of `trials` by which users sort.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from ray.train import UserCallback

from comit_ray.checkpoint import checkpoint
from comit_ray.config.image_config import MasksConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.errors import ComitError, ConfigError, Status, StorageError
from comit_ray.evaluation.screen_metrics import join_tables
from comit_ray.evaluation.segmentation import segmentation_counts
from comit_ray.screening.embedding_screen import classify
from comit_ray.screening.run_screen import screen
from comit_ray.statistics import roc
from comit_ray.storage import storage
from comit_ray.sweep import sweep_record
from comit_ray.sweep.study import ClassifierTrial, Member, PlannedTrial
from comit_ray.tables.vocabulary import SPECIFICITIES
from comit_ray.training import run_directory
from comit_ray.training.early_stopping import best_epoch, whole
from comit_ray.training.run_training import train
from comit_ray.training.validation import EpochMetrics


def trial_metrics(images: pd.DataFrame, masks: MasksConfig) -> dict[str, float | None]:
    """Returns a trial's AUROC, EER, sensitivities of COVID-19, AUROC of unhealthy, lung IoU, disease TPR and precision.

    A metric is None if the model has no such head, or the images have no such labels. Intervals are part of the report
    (`comit-ray evaluate`).

    Args:
        images: result of `comit_ray.evaluation.screen_metrics.join_tables`.
        masks: which annotated masks are used, as in the training.
    """
    scored = images[images["status"] == Status.OK]
    covid, unhealthy = (_known(scored, label) for label in ("covid", "unhealthy"))
    counts = segmentation_counts(scored, masks.lungs)
    counts = counts[counts["problem"].isna()]
    lung, disease = (counts[counts["task"] == task] for task in ("lung", "disease"))
    union = lung["predicted"] + lung["true"] - lung["hits"]
    ious = (lung["hits"] / union)[union > 0]
    hits, predicted, true = (int(disease[name].sum()) for name in ("hits", "predicted", "true"))
    return {
        "auroc": roc.auroc(*covid),
        "eer": roc.eer(*covid),
        **{f"sensitivity_at_{100 * at:g}": roc.sensitivity_at_specificity(*covid, at) for at in SPECIFICITIES},
        "unhealthy_auroc": roc.auroc(*unhealthy),
        "lung_iou": float(ious.mean()) if len(ious) else None,
        "disease_tpr": hits / true if true else None,
        "disease_precision": hits / predicted if predicted else None,
    }


def _known(images: pd.DataFrame, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores and labels of the images that have both."""
    rows = images[images[label].notna() & images[f"p_{label}"].notna()]
    return rows[f"p_{label}"].to_numpy(np.float32), rows[label].to_numpy(np.int8)


STOPPED_EARLY = "stopped before its last epoch: others were ahead on the validation split, or its run was asked to stop"


@dataclass(frozen=True)
class TrialPlace:
    """Where the trials of a study run.

    Attributes:
        study: name of the study.
        uri: URI of its directory.
        manifest: URI of the manifest that is scored.
        split: split that is scored.
        judge: validation metric that a search uses; None if there is no search.
    """

    study: str
    uri: str
    manifest: str
    split: Literal["test", "val"]
    judge: str | None = None


def run(trial: PlannedTrial, place: TrialPlace, callbacks: Sequence[UserCallback] = ()) -> None:
    """Runs what is left of the trial and its classifiers, and records it. Rows that say ok stay.

    A wrong option would fail again, so it is recorded as the trial's failure. Any other error is raised, so that the
    trial is tried again as often as allowed.

    Args:
        trial: what to run.
        place: where to run it.
        callbacks: Ray Train calls them after every epoch.

    Raises:
        ComitError: any error except a wrong option.
        ray.exceptions.RayError: a task, an actor or a worker failed more often than Ray retries it.
    """
    statuses = sweep_record.recorded(place.uri)
    left = [member for member in trial.members if sweep_record.is_open(statuses.get(member.id))]
    sweep_record.begin(place.uri, trial.id)
    if trial in left and not _network(trial, left, place, callbacks):
        return
    for classifier in trial.classifiers:
        if classifier in left:
            _run_classifier(classifier, trial, place)


def _network(trial: PlannedTrial, left: Sequence[Member], place: TrialPlace, callbacks: Sequence[UserCallback]) -> bool:
    """Trains and screens. Returns whether its classifiers have input; if not, all unfinished members have a row now."""
    began = time.monotonic()
    try:
        run_uri = _train(trial, place, callbacks)
        history = checkpoint.load_history(storage.join(run_uri, "last"))
        trained = row(trial, trial, place) | _summary(history, place)
        if not _ended_early(trial, run_uri, history):
            _screen(trial, place, storage.join(run_uri, "best"))
            _record(trial, place, trial.config.masks, time.monotonic() - began, trained)
            return True
    except ConfigError as error:
        for member in left:
            sweep_record.commit(place.uri, row(member, trial, place) | _failure(error, time.monotonic() - began))
        return False
    end = {"status": sweep_record.STOPPED, "detail": STOPPED_EARLY, "seconds": time.monotonic() - began}
    for member in reversed(left):  # the network comes last: a classifier without a row would need its embeddings
        sweep_record.commit(place.uri, (trained if member is trial else row(member, trial, place)) | end)
    return False


def _ended_early(trial: PlannedTrial, run_uri: str, history: Sequence[EpochMetrics]) -> bool:
    """Returns whether the training was asked to stop before its end; a later request has no effect."""
    train = trial.config.train
    return run_directory.asked_to_stop(run_uri) and not whole(history, train.epochs, train.patience)


def row(member: Member, trial: PlannedTrial, place: TrialPlace) -> dict[str, Any]:
    """Returns the columns of TRIALS that the plan of a trial decides, before it runs."""
    tasks: tuple[str, ...]
    if isinstance(member, PlannedTrial):
        kind, model, tasks = "network", member.config.model.name, member.config.model.tasks
    else:
        kind, model, tasks = "embedding_classifier", member.config.method.name, member.config.tasks
    return {
        "trial": member.id,
        "variant": member.variant,
        "seed": member.seed,
        "study": place.study,
        "kind": kind,
        "model": model,
        "tasks": list(tasks),
        "config": json.dumps(member.config.model_dump(mode="json"), sort_keys=True),
        "config_digest": member.config.digest(),
        "split": place.split,
        "attempts": sweep_record.attempts(place.uri, trial.id),
    }


def _failure(error: ComitError, seconds: float) -> dict[str, Any]:
    return {"status": sweep_record.FAILED, "detail": f"{type(error).__name__}: {error}", "seconds": seconds}


def _train(trial: PlannedTrial, place: TrialPlace, callbacks: Sequence[UserCallback]) -> str:
    """Trains unless the training is finished, and returns the URI of the run."""
    runs = storage.join(place.uri, sweep_record.RUNS)
    run_uri = storage.join(runs, trial.id)
    if not run_directory.finished(run_uri):
        train(trial.config.model_copy(update={"storage": runs, "resume": True}), callbacks)
    return run_uri


def _summary(history: Sequence[EpochMetrics], place: TrialPlace) -> dict[str, Any]:
    """Returns the training's own metrics for the row of TRIALS."""
    best = best_epoch(history)
    assert best is not None, "a published run has a best epoch"
    return {
        "epochs": len(history),
        "best_epoch": best + 1,
        "val_loss": history[best]["val_loss"],
        "val_auroc": history[best].get("val_auroc_covid"),
        "val_judged": history[best].get(place.judge) if place.judge else None,
    }


def _screen(trial: PlannedTrial, place: TrialPlace, best: str) -> None:
    """Screens the scored split, or every split if classifiers must be fitted and given thresholds."""
    workers = trial.config.workers
    options = ScreenConfig(
        manifest=place.manifest,
        checkpoint=best,
        output=sweep_record.results(place.uri, trial.id),
        split="all" if trial.classifiers else place.split,
        embeddings=trial.embeddings or bool(trial.classifiers),
        gradcam=trial.gradcam,
        predictors=1,  # other trials train and screen beside it
        gpu=workers.gpu,
        decode=trial.config.decode,
    )
    # It takes no more CPUs than its training did, as others train beside it; on a GPU the training held no CPU.
    taken = screen(options, cpus=None if workers.gpu else workers.least * workers.cpus)
    if not taken.balanced:
        raise StorageError(f"the screen of trial {trial.id} is not whole: {next(iter(taken.problems), 'no row')}")


def _record(member: Member, place: TrialPlace, masks: MasksConfig, seconds: float, more: dict[str, Any]) -> None:
    """Reads what the member's screen wrote, and commits its predictions and its row."""
    where = sweep_record.results(place.uri, member.id)
    images = join_tables(where, place.manifest, place.split)
    trial_row = more | {
        "status": sweep_record.OK,
        "seconds": seconds,
        "model_id": images["model_id"].iloc[0],
        "results": f"{sweep_record.RESULTS}/{member.id}",
        **trial_metrics(images, masks),
    }
    scored = sweep_record.scored_rows(place.uri, member.id, member.variant, member.seed, images["image_id"].tolist())
    sweep_record.commit(place.uri, trial_row, scored)


def _run_classifier(classifier: ClassifierTrial, trial: PlannedTrial, place: TrialPlace) -> None:
    began = time.monotonic()
    config = classifier.config.model_copy(
        update={
            "results": sweep_record.results(place.uri, trial.id),
            "manifest": place.manifest,
            "output": sweep_record.results(place.uri, classifier.id),
        }
    )
    planned = row(classifier, trial, place)
    try:
        taken = classify(config)
        if not taken.balanced:
            raise StorageError(f"the tables of {classifier.id} are not whole: {next(iter(taken.problems), 'no row')}")
        _record(classifier, place, trial.config.masks, time.monotonic() - began, planned)
    except ConfigError as error:
        sweep_record.commit(place.uri, planned | _failure(error, time.monotonic() - began))
