"""A whole training with every option against shortcuts, in this process: what it leaves, and that it can be resumed."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
import torch

from comit_ray.checkpoint.checkpoint import load_history
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import ConfigError
from comit_ray.models.registry import build_model
from comit_ray.prepare.frames import FRAMES
from tests.training.one_process import _Blocks, _Fit

RECIPE: dict[str, Any] = {
    "covid_from": "both_classes",
    "appearance": ["gamma", "contrast", "blur", "noise", "jpeg", "resolution", "collimation", "border", "text"],
    "balance": "class_and_source",
    "group_dro": 0.05,
    "for_every_source": True,
    "flag_point": "specificity_0.90_every_source",
    "vary": True,
    "augment_covid": False,
}


def frames(one_sided: bool = False) -> _Blocks:
    """Images of `a`, with COVID-19 and without, and of `b`, none with it; of `a` none without if it is one-sided."""
    generator = np.random.default_rng(0)
    rows = []
    for n in range(40):
        covid = int(n % 2 == 0 and n < 20)
        dataset = "a" if n < 20 and (covid or not one_sided) else "b"
        rows.append(
            {
                "image_id": f"x/{n:02d}",
                "dataset": dataset,
                "patient_id": f"p{n}",
                "split": "val" if n % 5 == 4 else "train",
                "pixels": generator.integers(0, 256, 32 * 32, dtype=np.uint8).tobytes(),
                "lung_mask": zlib.compress(bytes([1]) * 32 * 32) if n < 20 else None,
                "unhealthy": int(n % 4 < 2),
                "covid": covid,
                "other": int(n % 4 == 1),
            }
        )
    return _Blocks([pa.Table.from_pylist(rows, schema=FRAMES)])


def trained(root: Path, monkeypatch: pytest.MonkeyPatch, epochs: int, one_sided: bool = False) -> Path:
    """Trained until it has `epochs`, from where it is; the directory of its last checkpoint."""
    values = {
        "data": "d", "storage": str(root), "name": "run", "frame": {"size": 32},
        "loss": {"source_penalty": 0.5, "attention": 2.0},
        "model": {"tasks": ["lung", "health", "covid"], "width": 0.0625, "weights": "none"},
        "train": {**RECIPE, "epochs": epochs, "batch_size": 8, "lr": 1e-3},
    }  # fmt: skip
    config = TrainConfig.parse(values, origin="test")
    monkeypatch.setattr(ray, "put", lambda value: value)
    monkeypatch.setattr(ray, "get", lambda value: value)
    torch.manual_seed(0)
    (root / "run").mkdir(parents=True, exist_ok=True)
    _Fit(lambda figures: None)(config, frames(one_sided), build_model(config.model).state_dict(), "hash")
    return sorted((root / "run").glob("checkpoint_[0-9]*"))[-1]


def test_every_option_together_trains_and_what_it_knows_is_kept(tmp_path, monkeypatch, capsys) -> None:
    last = trained(tmp_path, monkeypatch, 2)
    learned = json.loads((last / "environment.json").read_text())["learns_from"]
    assert learned["covid"] == {"a": [8, 8]}
    assert learned["health"]["b"] == [8, 8]
    assert learned["lung"] == {"a": [16, 0]}
    said = capsys.readouterr().out
    assert "covid learns from: a 8 with COVID-19 and 8 without" in said
    assert "attention: 16 images with annotated lungs take part" in said
    figures = load_history(str(last))[-1]
    assert figures["train_attention"] > 0
    assert figures["train_attention_images"] >= 1, "images are drawn, so their number is not that of the annotated"
    points = json.loads((last / "operating_points.json").read_text())
    assert points["specificity_0.90_every_source"]["unhealthy"]["sources"]["b"] == {
        "negatives": 2, "specificity": None, "used": False
    }  # fmt: skip
    weights = {name: value for name, value in load_history(str(last))[-1].items() if name.startswith("group_weight_")}
    assert len(weights) >= 4
    assert sum(weights.values()) == pytest.approx(len(weights))
    assert len(set(weights.values())) > 1


def test_gone_on_with_it_gives_the_same_bytes(tmp_path, monkeypatch) -> None:
    whole = trained(tmp_path / "whole", monkeypatch, 2)
    trained(tmp_path / "parts", monkeypatch, 1)
    parts = trained(tmp_path / "parts", monkeypatch, 2)
    assert (parts / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


def test_a_head_that_would_learn_from_no_image_is_refused(tmp_path, monkeypatch) -> None:
    with pytest.raises(ConfigError, match="expected a source with images of both classes"):
        trained(tmp_path, monkeypatch, 1, one_sided=True)
