"""The lung network of a cropped training comes from a checkpoint: its kind, its weights, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comit_ray.checkpoint import checkpoint
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import CheckpointError, ConfigError
from comit_ray.inference.model import load_model
from comit_ray.models.lung_crop import LungCrop
from comit_ray.models.registry import build_model
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.vocabulary import Task
from comit_ray.training import initial_weights
from comit_ray.training.run_training import train
from tests.support import manifest_row, write_checkpoint, write_rows
from tests.training.one_process import trains_here


def config(uri: str | None, **more: Any) -> TrainConfig:
    model = {"width": 0.0625, "weights": "none", "crop": {"checkpoint": uri}}
    known = {"data": "d", "storage": "s", "name": "n", "frame": {"size": 64}, "model": model}
    return TrainConfig.parse(known | more, origin="test")


def test_without_a_checkpoint_nothing_changes() -> None:
    assert initial_weights.with_lung_network(config(None)) == config(None)


def test_its_kind_is_read_and_its_weights_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    uri = write_checkpoint(tmp_path / "lungs", width=0.03125)
    found = initial_weights.with_lung_network(config(uri))
    assert (found.model.crop.name, found.model.crop.width) == ("comit_net", 0.03125)
    assert initial_weights.with_lung_network(found) == found, "a training that goes on has the same options"
    model = build_model(found.model)
    assert isinstance(model, LungCrop)
    initial_weights.load_lungs(model.lungs, found.model.crop)
    given = checkpoint.load(uri).model.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in model.lungs.state_dict().items())
    assert not any(name.startswith(("covid", "disease")) for name in model.lungs.state_dict())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"tasks": ["covid"]}, "expected a network with the head lung, such as comit_net, got comit_net with covid"),
        ({"name": "mask_rcnn", "tasks": ["lung"]}, "expected a network with the head lung, .*, got mask_rcnn"),
    ],
)
def test_another_kind_is_refused(kind, message, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        initial_weights.with_lung_network(config(write_checkpoint(tmp_path / "c", **kind)))


def test_another_frame_is_refused(tmp_path: Path) -> None:
    uri = write_checkpoint(tmp_path / "c")
    with pytest.raises(ConfigError, match=r"trained with this frame .*size=96.*, got .*size=64"):
        initial_weights.with_lung_network(config(uri, frame={"size": 96}))


def test_a_cropped_lung_network_is_refused(tmp_path: Path) -> None:
    crop = {"checkpoint": "s3://bucket/lungs", "name": "comit_net", "width": 0.0625}
    uri = write_checkpoint(tmp_path / "c", crop=crop)
    with pytest.raises(ConfigError, match=r"cropped to the lungs itself; the checkpoint that .* is s3://bucket/lungs"):
        initial_weights.with_lung_network(config(uri))


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no complete checkpoint at .*nowhere: there is no such directory"):
        initial_weights.with_lung_network(config(str(tmp_path / "nowhere")))


@pytest.fixture
def manifest(cxr: Path, tmp_path: Path) -> str:
    """Ten real radiographs with annotated lungs."""
    masks = sorted((cxr / "covid_chestxray" / "annotations" / "lung_masks").glob("*.png"))[:10]
    images = {path.stem: path for path in (cxr / "covid_chestxray" / "images").iterdir()}
    rows = []
    for number, mask in enumerate(masks):
        image = images[mask.name.removesuffix("_mask.png").removesuffix(".png")]
        known = {"uri": str(image), "lung_mask": str(mask), "split": "val" if number % 3 == 2 else "train"}
        rows.append(manifest_row(f"a/{image.name}", unhealthy=1, covid=number % 2, other=0, view="AP", **known))
    return write_rows(tmp_path / "manifest", rows, MANIFEST)


def test_a_cropped_training_goes_on_and_predicts_when_the_checkpoint_of_its_lungs_is_gone(manifest, tmp_path) -> None:
    def trained(name: str, epochs: int, crop: str | None, resume: bool = False) -> str:
        options = {"data": manifest, "storage": str(tmp_path), "name": name, "resume": resume}
        of_epochs = {"epochs": epochs, "batch_size": 4, "lr": 1e-3, "augment_covid": False}
        return train(config(crop, **options, frame={"size": 32}, train=of_epochs, workers={"threads": 1}))

    def weights(name: str) -> bytes:
        return (tmp_path / name / "last" / checkpoint.WEIGHTS).read_bytes()

    with trains_here():
        lungs = trained("lungs", 1, None)
        trained("whole", 2, lungs)
        trained("parts", 1, lungs)
        trained("parts", 2, lungs, resume=True)
    assert weights("parts") == weights("whole")
    shutil.rmtree(tmp_path / "lungs")
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32), np.uint8)
    found = []
    for backend in ("torch", "torch-fused"):
        with load_model(str(tmp_path / "parts" / "last"), backend=backend, threads=1) as model:
            scores = model.predict(frames)
        assert scores.finite.all()
        assert scores.mask_BHW(Task.LUNG) is not None
        found.append(scores.probabilities["covid"])
    assert found[0] == pytest.approx(found[1], abs=1e-4)
