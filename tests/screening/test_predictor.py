from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from comit_ray.data.masks import from_png
from comit_ray.errors import CheckpointError
from comit_ray.operating_points import OperatingPoint
from comit_ray.schema import EMBEDDINGS, MASKS, PREDICTIONS
from comit_ray.screening.predictor import Predictor
from comit_ray.screening.reader import FETCHED
from comit_ray.training import checkpoint
from comit_ray.work import chunk
from tests.support import write_checkpoint

POINT = OperatingPoint("specificity_0.90", {"covid": 0.5, "unhealthy": 0.0})


def fetched(*frames: np.ndarray | None) -> pa.Table:
    """Frames as fetched rows; None a failed one."""
    rows = []
    for index, frame in enumerate(frames):
        row: dict[str, Any] = {
            "image_id": f"a/{index}",
            "status": "failed",
            "reason": "truncated",
            "detail": "half",
            "view": "PA",
        }
        if frame is not None:
            row |= {
                "status": "ok",
                "reason": None,
                "detail": None,
                "height": 128,
                "width": 64,
                "frame": frame.tobytes(),
            }
            row |= {"top": 0.0, "left": 0.0, "rows_per_pixel": 0.5, "columns_per_pixel": 1.0}
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=FETCHED)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8)


def predictor(tmp_path, batch_size=2, embeddings=True, **model) -> Predictor:
    uri = write_checkpoint(tmp_path / f"checkpoint-{len(list(tmp_path.iterdir()))}", **model)
    return Predictor(uri, checkpoint.load(uri).model_id, POINT, "run", batch_size, embeddings=embeddings)


def test_one_row_an_image_and_masks_for_the_scored(tmp_path):
    tables = predictor(tmp_path).predict(fetched(noise(0), None, noise(1), noise(2)))
    assert tables["predictions"].schema.equals(PREDICTIONS)
    assert tables["masks"].schema.equals(MASKS)
    assert tables["embeddings"].schema.equals(EMBEDDINGS)
    rows = tables["predictions"].to_pylist()
    assert [row["image_id"] for row in rows] == ["a/0", "a/1", "a/2", "a/3"]
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "ok"]
    assert rows[1]["p_covid"] is None
    assert rows[1]["covid_flag"] is None
    assert rows[1]["operating_point"] is None
    assert rows[0]["unhealthy_flag"] is True
    assert 0 < rows[0]["p_covid"] < 1
    assert rows[0]["covid_flag"] == (rows[0]["p_covid"] >= 0.5)
    assert tables["masks"]["image_id"].to_pylist() == ["a/0", "a/2", "a/3"]
    assert from_png(tables["masks"]["lung_png"][0].as_py()).mean() == pytest.approx(rows[0]["lung_area"])


def test_the_batch_size_does_not_change_the_scores(tmp_path):
    images = [noise(seed) for seed in range(5)]
    scores = [
        predictor(tmp_path, batch_size=size).predict(fetched(*images))["predictions"]["p_covid"].to_pylist()
        for size in (1, 2, 5)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert scores[0] == pytest.approx(scores[2], abs=1e-6)


def test_absent_heads_give_nulls(tmp_path):
    tables = predictor(tmp_path, tasks=["covid"]).predict(fetched(noise(0)))
    row = tables["predictions"].to_pylist()[0]
    assert row["p_covid"] is not None
    absent = ("p_unhealthy", "unhealthy_flag", "lung_area", "disease_area", "zone_disease")
    assert all(row[name] is None for name in absent)
    assert tables["masks"].to_pylist()[0]["lung_png"] is None


def test_a_score_that_is_no_number_is_a_failure(tmp_path):
    broken = predictor(tmp_path)
    with torch.no_grad():
        for parameter in broken.model.parameters():
            parameter.fill_(torch.nan)
    row = broken.predict(fetched(noise(0)))["predictions"].to_pylist()[0]
    assert (row["status"], row["reason"], row["p_covid"]) == ("failed", "model_failed", None)


def test_out_of_memory_halves_the_batch(tmp_path, monkeypatch):
    small = predictor(tmp_path, batch_size=4)
    expected = small.predict(fetched(*map(noise, range(4))))["predictions"]["p_covid"].to_pylist()
    sizes = []
    original = small._scores

    def limited(frames_BHW):
        sizes.append(len(frames_BHW))
        if len(frames_BHW) > 1:
            raise torch.OutOfMemoryError("too many")
        return original(frames_BHW)

    monkeypatch.setattr(small, "_scores", limited)
    found = small.predict(fetched(*map(noise, range(4))))["predictions"]["p_covid"].to_pylist()
    assert sizes == [4, 2, 1, 1, 1, 1]
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_packed_chunk_comes_back_packed(tmp_path):
    row = predictor(tmp_path, embeddings=False)(chunk.pack("f.parquet", {"fetched": fetched(noise(0), None)}))
    file, tables = chunk.unpack(row)
    assert file == "f.parquet"
    assert sorted(tables) == ["masks", "predictions"]


def test_an_empty_or_wholly_failed_chunk_is_fine(tmp_path):
    tables = predictor(tmp_path).predict(fetched(None, None))
    assert tables["predictions"].num_rows == 2
    assert tables["masks"].num_rows == 0


def test_a_checkpoint_that_was_replaced_is_refused(tmp_path):
    uri = write_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match="was replaced while the run went on"):
        Predictor(uri, "000000000000", POINT, "run", 2)
