"""Runs a study on Ray Tune, as many trials at a time as the cluster has room for."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import ray
import ray.data
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from comit_ray.chunks import graph, ray_start
from comit_ray.config.sweep_config import SearchConfig
from comit_ray.errors import ConfigError, StorageError
from comit_ray.storage import storage
from comit_ray.sweep import sweep_record
from comit_ray.sweep.study import PlannedTrial
from comit_ray.sweep.trial import TrialPlace, row, run
from comit_ray.training import run_directory

NOTHING = {"memory": 1.0}
"""Resources of a trial's own process, which only waits for its workers and must not take their CPUs. Tune refuses an
empty request; with a hundredth of a CPU one trial fewer than possible would train at a time."""


def sweep(
    trials: Sequence[PlannedTrial], place: TrialPlace, search: SearchConfig | None, at_once: int, retries: int
) -> None:
    """Runs the trials on the Ray cluster that this process is connected to.

    Args:
        trials: the unfinished trials.
        place: where they run.
        search: how poor trials are stopped early; None: all run to their end.
        at_once: number of trials at a time.
        retries: number of new attempts of a failed trial.
    """
    if not trials:
        return
    print(f"{len(trials)} trials to do, {min(at_once, len(trials))} at a time", flush=True)
    filesystem, path = storage.filesystem(place.uri)
    by_id = {trial.id: trial for trial in trials}
    tuner = tune.Tuner(
        tune.with_resources(partial(_attempt, by_id=by_id, place=place), NOTHING),
        param_space={"trial": tune.grid_search(list(by_id))},
        tune_config=tune.TuneConfig(max_concurrent_trials=at_once, scheduler=_scheduler(trials, search, place)),
        run_config=tune.RunConfig(
            name=f"tune_{len(list(_earlier(place.uri))):03d}",
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=tune.FailureConfig(max_failures=retries),
            callbacks=[_Recorder(by_id, place)],
            verbose=0,
        ),
    )
    tuner.fit()


def room(trials: Sequence[PlannedTrial], concurrent: int | None) -> int:
    """Returns the number of trials to run at a time on the Ray cluster, or on a local Ray that this starts.

    Args:
        trials: trials of the study.
        concurrent: requested number; None: as many as fit.

    Raises:
        ConfigError: not even one trial fits.
    """
    if any(trial.config.workers.gpu for trial in trials):
        graph.check_gpus_here("workers.gpu")
    ray_start.start(ray.LoggingConfig(log_level="ERROR"))
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if any(node.get("GPU") for node in nodes) and not any(trial.config.workers.gpu for trial in trials):
        print("the cluster has GPUs and no trial asks for one: --options '{workers.gpu: true}'", flush=True)
    return concurrent or _room(trials, nodes)


def _room(trials: Sequence[PlannedTrial], nodes: Sequence[Mapping[str, float]]) -> int:
    """Returns the number of the most demanding trial that fit; one worker needs one node, a trial may use several."""
    least = sys.maxsize
    for trial in trials:
        workers = trial.config.workers
        wanted = {"GPU": 1.0} if workers.gpu else {"CPU": float(workers.cpus)}
        there = sum(min(int(node.get(name, 0.0) // amount) for name, amount in wanted.items()) for node in nodes)
        if there < workers.least:
            what = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items())
            raise ConfigError(
                f"trial {trial.id} wants {workers.least} workers of {what} each, and the cluster has room for {there}: "
                "lower workers.count or workers.cpus, or give --concurrent where the cluster is to grow"
            )
        least = min(least, there // workers.least)
    return least


def _earlier(uri: str) -> set[str]:
    """Returns the names of Tune's own directories of this study; each sweep has a new one."""
    return {entry.path.split("/")[0] for entry in storage.list_files(uri) if entry.path.startswith("tune_")}


def _scheduler(trials: Sequence[PlannedTrial], search: SearchConfig | None, place: TrialPlace) -> ASHAScheduler | None:
    if search is None:
        return None
    epochs = max(trial.config.train.epochs for trial in trials)
    return _AskingScheduler(
        place,
        {trial.id: trial.config.train.epochs for trial in trials},
        time_attr="epoch",
        metric=search.metric,
        mode="min" if search.metric.startswith("val_loss") else "max",
        max_t=epochs,
        grace_period=min(search.grace_epochs, epochs),
        reduction_factor=search.reduction,
        stop_last_trials=False,  # a trial with all its epochs still has to be screened
    )


class _AskingScheduler(ASHAScheduler):
    """ASHA that asks a training to end after its epoch, where Tune's own scheduler kills the trial.

    A killed trial leaves its workers' placement group to an actor that learns of the end through Ray's dashboard (2.60,
    PlacementGroupCleaner). Without a dashboard the group keeps its CPUs, and the study waits for ever.
    """

    def __init__(self, place: TrialPlace, epochs: Mapping[str, int], **options: Any) -> None:
        super().__init__(**options)
        self.place, self.epochs, self.judged_by = place, epochs, options["metric"]

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Continues every trial; asks poor trainings to end, but not at an epoch without the metric, nor the last."""
        name = trial.config["trial"]
        if result.get(self.judged_by) is None or result["epoch"] >= self.epochs[name]:
            return str(TrialScheduler.CONTINUE)
        decision = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            try:
                run_directory.ask_to_stop(storage.join(self.place.uri, sweep_record.RUNS, name))
            except StorageError as error:
                print(f"trial {name} could not be asked to stop and trains on: {error}", flush=True)
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Passes the end of a trial to ASHA only if its last result has the metric."""
        if result.get(self.judged_by) is not None:
            super().on_trial_complete(tune_controller, trial, result)


def _attempt(options: dict[str, Any], by_id: dict[str, PlannedTrial], place: TrialPlace) -> None:
    """Runs one trial for Tune, and reports its epochs."""
    ray.data.DataContext.get_current().enable_progress_bars = False  # bars of several trials would overwrite each other
    run(by_id[options["trial"]], place, [TuneReportCallback()])  # type: ignore[no-untyped-call]


class _Recorder(tune.Callback):
    """Reports every trial's end, and records trials that failed too often to record themselves."""

    def __init__(self, by_id: dict[str, PlannedTrial], place: TrialPlace) -> None:
        self.by_id, self.place = by_id, place
        self.ended = 0

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Reports a trial that ran to its end and has recorded itself."""
        self._tell(self.by_id[trial.config["trial"]])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Records a trial that failed more often than it may."""
        mine = self.by_id[trial.config["trial"]]
        error = trial.get_error()
        end = {"status": sweep_record.FAILED, "detail": _in_short(error) if error else "Ray Tune gives no error"}
        statuses = sweep_record.recorded(self.place.uri)
        for member in mine.members:
            if sweep_record.is_open(statuses.get(member.id)):
                sweep_record.commit(self.place.uri, row(member, mine, self.place) | end)
        self._tell(mine)

    def _tell(self, trial: PlannedTrial) -> None:
        self.ended += 1
        try:
            statuses = sweep_record.recorded(self.place.uri)
        except StorageError as error:  # if raised here, Tune would count it as the trial's failure
            print(
                f"[{self.ended}/{len(self.by_id)}] {trial.id} ended; its rows cannot be read now: {error}", flush=True
            )
            return
        said = ", ".join(f"{member.id} {statuses.get(member.id, 'without a row')}" for member in trial.members)
        print(f"[{self.ended}/{len(self.by_id)}] {said}", flush=True)


def _in_short(error: Exception) -> str:
    """Returns an error's own words; for a remote traceback its last line."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1].strip() if lines else 'no message'}"
