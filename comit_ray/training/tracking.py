"""Who is told of every epoch of a training while it runs: TensorBoard, and MLflow where it is asked for."""

from comit_ray.config.train_config import TrainConfig
from comit_ray.training import tensorboard
from comit_ray.training.mlflow_run import MlflowRun
from comit_ray.training.scores import Figures


class Tracker:
    """Tells TensorBoard and MLflow of every epoch; used by rank 0 of a training only.

    Made once more after a restart it goes on where it was: an epoch told twice replaces its event file, and MLflow's
    run is the one that the first tracker began.

    Args:
        config: of the training; `config.track` says who is told.
        run: URI of STORAGE/NAME.

    Raises:
        ConfigError: if MLflow is asked for, and is not installed or refuses.
    """

    def __init__(self, config: TrainConfig, run: str) -> None:
        self._run = run
        self._tensorboard = config.track.tensorboard
        self._mlflow = MlflowRun(config, config.track.mlflow, run) if config.track.mlflow else None

    def epoch(self, figures: Figures) -> None:
        """Tell of an epoch; `figures["epoch"]` counts from 1, figures that are None are left out.

        Raises:
            StorageError: if the event file cannot be written, where the checkpoint could not be either. An MLflow
                server that does not answer is a line on stdout.
        """
        if self._tensorboard:
            tensorboard.write_epoch(self._run, figures)
        if self._mlflow:
            self._mlflow.epoch(figures)

    def close(self) -> None:
        """The training has ended well; one that failed or was killed is not closed, and stays RUNNING in MLflow."""
        if self._mlflow:
            self._mlflow.close()
