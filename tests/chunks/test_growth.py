"""The question of a run, chunk by chunk: a manifest that has all chunks of the one before is the same, grown."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from comit_ray.chunks import growth, run_record
from comit_ray.chunks import plan as planning
from comit_ray.errors import ConfigError
from comit_ray.storage import storage
from comit_ray.tables.manifest_schema import MANIFEST
from tests.support import manifest_row, write_rows

ROWS = [manifest_row(f"a/{number}", chunk=f"a-{number // 2}") for number in range(6)]
NEW = [manifest_row(f"a/{number}", chunk="2026-11-30-a-00000") for number in (6, 7)]


def planned(tmp_path: Path, rows: list[dict[str, Any]]) -> planning.Plan:
    shutil.rmtree(tmp_path / "manifest", ignore_errors=True)
    return planning.make_plan(write_rows(tmp_path / "manifest", rows, MANIFEST), "all")


def opened(output: str, plan: planning.Plan, **question: Any) -> str:
    asked = {"manifest": plan.fingerprint, "model_id": "m"} | question
    return growth.open_run(output, asked, {}, "predictions", plan)


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "local" else f"{request.getfixturevalue('bucket')}/out"


def test_a_grown_manifest_is_the_same_run_and_only_its_new_chunks_are_left(tmp_path: Path, output: str) -> None:
    first, grown = planned(tmp_path, ROWS), planned(tmp_path, [*ROWS, *NEW])
    run_id = opened(output, first)
    assert opened(output, first) == run_id
    assert opened(output, grown) == run_id
    record = run_record.read(output)
    assert record["question"]["manifest"] == grown.fingerprint
    assert [entry["before"] for entry in record["grown"]] == [first.fingerprint]
    left = grown.without({chunk.file for chunk in first.chunks})
    assert [chunk.chunk for chunk in left.chunks] == ["2026-11-30-a-00000"]
    assert left.chunks[0].file.startswith("2026-11-30-a-00000-")
    assert opened(output, grown) == run_id
    assert len(run_record.read(output)["grown"]) == 1


def test_chunks_may_also_come_before_those_that_were_asked(tmp_path: Path, output: str) -> None:
    run_id = opened(output, planned(tmp_path, ROWS))
    assert opened(output, planned(tmp_path, [*NEW, *ROWS])) == run_id


def test_a_manifest_that_lost_or_changed_chunks_is_refused_with_a_count_and_examples(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    opened(output, planned(tmp_path, ROWS))
    for rows, expected in (
        (
            ROWS[:4],
            r"of the 3 chunks of that manifest, this one lacks 1 and has 0 with other .* \(2 images; such as a-2\)",
        ),
        ([*ROWS[:5], ROWS[5] | {"excluded": "duplicate"}, *NEW], r"lacks 0 and has 1 with other .*such as a-2"),
        ([*ROWS[2:], *NEW, manifest_row("a/9", chunk="a-9")], r"lacks 1 and has 0"),
        ([ROWS[0] | {"view": "AP"}, *ROWS[1:]], r"lacks 0 and has 1"),
    ):
        with pytest.raises(ConfigError, match=expected):
            opened(output, planned(tmp_path, rows))
    assert "grown" not in run_record.read(output)


def test_a_grown_manifest_does_not_excuse_another_model(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    opened(output, planned(tmp_path, ROWS))
    grown = planned(tmp_path, [*ROWS, *NEW])
    with pytest.raises(ConfigError, match=r"other settings \(model_id was 'm', now 'n'\)"):
        opened(output, grown, model_id="n")
    assert run_record.read(output)["question"]["manifest"] != grown.fingerprint


def test_an_output_of_before_grows_if_the_manifest_begins_with_its_own(tmp_path: Path) -> None:
    """Older outputs have no list of chunks: the fingerprint of each beginning of the new manifest is compared."""
    output = str(tmp_path / "out")
    first = planned(tmp_path, ROWS)
    run_id = opened(output, first)
    storage.delete(storage.join(output, growth.DIRECTORY, f"{first.fingerprint}.parquet"))
    with pytest.raises(ConfigError, match="other settings"):
        opened(output, planned(tmp_path, [*NEW, *ROWS]))
    assert opened(output, planned(tmp_path, [*ROWS, *NEW])) == run_id


def test_stopped_between_the_list_and_the_record_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = str(tmp_path / "out")
    run_id = opened(output, planned(tmp_path, ROWS))
    grown = planned(tmp_path, [*ROWS, *NEW])
    with monkeypatch.context() as patch:
        patch.setattr(run_record, "grow", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            opened(output, grown)
    assert opened(output, planned(tmp_path, ROWS)) == run_id
    assert opened(output, grown) == run_id


def test_images_that_are_superseded_are_of_the_plan_and_change_no_chunk(tmp_path: Path) -> None:
    plan = planned(tmp_path, ROWS)
    record = '{"number": 1, "added_on": "2026-11-30", "base": "", "parts": [], "rows": 0, "gone": [], "returned": [],'
    (tmp_path / "manifest" / "update-00001.json").write_text(f'{record} "superseded": {{"a/1": "a/1@2"}}}}')
    marked = planning.make_plan(str(tmp_path / "manifest"), "all")
    assert marked.fingerprint == plan.fingerprint
    assert marked.parts[0].superseded == ("a/1",)
    assert marked.without({plan.chunks[1].file}).parts[0].superseded == ("a/1",)
