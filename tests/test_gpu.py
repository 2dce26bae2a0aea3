"""What a GPU changes: the speed, and numbers by rounding alone. Skipped where there is none (`make test-gpu`)."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from comit_ray import cli
from comit_ray.checkpoint import checkpoint
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.config.train_config import ModelConfig, TrainConfig
from comit_ray.data.masks.masks import from_png
from comit_ray.models.registry import MODELS, build_model
from comit_ray.screening.predictor import Predictor, PredictorSettings
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.training.run_training import train
from jobs import screen as screen_job
from tests.support import fetched, manifest_row, write_checkpoint, write_rows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nothing here was tested"),
]

IMAGES = 24


@pytest.fixture
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TF32, which convolutions use unless told otherwise, and rounds to 10 bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def manifest(cxr: Path, tmp_path: Path) -> str:
    """Real radiographs, a third of them for validation, and one file that is gone."""
    files = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:IMAGES]
    rows = [
        manifest_row(f"nih/{file.name}", uri=str(file), unhealthy=i % 2, covid=i % 2, other=0, split="train")
        for i, file in enumerate(files)
    ]
    for row in rows[::3]:
        row["split"] = "val"
    rows.append(manifest_row("nih/gone.png", uri="/nowhere/gone.png", split="test"))
    return write_rows(tmp_path / "manifest", rows, MANIFEST)


@pytest.mark.parametrize("name", list(MODELS))
def test_every_model_says_on_a_gpu_what_it_says_on_a_cpu(name: str, full_precision: None) -> None:
    torch.manual_seed(0)
    config = ModelConfig(name=name, tasks=MODELS[name].tasks[: 1 if MODELS[name].one_task else None], weights="none")
    model = build_model(config).eval()
    x_B3HW = torch.randn(3, 3, 96, 96)
    with torch.inference_mode():
        here = vars(model(x_B3HW))
        there = vars(model.to("cuda")(x_B3HW.to("cuda")))
    for field, value in here.items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(there[field].cpu(), value, rtol=1e-2, atol=1e-2)


def screened(manifest: str, model: str, output: Path, gpu: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    options = ["--manifest", manifest, "--checkpoint", model, "--output", str(output), "--gpu", str(gpu).lower()]
    assert screen_job.job(cli.parse(ScreenConfig, "", options)) == 0
    tables = (parquet.read_table(f"{output}/{name}").sort_by("image_id") for name in ("predictions", "masks"))
    predictions, masks = (table.to_pylist() for table in tables)
    return predictions, masks


def test_a_screen_on_a_gpu_has_the_rows_of_one_on_cpus(manifest: str, tmp_path: Path, ray_session: Path) -> None:
    model = write_checkpoint(tmp_path / "checkpoint", width=0.25)
    here, masks_here = screened(manifest, model, tmp_path / "cpu", gpu=False)
    there, masks_there = screened(manifest, model, tmp_path / "gpu", gpu=True)
    assert [(row["image_id"], row["status"], row["reason"]) for row in there] == [
        (row["image_id"], row["status"], row["reason"]) for row in here
    ]
    assert [row["status"] for row in there].count("ok") == IMAGES
    for row, other in zip(there, here, strict=True):
        for score in ("p_covid", "p_unhealthy", "p_other"):
            assert row[score] == pytest.approx(other[score], abs=2e-2)
    for row, other in zip(masks_there, masks_here, strict=True):
        for mask in ("lung_png", "disease_png"):
            # An untrained network leaves most pixels near 0.5, where rounding decides.
            assert (from_png(row[mask]) != from_png(other[mask])).mean() < 0.1


def test_a_batch_that_the_gpu_cannot_hold_is_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_checkpoint(tmp_path / "checkpoint")
    loaded = checkpoint.load(model)
    shape = (64, loaded.config.frame.size, loaded.config.frame.size)
    images = fetched(*np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))

    def predictor(batch_size: int) -> Predictor:
        point = OperatingPoint("specificity_0.90", {"covid": 0.5})
        return Predictor(PredictorSettings(model, loaded.model_id, point, "r", batch_size, "cuda"))

    enough = predictor(8).predict(images)["predictions"]
    small, sizes = predictor(64), list[int]()
    original = small.model._scores

    def counted(frames_BHW: npt.NDArray[np.uint8], masks: bool) -> Any:
        sizes.append(len(frames_BHW))
        return original(frames_BHW, masks)

    monkeypatch.setattr(small.model, "_scores", counted)
    taken, held = torch.cuda.memory_reserved(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((taken + 2**20) / held)
    try:
        halved = small.predict(images)["predictions"]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert sizes[0] == 64
    assert 0 < sizes[-1] < 64, "it was never halved"
    assert halved["image_id"] == enough["image_id"]
    np.testing.assert_allclose(halved["p_covid"].to_numpy(), enough["p_covid"].to_numpy(), atol=5e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_on_a_gpu_is_resumed(manifest: str, tmp_path: Path, ray_session: Path, precision: str) -> None:
    values = {
        "data": manifest,
        "storage": str(tmp_path),
        "name": "run",
        "frame": {"size": 64},
        "model": {"width": 0.125, "weights": "none"},
        "train": {"epochs": 2, "batch_size": 8, "lr": 1e-3, "precision": precision, "batch_norm": "synchronised"},
        "workers": {"gpu": True},
    }
    config = TrainConfig.parse(values, origin="test")
    train(config.model_copy(update={"train": config.train.model_copy(update={"epochs": 1})}))
    first = checkpoint.load_history(f"{tmp_path}/run/last")
    train(config.model_copy(update={"resume": True}))
    history = checkpoint.load_history(f"{tmp_path}/run/last")
    assert history[:1] == first
    assert [epoch["epoch"] for epoch in history] == [1, 2]
    assert np.isfinite([epoch["val_loss"] for epoch in history]).all()
    best = checkpoint.load(f"{tmp_path}/run/best").model
    with torch.inference_mode():
        output = best(torch.zeros(1, 3, 64, 64))
    assert output.embedding.device.type == "cpu", "a checkpoint loads where there is no GPU"
    assert output.p_covid is not None
    assert output.p_covid.isfinite().all()
