"""Logs a training to an MLflow server: options as parameters, epochs as metrics.

STORAGE/NAME/mlflow.json stores the run's id, so that a restarted or resumed training continues in it. MLflow cannot
replace a metric: an epoch that is trained again after a restart has two points at its step, and the later one counts.

MLflow's own usage reports are switched off unless `MLFLOW_DISABLE_TELEMETRY` says otherwise. A server that does not
answer delays an epoch by about half a minute at most, unless `MLFLOW_HTTP_REQUEST_TIMEOUT` and
`MLFLOW_HTTP_REQUEST_MAX_RETRIES` say otherwise.
"""

import json
import os
import sys
import time
from typing import TYPE_CHECKING

from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import ConfigError
from comit_ray.storage import storage
from comit_ray.training.validation import EpochMetrics

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric


REMEMBERED = "mlflow.json"
MAX_PARAMS = 100  # per request; mlflow.utils.validation.MAX_PARAMS_TAGS_PER_BATCH
MAX_LENGTH = 6000  # characters of a parameter's value; MAX_PARAM_VAL_LENGTH
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; all workers wait for rank 0
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # a failed log is tried again one epoch later
}


class MlflowRun:
    """The run of a training in MLflow, new or continued.

    Args:
        config: options of the training.
        uri: URI of the tracking server.
        run: URI of STORAGE/NAME.

    Raises:
        ConfigError: MLflow is not installed, the run was deleted, or the server refuses or does not answer a new
            training.
    """

    def __init__(self, config: TrainConfig, uri: str, run: str) -> None:
        self._uri, self._remembered = uri, storage.join(run, REMEMBERED)
        self._pending: dict[int, list[Metric]] = {}
        self._client, self._errors = _connect(uri)
        known = self._known(config)
        try:
            self._id = known or self._begin(config, run)
            deleted = self._describe(config)
        except self._errors as error:
            if known is None:
                raise ConfigError(f"track.mlflow: {self._failure(error)}") from None
            deleted = getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"
            if not deleted:
                self._say(f"{self._failure(error)}; the training continues")
        if deleted:
            raise ConfigError(
                f"track.mlflow: {uri} no longer has the run {known}: restore it, or remove {self._remembered} to "
                "start another"
            )

    def epoch(self, metrics: EpochMetrics) -> None:
        """Logs an epoch's metrics except None, and earlier epochs that could not be logged."""
        from mlflow.entities import Metric

        epoch, now = metrics["epoch"], int(time.time() * 1000)
        assert epoch is not None, "an epoch's figures say which epoch"
        step = int(epoch)
        self._pending[step] = [
            Metric(name, float(value), now, step)
            for name, value in metrics.items()
            if value is not None and name != "epoch"
        ]
        try:
            self._send()
        except self._errors as error:
            self._say(f"{self._missing()} not logged, tried again after the next epoch: {self._failure(error)}")

    def close(self) -> None:
        """Marks the run as FINISHED after a successful training, and tries once more to log what is missing."""
        try:
            self._send()
            self._client.set_terminated(self._id, "FINISHED")
        except self._errors as error:
            missing = f"{self._missing()} not logged, " if self._pending else ""
            self._say(f"{missing}the run stays RUNNING: {self._failure(error)}")

    def _known(self, config: TrainConfig) -> str | None:
        """Returns the run's id at this server and in this experiment; None if it has to be created."""
        if not storage.exists(self._remembered):
            return None
        known = json.loads(storage.read_bytes(self._remembered))
        if (known["tracking_uri"], known["experiment"]) == (self._uri, config.track.experiment):
            return str(known["run_id"])
        self._say(
            f"earlier epochs stay in run {known['run_id']} of experiment {known['experiment']} at "
            f"{known['tracking_uri']}"
        )
        return None

    def _begin(self, config: TrainConfig, run: str) -> str:
        experiment = self._experiment(config.track.experiment)
        begun = str(self._client.create_run(experiment, run_name=config.name, tags={"comit.run": run}).info.run_id)
        what = {"tracking_uri": self._uri, "experiment": config.track.experiment, "run_id": begun}
        storage.write_bytes(self._remembered, json.dumps(what, indent=2).encode())
        return begun

    def _experiment(self, name: str) -> str:
        """Returns the id of the experiment `name`, and creates it if there is none."""
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except self._errors as error:
                if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = self._client.get_experiment_by_name(name)  # another training has just created it
            assert found is not None
        return str(found.experiment_id)

    def _describe(self, config: TrainConfig) -> bool:
        """Logs options as parameters, which MLflow never changes.

        Changed options of a resumed run become tags `resumed.*`.

        Returns:
            Whether the run has been deleted.
        """
        from mlflow.entities import Param, RunTag

        there = self._client.get_run(self._id)
        if there.info.lifecycle_stage == "deleted":
            return True
        options = parameters(config)
        params = [Param(key, value) for key, value in options.items() if key not in there.data.params]
        tags = [
            RunTag(f"resumed.{key}", value)
            for key, value in options.items()
            if there.data.params.get(key, value) != value
        ]
        for begin in range(0, len(params), MAX_PARAMS):
            self._client.log_batch(self._id, params=params[begin : begin + MAX_PARAMS])
        if tags:
            self._client.log_batch(self._id, tags=tags)
        if there.info.status != "RUNNING":
            self._client.update_run(self._id, status="RUNNING")
        return False

    def _send(self) -> None:
        for step in sorted(self._pending):
            self._client.log_batch(self._id, metrics=self._pending[step])
            del self._pending[step]

    def _missing(self) -> str:
        return f"epoch{'s' if len(self._pending) > 1 else ''} {', '.join(map(str, sorted(self._pending)))}"

    def _failure(self, error: Exception) -> str:
        """Describes an error in one line, because a server's answer may be a page of HTML."""
        reason = " ".join(str(error).split())
        return f"{self._uri} failed: {reason if len(reason) <= 400 else reason[:400] + '...'}"

    def _say(self, text: str) -> None:
        # Ray Train's workers replace `print` by a function that writes twice: to their log and to the driver
        sys.stdout.write(f"MLflow: {text}\n")
        sys.stdout.flush()


def parameters(config: TrainConfig) -> dict[str, str]:
    """Returns every option under its dotted name in a form that MLflow accepts: `train.lr` -> `5e-05`."""
    values = config.flat()
    del values["resume"]  # does not describe the training
    return {key: (value if isinstance(value, str) else json.dumps(value))[:MAX_LENGTH] for key, value in values.items()}


def _connect(uri: str) -> tuple["MlflowClient", tuple[type[Exception], ...]]:
    """Returns a client, and the errors that it raises if the server is unreachable or refuses; nothing is sent yet."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise ConfigError("track.mlflow needs MLflow: pip install 'comit-ray[mlflow]'") from None
    return MlflowClient(tracking_uri=uri), (MlflowException, OSError)
