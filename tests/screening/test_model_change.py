"""A new model in a programme: both are compared on the same images, and old rows are kept or scored again."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from comit_ray.chunks import run_record
from comit_ray.chunks.ownership import Owner, settings_hash
from comit_ray.command.screen_archive import screen
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.errors import ConfigError
from comit_ray.screening import model_change
from tests.jobs.without_ray import without_ray  # noqa: F401  # a fixture
from tests.support import write_checkpoint

QUESTION = {"manifest": "f", "model_id": "old", "frame": {"size": 64}, "temperature": "off", "embeddings": False}
POINT = {"name": "specificity_0.90", "thresholds": {"covid": 0.5}}


def frame(p_covid: list[float | None], threshold: float = 0.5) -> pd.DataFrame:
    flags = [None if score is None else score >= threshold for score in p_covid]
    rows = {"image_id": [f"a/{n}" for n in range(len(p_covid))], "status": ["ok"] * len(p_covid), "p_covid": p_covid}
    rows |= {"covid_flag": flags, "unhealthy_flag": None, "p_unhealthy": None, "p_other": None, "model_id": "m"}
    return pd.DataFrame(rows)


def test_medians_flags_and_agreement_of_two_models() -> None:
    found = model_change.compared(frame([0.1, 0.2, 0.6, 0.9]), frame([0.3, 0.55, 0.7, 0.4]))
    assert found["images"] == 4
    assert found["scores"]["covid"] == pytest.approx({"old": 0.4, "new": 0.475, "shift": 0.075, "median_change": 0.15})
    flags = {"old": 2, "new": 2, "only_old": 1, "only_new": 1, "agreement": 0.5, "kappa": 0.0}
    assert found["flags"] == {"covid_flag": pytest.approx(flags)}
    told = "\n".join(model_change.lines(found, "keep"))
    assert "p_covid: median 0.400, now 0.475 (+0.075)" in told
    assert "1 flagged by the new model only, 1 by the old model only; same flag for 50.0%, kappa 0.00" in told


def test_images_that_one_did_not_score_are_left_out() -> None:
    new = frame([0.3, 0.4])
    new.loc[1, "status"] = "failed"
    found = model_change.compared(frame([0.1, 0.9, 0.9]), new)
    assert found["images"] == 1
    assert found["flags"]["covid_flag"]["kappa"] is None
    assert "nothing to compare" in "\n".join(model_change.lines(None, "rescreen"))


def test_rows_of_a_kept_model_count_and_those_of_a_third_do_not(tmp_path: Path) -> None:
    output = str(tmp_path)
    run_record.open_run(output, QUESTION | {"operating_point": POINT}, {}, "predictions")
    old = Owner.of(run_record.read(output))
    new = QUESTION | {"model_id": "new", "operating_point": POINT}
    assert model_change.is_asked(output, new, "keep")
    assert not model_change.is_asked(output, QUESTION, "keep")
    with pytest.raises(ConfigError, match=r"changes only the model, but other settings differ too \(embeddings\)"):
        model_change.is_asked(output, new | {"embeddings": True}, "keep")
    model_change.accept(output, new, "keep", None)
    owner = Owner.of(run_record.read(output))
    assert (owner.model_id, owner.settings, owner.models) == ("new", settings_hash(new), frozenset(("old", "new")))
    assert owner.difference(old.metadata()) is None
    assert owner.difference(replace(old, model_id="third").metadata()) is not None
    assert owner.difference(replace(old, run_id="other").metadata()) is not None
    model_change.accept(output, QUESTION | {"model_id": "newest"}, "rescreen", None)
    assert Owner.of(run_record.read(output)).models == {"newest"}
    assert [change["before"] for change in run_record.read(output)["model_changes"]] == ["old", "new"]


@pytest.mark.usefixtures("without_ray")
def test_a_programme_changes_its_model(cxr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:4]
    (tmp_path / "archive").mkdir()
    for path in images[:3]:
        shutil.copy(path, tmp_path / "archive")
    output = tmp_path / "out"

    def run(checkpoint: str, **options: object) -> dict[str, str]:
        asked = {"archive": str(tmp_path / "archive"), "output": str(output), "checkpoint": checkpoint} | options
        assert screen(ScreenConfig(**asked)).balanced
        rows = duckdb.sql(f"SELECT image_id, model_id FROM '{output}/predictions/*.parquet'").fetchall()
        assert len(dict(rows)) == len(rows)
        return dict(rows)

    first, second = (write_checkpoint(tmp_path / name, seed=seed) for seed, name in enumerate(("first", "second")))
    old = run(first)
    shutil.copy(images[3], tmp_path / "archive")
    with pytest.raises(ConfigError, match="other settings"):
        run(second)
    kept = run(second, model_change="keep")
    assert {name: kept[name] for name in old} == old
    assert set(kept.values()) - set(old.values()) == {kept[f"files/{images[3].name}"]}
    assert "both models compared on 3 images" in capsys.readouterr().out
    (comparison,) = (output / "model_changes").glob("*/comparison.json")
    assert json.loads(comparison.read_text())["images"] == 3
    assert run(second) == kept
    again = run(first, model_change="rescreen")
    assert set(again.values()) == set(old.values())
    assert len(again) == 4
