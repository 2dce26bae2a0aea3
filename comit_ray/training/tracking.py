"""Sends each epoch's metrics to TensorBoard, and to MLflow on request.

TensorBoard reads one event file per epoch: STORAGE/NAME/tensorboard/events.out.tfevents.00001. Each small file is
written whole, because object storage cannot append and a killed writer must not leave half a record. TensorBoard reads
every file of a directory whose name contains `tfevents`, in the order of their names, as parts of one run
(tensorboard/backend/event_processing/directory_watcher.py; its Rust server, data/server/run.rs, does the same). The
name contains only the epoch, so an epoch that is trained again after a restart replaces its file.
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
    """Writes the event file of an epoch; TensorBoard stores values as float32.

    Args:
        run: URI of STORAGE/NAME.
        metrics: metrics of the epoch; `epoch`, counted from 1, becomes the step, and None is left out.

    Raises:
        StorageError: the file cannot be written.
    """
    # Imported late: tensorboardX takes seconds, and only one rank writes
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
    """Returns the TensorBoard tag of the metric `name`; tags with the same text before the slash are shown together.

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
    """Returns the bytes of a TFRecord file: for each content its length, a checksum, the content, and its checksum."""
    from tensorboardX.record_writer import RecordWriter

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "records"
        writer = RecordWriter(str(path))
        for content in contents:
            writer.write(content)
        writer.close()
        return path.read_bytes()


class Tracker:
    """Sends every epoch to TensorBoard and MLflow; only rank 0 of a training uses it.

    After a restart a new tracker continues: an epoch that is sent twice replaces its event file, and MLflow's run is
    the one that the first tracker created.

    Args:
        config: options of the training; `config.track` says where metrics are sent.
        run: URI of STORAGE/NAME.

    Raises:
        ConfigError: MLflow is requested, and is not installed or refuses.
    """

    def __init__(self, config: TrainConfig, run: str) -> None:
        self._run = run
        self._tensorboard = config.track.tensorboard
        self._mlflow = MlflowRun(config, config.track.mlflow, run) if config.track.mlflow else None

    def epoch(self, metrics: EpochMetrics) -> None:
        """Sends the metrics of an epoch; `metrics["epoch"]` counts from 1, and metrics that are None are left out.

        Raises:
            StorageError: the event file cannot be written; the checkpoint could not be written there either. An MLflow
                server that does not answer only causes a line on stdout.
        """
        if self._tensorboard:
            write_epoch(self._run, metrics)
        if self._mlflow:
            self._mlflow.epoch(metrics)

    def close(self) -> None:
        """Closes the MLflow run after a successful training; a failed or killed run stays RUNNING in MLflow."""
        if self._mlflow:
            self._mlflow.close()
