"""Sends each epoch's metrics to TensorBoard, and to MLflow on request.

An epoch's figures as an event file that TensorBoard reads: STORAGE/NAME/tensorboard/events.out.tfevents.00001.

One small file an epoch, written whole, because object storage cannot append and a killed writer must not leave half a
record. TensorBoard takes every file of a directory whose name contains `tfevents`, in the order of their names, as
parts of one run (tensorboard/backend/event_processing/directory_watcher.py; its Rust server, data/server/run.rs, does
the same). The name says the epoch alone, so an epoch that is trained again after a restart replaces its file.
"""

import tempfile
import time
from pathlib import Path

from comit_ray.config.train_config import TrainConfig
from comit_ray.storage import storage
from comit_ray.training.mlflow_tracking import MlflowRun
from comit_ray.training.validation import EpochMetrics

DIRECTORY = "tensorboard"
VERSION = "brain.Event:2"  # the first event of every file


def write_epoch(run: str, metrics: EpochMetrics) -> None:
    """Write the event file of an epoch; TensorBoard keeps values as float32.

    Args:
        run: URI of STORAGE/NAME.
        metrics: of the epoch; `epoch`, counted from 1, becomes the step, and None is left out.

    Raises:
        StorageError: if it cannot be written.
    """
    # tensorboardX takes seconds to import, and the driver and all ranks but one write nothing
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    epoch = metrics["epoch"]
    assert epoch is not None, "an epoch's figures say which epoch"
    values = [
        Summary.Value(tag=tag(name), simple_value=value)
        for name, value in sorted(metrics.items())
        if value is not None and name != "epoch"
    ]
    now = time.time()
    events = [
        Event(wall_time=now, file_version=VERSION),
        Event(wall_time=now, step=int(epoch), summary=Summary(value=values)),
    ]
    name = f"events.out.tfevents.{int(epoch):05d}"
    storage.write_bytes(storage.join(run, DIRECTORY, name), _records([event.SerializeToString() for event in events]))


def tag(name: str) -> str:
    """The figure `name` as TensorBoard's tag; what stands before the slash is shown together.

    >>> tag("train_loss"), tag("val_loss_lung"), tag("val_lung_iou"), tag("seconds_forward"), tag("learning_rate")
    ('loss/train', 'loss_lung/val', 'val/lung_iou', 'seconds/forward', 'training/learning_rate')
    """
    group, _, metric = name.partition("_")
    if group in ("train", "val") and metric.split("_")[0] in ("loss", "images"):
        return f"{metric}/{group}"
    if group in ("train", "val", "seconds"):
        return f"{group}/{metric}"
    return f"training/{name}"


def _records(contents: list[bytes]) -> bytes:
    """The frames of a TFRecord file: length, its checksum, content, its checksum."""
    from tensorboardX.record_writer import RecordWriter

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "records"
        writer = RecordWriter(str(path))
        for content in contents:
            writer.write(content)
        writer.close()
        return path.read_bytes()


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

    def epoch(self, metrics: EpochMetrics) -> None:
        """Tell of an epoch; `figures["epoch"]` counts from 1, figures that are None are left out.

        Raises:
            StorageError: if the event file cannot be written, where the checkpoint could not be either. An MLflow
                server that does not answer is a line on stdout.
        """
        if self._tensorboard:
            write_epoch(self._run, metrics)
        if self._mlflow:
            self._mlflow.epoch(metrics)

    def close(self) -> None:
        """The training has ended well; one that failed or was killed is not closed, and stays RUNNING in MLflow."""
        if self._mlflow:
            self._mlflow.close()
