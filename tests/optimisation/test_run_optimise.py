"""`comit-ray optimise`: what is within the bounds is stored whole, and what is not leaves nothing to be asked."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from comit_ray.checkpoint import checkpoint
from comit_ray.command.jobs import optimise as job
from comit_ray.config.optimise_config import BoundsConfig, OptimiseConfig
from comit_ray.errors import ConfigError
from comit_ray.inference import optimised
from comit_ray.inference.model import load_model
from comit_ray.prepare.prepared import encode
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import PREPARED
from tests.support import write_checkpoint

SIZE, IMAGES = 64, 24
LOOSE = BoundsConfig(flags=1, score=1, auroc=1, lung_iou=0, disease_iou=0)


def table(root: Path, images: int = IMAGES) -> str:
    """A training table of noise with labels: so many training and validation images."""
    random = np.random.default_rng(0)
    rows: list[dict[str, object]] = [
        {
            "image_id": f"d/{number}",
            "dataset": "d",
            "patient_id": str(number),
            "view": "PA",
            "findings": [],
            "split": "train" if number % 2 else "val",
            "unhealthy": number // 2 % 2,
            "covid": number // 4 % 2,
            "other": number // 4 % 2,
            "status": "ok",
            "height": SIZE,
            "width": SIZE,
            "pixels": encode(random.integers(0, 256, (SIZE, SIZE), np.uint8), "png"),
        }
        for number in range(2 * images)
    ]
    asked = {"kind": "prepare", "rows": len(rows), "training_hash": "h"}
    storage.write_bytes(f"{root}/run.json", json.dumps({"run_id": "r", "question": asked}).encode())
    parquet.write_table(f"{root}/images/d-0.parquet", pa.Table.from_pylist(rows, schema=PREPARED))
    return str(root)


def test_what_holds_is_stored_and_what_does_not_is_taken_away(tmp_path: Path, capsys) -> None:
    uri = write_checkpoint(tmp_path / "checkpoint", seed=1)
    options = OptimiseConfig(
        checkpoint=uri, data=table(tmp_path / "table"), precisions=("int8",), bounds=LOOSE, images=16
    )
    assert job(options) == 0
    said = capsys.readouterr().out
    assert "24 training and 24 validation images" in said
    assert "OpenVINO in int8: is stored" in said
    record = optimised.read_record(uri, "int8")
    assert record.model_id == checkpoint.load(uri).model_id
    assert (record.calibrated_on, record.measured["images"]) == (16, IMAGES)
    assert record.measured["score_p99"]["covid"] > 0
    assert set(record.versions) == {"openvino", "nncf", "torch"}
    assert record.speed > 0
    facts = optimised.facts(uri, "openvino", "int8")
    assert set(facts.operating_points) == {"specificity_0.90", "specificity_0.99"}
    assert facts.operating_points["specificity_0.90"].thresholds["covid"] != 0.5, "chosen anew, for these scores"
    with load_model(uri, "openvino", precision="int8") as model:
        assert model.model_id == facts.model_id

    assert job(options.model_copy(update={"bounds": BoundsConfig(score=0)})) == 1
    assert "is NOT stored: p_covid differs by" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="has no such model yet"):
        optimised.facts(uri, "openvino", "int8")


def test_what_is_no_training_table_or_too_small_is_refused(tmp_path: Path) -> None:
    uri = write_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(ConfigError, match="expected a training table: comit-ray prepare makes one"):
        job(OptimiseConfig(checkpoint=uri, data=str(tmp_path)))
    with pytest.raises(ConfigError, match="at least 20 images of split train needed, 10 there"):
        job(OptimiseConfig(checkpoint=uri, data=table(tmp_path / "small", 10)))
