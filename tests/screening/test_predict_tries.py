"""A chunk that the model fails on is tried again, then its rows fail; a model that fails on many ends the run."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from comit_ray.checkpoint import checkpoint
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import plan
from comit_ray.chunks.attempts import MOST_GIVEN_UP
from comit_ray.chunks.progress import Counters
from comit_ray.screening.predictor import PredictorSettings
from comit_ray.screening.screen_pipeline import _Predict
from tests.support import fetched, write_checkpoint


class Counted:
    """The ledger of a run, in this process."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}
        self.given_up: set[str] = set()

    def begin(self, name: str) -> int:
        self.begun[name] = self.begun.get(name, 0) + 1
        return self.begun[name] - 1

    def end(self, name: str) -> None:
        self.begun.pop(name)

    def give_up(self, name: str) -> int:
        self.given_up.add(name)
        return len(self.given_up)


class Silent(Counters):
    """Tells Ray's metrics nothing."""

    def stage(self, stage: str, seconds: float, size: int = 0, batches: int = 0) -> None:
        return


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> _Predict:
    uri = write_checkpoint(tmp_path_factory.mktemp("model") / "checkpoint")
    point = OperatingPoint("specificity_0.90", {"covid": 0.5, "unhealthy": 0.0})
    settings = PredictorSettings(uri, checkpoint.load(uri).model_id, point, "run", 2)
    ledger: Any = Counted()
    return _Predict(settings, Silent("test"), ledger)


def chunk(name: str) -> pa.Table:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    return plan.pack(name, {"fetched": fetched(noise, None, noise)})


def reasons(predict: _Predict, name: str) -> list[str | None]:
    found: list[str | None] = plan.unpack(predict(chunk(name)))[1]["predictions"]["reason"].to_pylist()
    return found


def failing(predict: _Predict, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The model's next `times` passes over images raise, as a GPU's library does."""
    real, left = predict.model.predict, [times]

    def once(frames_BHW: Any, **options: Any) -> Any:
        if len(frames_BHW) and left[0]:
            left[0] -= 1
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return real(frames_BHW, **options)

    monkeypatch.setattr(predict.model, "predict", once)


def test_a_failure_for_a_moment_changes_nothing(predict: _Predict, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = reasons(predict, "a")
    assert expected == [None, "truncated", None]
    failing(predict, monkeypatch, 1)
    assert reasons(predict, "a") == expected


def test_one_chunk_fails_alone(predict: _Predict, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(predict, monkeypatch, 2)
    tables = plan.unpack(predict(chunk("b")))[1]
    assert tables["predictions"]["reason"].to_pylist() == ["program_failed", "truncated", "program_failed"]
    assert "the model raised RuntimeError on its chunk twice" in tables["predictions"]["detail"][0].as_py()
    assert len(tables["masks"]) == 0
    assert reasons(predict, "c") == [None, "truncated", None]


def test_a_model_that_fails_on_all_ends_the_run(predict: _Predict, monkeypatch: pytest.MonkeyPatch) -> None:
    predict.attempts.given_up.clear()  # type: ignore[attr-defined]
    failing(predict, monkeypatch, 99)
    for number in range(MOST_GIVEN_UP):
        assert reasons(predict, f"d{number}")[0] == "program_failed"
    with pytest.raises(RuntimeError, match="CUDA error"):
        predict(chunk("e"))


def test_a_chunk_that_ended_three_processes_is_not_predicted(predict: _Predict) -> None:
    predict.attempts.begun["predict f"] = 3  # type: ignore[attr-defined]
    assert reasons(predict, "f") == ["program_failed", "truncated", "program_failed"]
    assert reasons(predict, "f") == [None, "truncated", None]


def test_how_often_it_ended_is_told(predict: _Predict) -> None:
    predict.attempts.begun["predict g"] = 4  # type: ignore[attr-defined]
    tables = plan.unpack(predict(chunk("g")))[1]
    assert "the model's process died 4 times" in tables["predictions"]["detail"][0].as_py()
