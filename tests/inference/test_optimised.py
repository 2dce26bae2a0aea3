"""Which model computes: what is stored beside a checkpoint, what is chosen, and what is refused."""

import json
from pathlib import Path

import pytest

from comit_ray.checkpoint import checkpoint
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.errors import CheckpointError, ConfigError
from comit_ray.inference import optimised
from comit_ray.inference.model import load_model
from comit_ray.inference.optimised import OptimisedRecord
from comit_ray.optimisation.run_optimise import publish
from comit_ray.screening.predictor import Predictor, PredictorSettings
from tests.support import write_checkpoint


def stored(uri: str, precision: str, speed: float, **changes: object) -> OptimisedRecord:
    """A record beside a checkpoint, and files that are no model."""
    values = {
        "backend": "openvino",
        "precision": precision,
        "model_id": checkpoint.load(uri).model_id,
        "files": {},
        "versions": {},
        "instructions": "x",
        "calibrated_on": 0,
        "measured": {},
        "bounds": {},
        "speed": speed,
    }
    record = OptimisedRecord.model_validate(values | changes)
    points = b'{"specificity_0.90": {"covid": {"threshold": 0.125}}}'
    files = {"model.xml": b"x", "model.bin": b"y", "operating_points.json": points, "temperatures.json": b"{}"}
    publish(optimised.place(uri, precision), files, record)
    return optimised.read_record(uri, precision)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return write_checkpoint(tmp_path / "checkpoint")


def test_pytorch_is_the_default_whatever_lies_there(uri: str) -> None:
    stored(uri, "int8", 3.0)
    assert optimised.choose(uri, "torch", None)[:2] == ("torch", "float32")
    assert optimised.facts(uri, "torch", "float32").model_id == checkpoint.load(uri).model_id
    with pytest.raises(ConfigError, match="--backend torch computes in float32, got --precision int8"):
        optimised.choose(uri, "torch", "int8")


def test_auto_takes_the_fastest_that_is_faster_than_pytorch(uri: str) -> None:
    assert optimised.choose(uri, "auto", None) == (
        "torch-fused",
        "float32",
        "PyTorch in float32, batch norms folded into the convolutions: no optimised model lies beside the checkpoint",
    )
    stored(uri, "float32", 0.9)
    assert optimised.choose(uri, "auto", None)[0] == "torch-fused"
    assert optimised.choose(uri, "openvino", None)[:2] == ("openvino", "float32")
    stored(uri, "int8", 2.5)
    assert optimised.choose(uri, "auto", None) == (
        "openvino",
        "int8",
        "OpenVINO in int8, 2.5 times PyTorch where it was made",
    )
    assert optimised.choose(uri, "auto", "float32")[0] == "torch-fused"


def test_auto_without_the_library_says_how_to_have_it(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(uri, "int8", 2.5)
    monkeypatch.setattr(optimised, "installed", lambda: False)
    backend, _, why = optimised.choose(uri, "auto", None)
    assert backend == "torch-fused"
    assert "pip install 'comit-ray[cpu]'" in why


@pytest.mark.parametrize("precision", ["int8", None])
def test_what_was_never_made_says_how_to_make_it(uri: str, precision: str | None) -> None:
    with pytest.raises(ConfigError, match="has no such model yet: run comit-ray optimise --checkpoint"):
        optimised.choose(uri, "openvino", precision)


def test_its_thresholds_and_its_id_are_its_own(uri: str) -> None:
    record = stored(uri, "int8", 2.0)
    facts = optimised.facts(uri, "openvino", "int8")
    assert facts.operating_points["specificity_0.90"].thresholds == {"covid": 0.125}
    assert facts.model_id == optimised.variant_id(record)
    other = stored(uri, "float32", 1.0)
    assert optimised.variant_id(other) != optimised.variant_id(record)


def test_a_model_of_other_weights_is_refused(uri: str) -> None:
    stored(uri, "int8", 2.0, model_id="0123456789ab")
    for ask in (
        lambda: optimised.facts(uri, "openvino", "int8"),
        lambda: load_model(uri, "openvino", precision="int8"),
    ):
        with pytest.raises(CheckpointError, match="was made from model 0123456789ab, but the checkpoint is"):
            ask()


def test_a_file_that_was_exchanged_is_refused(uri: str) -> None:
    stored(uri, "int8", 2.0)
    Path(optimised.place(uri, "int8"), "operating_points.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"operating_points\.json has another hash than its record says"):
        optimised.facts(uri, "openvino", "int8")


def test_a_record_that_is_none_is_refused(uri: str) -> None:
    stored(uri, "int8", 2.0)
    path = Path(optimised.place(uri, "int8"), "record.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"precision": "int4"}))
    with pytest.raises(CheckpointError, match="expected the record that comit-ray optimise writes"):
        optimised.read_record(uri, "int8")


def test_what_decides_the_arithmetic_is_named_and_of_pytorch_nothing() -> None:
    assert optimised.computed("torch", "float32") == {}
    assert optimised.computed("torch-fused", "float32") == {"backend": "torch-fused", "precision": "float32"}
    assert set(optimised.computed("openvino", "int8")) == {"backend", "precision", "openvino", "instructions"}
    assert optimised.instruction_set()


def test_a_machine_that_computes_otherwise_is_refused(uri: str) -> None:
    computed = optimised.computed("openvino", "int8") | {"instructions": "another"}
    settings = PredictorSettings(uri, "m", OperatingPoint("p", {}), "r", 4, computed=computed)
    with pytest.raises(ConfigError, match="their scores differ and must not share a table"):
        Predictor(settings)
