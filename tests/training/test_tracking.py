import struct
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from comit_ray.storage import storage
from comit_ray.training.tracking import tag, write_epoch
from comit_ray.training.validation import EpochMetrics

FIGURES: EpochMetrics = {
    "train_loss": 1.234567890123,
    "val_loss_lung": 0.1,
    "val_auroc_covid": None,
    "val_sensitivity_at_specificity_0.90_covid": 0.75,
    "seconds_waiting": 0.0,
    "images_per_second": 321.5,
}


def masked_crc(data: bytes) -> int:
    """CRC-32C (Castagnoli), bit by bit, masked as TFRecord files have it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(data: bytes) -> list[Event]:
    found = []
    while data:
        (length,), (of_length,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
        content, (of_content,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
        assert (of_length, of_content) == (masked_crc(data[:8]), masked_crc(content))
        found.append(Event.FromString(content))
        data = data[16 + length :]
    return found


def read(run: str) -> dict[int, dict[str, float]]:
    """Step -> tag -> value, of all files in the order in which TensorBoard reads them."""
    steps: dict[int, dict[str, float]] = {}
    directory = storage.join(run, "tensorboard")
    for entry in storage.list_files(directory):
        assert "tfevents" in entry.path
        version, event = events(storage.read_bytes(storage.join(directory, entry.path)))
        assert version.file_version == "brain.Event:2"
        assert event.step not in steps
        assert event.wall_time == pytest.approx(version.wall_time)
        steps[event.step] = {value.tag: value.simple_value for value in event.summary.value}
    return steps


def check(run: str) -> None:
    for epoch in (1, 2, 10):
        write_epoch(run, {**FIGURES, "epoch": epoch})
    write_epoch(run, {**FIGURES, "epoch": 2, "train_loss": 7.0})  # once more, after a restart
    steps = read(run)
    assert list(steps) == [1, 2, 10]  # in order of epochs, though 10 sorts before 2 as text
    assert steps[1] == {
        "loss/train": np.float32(1.234567890123),
        "loss_lung/val": np.float32(0.1),
        "val/sensitivity_at_specificity_0.90_covid": 0.75,
        "seconds/waiting": 0.0,
        "training/images_per_second": 321.5,
    }
    assert steps[2]["loss/train"] == 7.0
    assert steps[10] == steps[1]


def test_an_epoch_is_a_file_and_a_repeated_one_replaces_it(tmp_path: Path):
    check(str(tmp_path / "run"))
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 3


def test_event_files_in_object_storage(bucket: str):
    check(f"{bucket}/runs/one")


def test_losses_stand_together_and_every_figure_has_a_tag_of_its_own():
    names = ["train_loss", "val_loss", "train_loss_covid", "val_loss_covid", "train_images", "val_images"]
    assert [tag(name) for name in names] == [
        "loss/train", "loss/val", "loss_covid/train", "loss_covid/val", "images/train", "images/val"
    ]  # fmt: skip
    names += ["val_lung_iou", "val_auroc_covid", "seconds_training", "learning_rate", "images_per_second", "workers"]
    assert len({tag(name) for name in names}) == len(names)
