"""A study on Ray Tune: as many trials at a time as the cluster has room for, each one's end recorded as it comes."""

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import ray
import ray.data
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from comit_ray import storage
from comit_ray.errors import ConfigError
from comit_ray.sweep import record
from comit_ray.sweep.study import Trial
from comit_ray.sweep.trial import Place, row, run
from comit_ray.sweep_config import SearchConfig
from comit_ray.training import run_directory

DRIVER_CPUS = 0.01  # a trial's own process only waits for its workers; Tune refuses 0


def sweep(
    trials: Sequence[Trial], place: Place, search: SearchConfig | None, concurrent: int | None, retries: int
) -> None:
    """Run the trials on the Ray cluster this process is connected to, or on a Ray of its own.

    Args:
        trials: what is left to do.
        place: where.
        search: how poorer trials are stopped early; None: all run to their end.
        concurrent: trials at a time; None: `room`.
        retries: how often a failed trial is begun again.

    Raises:
        ConfigError: the cluster is too small for one trial.
    """
    if not trials:
        return
    if not ray.is_initialized():
        ray.init(logging_config=ray.LoggingConfig(log_level="ERROR"))
    at_once = concurrent or room(trials, ray.cluster_resources())  # type: ignore[no-untyped-call]
    print(f"{len(trials)} trials to do, {min(at_once, len(trials))} at a time", flush=True)
    filesystem, path = storage.filesystem(place.uri)
    by_id = {trial.id: trial for trial in trials}
    tuner = tune.Tuner(
        tune.with_resources(partial(_attempt, by_id=by_id, place=place), {"cpu": DRIVER_CPUS}),
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


def room(trials: Sequence[Trial], resources: dict[str, float]) -> int:
    """How many of the trials the cluster can train at the same time: of the one that wants most.

    Raises:
        ConfigError: not a single one.
    """
    least = sys.maxsize
    for trial in trials:
        workers = trial.config.workers
        wanted = {"CPU": workers.least * workers.cpus} | ({"GPU": float(workers.least)} if workers.gpu else {})
        for resource, amount in wanted.items():
            there = resources.get(resource, 0.0)
            if there < amount:
                raise ConfigError(
                    f"trial {trial.id} wants {amount:g} {resource} and the cluster has {there:g}: lower workers.count "
                    "or workers.cpus, or give --concurrent where the cluster is to grow"
                )
            least = min(least, int(there // amount))
    return least


def _earlier(uri: str) -> set[str]:
    """Names of Tune's own directories of this study: each sweep has another."""
    return {entry.path.split("/")[0] for entry in storage.list_files(uri) if entry.path.startswith("tune_")}


def _scheduler(trials: Sequence[Trial], search: SearchConfig | None, place: Place) -> ASHAScheduler | None:
    if search is None:
        return None
    epochs = max(trial.config.train.epochs for trial in trials)
    return _AskingScheduler(
        place,
        time_attr="epoch",
        metric=search.metric,
        mode="min" if search.metric.startswith("val_loss") else "max",
        max_t=epochs,
        grace_period=min(search.grace_epochs, epochs),
        reduction_factor=search.reduction,
        stop_last_trials=False,  # one that has all its epochs is still to be screened
    )


class _AskingScheduler(ASHAScheduler):
    """ASHA that asks a training to end after its epoch, where Tune's own kills the trial.

    A killed trial leaves its workers' placement group to an actor that finds out through Ray's dashboard (2.60,
    PlacementGroupCleaner); without one it keeps its CPUs, and the study waits for ever.
    """

    def __init__(self, place: Place, **options: Any) -> None:
        super().__init__(**options)
        self.place, self.judged_by = place, options["metric"]

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Never to stop at once; an epoch whose figure is undefined is no reason to."""
        if result.get(self.judged_by) is None:
            return str(TrialScheduler.CONTINUE)
        decision = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            run_directory.ask_to_stop(storage.join(self.place.uri, record.RUNS, trial.config["trial"]))
        return str(TrialScheduler.CONTINUE)


def _attempt(options: dict[str, Any], by_id: dict[str, Trial], place: Place) -> None:
    """What Tune runs: one trial, its epochs reported."""
    ray.data.DataContext.get_current().enable_progress_bars = False  # of all trials they would run into one another
    run(by_id[options["trial"]], place, [TuneReportCallback()])  # type: ignore[no-untyped-call]


class _Recorder(tune.Callback):
    """Tells of every trial's end, and records those that failed too often to record themselves."""

    def __init__(self, by_id: dict[str, Trial], place: Place) -> None:
        self.by_id, self.place = by_id, place
        self.ended = 0

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It ran to its end, and has recorded itself."""
        self._tell(self.by_id[trial.config["trial"]])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It failed once more than it may."""
        mine = self.by_id[trial.config["trial"]]
        error = trial.get_error()
        end = {"status": record.FAILED, "detail": _in_short(error) if error else "Ray Tune gives no error"}
        done = {name for name, status in record.recorded(self.place.uri).items() if status == record.OK}
        for member in mine.members:
            if member.id not in done:
                record.commit(self.place.uri, row(member, mine, self.place) | end)
        self._tell(mine)

    def _tell(self, trial: Trial) -> None:
        self.ended += 1
        statuses = record.recorded(self.place.uri)
        said = ", ".join(f"{member.id} {statuses.get(member.id, 'without a row')}" for member in trial.members)
        print(f"[{self.ended}/{len(self.by_id)}] {said}", flush=True)


def _in_short(error: Exception) -> str:
    """An error's own words: of a remote traceback its last line."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1].strip() if lines else 'no message'}"
