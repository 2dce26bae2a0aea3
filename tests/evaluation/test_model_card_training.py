"""What is read of a checkpoint, as data."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from comit_ray.checkpoint import checkpoint, reference
from comit_ray.evaluation import model_card
from tests.support import write_checkpoint


def results(root: Path, uri: str | None, **question: Any) -> str:
    settings = {} if uri is None else {"checkpoint": uri}
    (root / "results").mkdir(exist_ok=True)
    record = {"run_id": "r", "question": question, "settings": settings}
    (root / "results" / "run.json").write_text(json.dumps(record))
    return str(root / "results")


def test_a_checkpoint_says_its_configuration_and_software(tmp_path: Path) -> None:
    uri = write_checkpoint(tmp_path / "checkpoint")
    found = model_card.read(results(tmp_path, uri, model_id=checkpoint.load(uri).model_id))
    assert found.reason is None
    assert found.config is not None
    assert found.config["frame"]["size"] == 64
    assert found.environment is not None
    assert {"torch", "ray"} <= set(found.environment)
    assert (found.epochs, found.facts) == (1, None)


def test_its_data_are_told_where_it_remembers_them(tmp_path: Path) -> None:
    uri = write_checkpoint(tmp_path / "checkpoint")
    sample = reference.Sample(np.eye(30), {}, ["nih PA"] * 30, [None] * 30)
    known = reference.make(sample, np.eye(30), {}, ["PA"] * 30, ["nih"] * 30, ["p"] * 5)
    for name, data in zip(checkpoint.REFERENCE, reference.to_files(known), strict=True):
        (tmp_path / "checkpoint" / name).write_bytes(data)
    found = model_card.read(results(tmp_path, uri, model_id=checkpoint.load(uri).model_id))
    assert found.facts is not None
    assert (found.facts["training_images"], found.facts["sources"]) == (30, {"nih": 1.0})


def test_what_is_not_known_has_a_reason(tmp_path: Path) -> None:
    uri = write_checkpoint(tmp_path / "checkpoint")
    asked = {
        None: "a bare predictions table does not name its checkpoint",
        str(tmp_path / "empty"): "the results' run.json cannot be read",
        results(tmp_path, None, model_id="m"): "names no checkpoint",
    }
    for where, reason in asked.items():
        assert reason in (model_card.read(where).reason or "")
    assert "is no longer the checkpoint of these results" in (model_card.read(results(tmp_path, uri)).reason or "")
    gone = results(tmp_path, str(tmp_path / "gone"), model_id="m")
    assert "the checkpoint can no longer be read" in (model_card.read(gone).reason or "")
