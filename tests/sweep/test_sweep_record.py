"""A study's directory: begun once, gone on with by the same question alone, and one row per trial."""

import pyarrow as pa
import pytest

from comit_ray.errors import ConfigError
from comit_ray.storage import storage
from comit_ray.sweep import sweep_record
from comit_ray.tables import parquet
from comit_ray.tables.schema import PREDICTIONS, STUDY_PREDICTIONS, TRIALS
from tests.support import prediction_row

ASKED = {"kind": "sweep", "study": "ablation", "manifest": "f00", "trials": [{"trial": "a-s0"}, {"trial": "b-s0"}]}
ROW = {
    "trial": "a-s0", "variant": "a", "seed": 0, "study": "ablation", "kind": "network", "model": "comit_net",
    "tasks": ["covid"], "status": "ok", "config": "{}", "config_digest": "0", "split": "test",
}  # fmt: skip


def test_a_study_is_begun_once(tmp_path) -> None:
    uri = str(tmp_path / "study")
    sweep_record.open_study(uri, ASKED, {}, resume=False)
    with pytest.raises(ConfigError, match="exists: give another --name, or --resume true"):
        sweep_record.open_study(uri, ASKED, {}, resume=False)
    sweep_record.open_study(uri, ASKED, {"concurrent": 3}, resume=True)


def test_another_question_is_refused_and_the_difference_said(tmp_path) -> None:
    uri = str(tmp_path / "study")
    sweep_record.open_study(uri, ASKED, {}, resume=True)
    other = ASKED | {"manifest": "f01", "trials": [{"trial": "a-s0"}, {"trial": "c-s0"}, {"trial": "d-s0"}]}
    with pytest.raises(ConfigError) as error:
        sweep_record.open_study(uri, other, {}, resume=True)
    assert "manifest was 'f00', now 'f01'" in str(error.value)
    assert "of its 2 trials 1 are not planned now, and 2 others are" in str(error.value)


def test_attempts_are_counted(tmp_path) -> None:
    uri = str(tmp_path)
    assert sweep_record.attempts(uri, "a-s0") == 0
    assert [sweep_record.begin(uri, "a-s0"), sweep_record.begin(uri, "a-s0"), sweep_record.begin(uri, "b-s0")] == [
        1,
        2,
        1,
    ]
    assert (sweep_record.attempts(uri, "a-s0"), sweep_record.attempts(uri, "b-s0")) == (2, 1)


def test_a_row_is_written_whole_and_its_predictions_before_it(tmp_path) -> None:
    uri = str(tmp_path)
    assert sweep_record.recorded(uri) == {}
    rows = [prediction_row(f"d/{i}.png", p_covid=i / 4) for i in range(4)]
    screened = pa.Table.from_pylist(rows, schema=PREDICTIONS)
    parquet.write_table(storage.join(sweep_record.results(uri, "a-s0"), "predictions", "part.parquet"), screened)
    scored = sweep_record.scored_rows(uri, "a-s0", "a", 7, ["d/1.png", "d/3.png"])
    assert scored.schema.equals(STUDY_PREDICTIONS)
    assert scored.select(["trial", "seed", "image_id", "p_covid"]).to_pylist() == [
        {"trial": "a-s0", "seed": 7, "image_id": "d/1.png", "p_covid": 0.25},
        {"trial": "a-s0", "seed": 7, "image_id": "d/3.png", "p_covid": 0.75},
    ]
    sweep_record.commit(uri, ROW, scored)
    assert sweep_record.recorded(uri) == {"a-s0": "ok"}
    table = parquet.read_table(storage.join(uri, "trials"))
    assert table.schema.equals(TRIALS)
    assert table["auroc"].to_pylist() == [None]
    assert parquet.read_table(storage.join(uri, "predictions")).equals(scored)


def test_a_study_in_object_storage_is_begun_once_too(bucket) -> None:
    uri = f"{bucket}/study"
    sweep_record.open_study(uri, ASKED, {}, resume=False)
    with pytest.raises(ConfigError, match="exists"):
        sweep_record.open_study(uri, ASKED, {}, resume=False)
    assert [sweep_record.begin(uri, "a-s0"), sweep_record.begin(uri, "a-s0")] == [1, 2]
    sweep_record.commit(uri, ROW)
    assert sweep_record.recorded(uri) == {"a-s0": "ok"}
