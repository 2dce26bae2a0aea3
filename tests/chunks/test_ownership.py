"""Files of another run, model or run settings, and drivers that were overtaken."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comit_ray.chunks import accounts, ownership, run_record
from comit_ray.chunks import plan as planning
from comit_ray.chunks.ownership import Owner, check_lease, settings_hash, take_lease
from comit_ray.errors import OvertakenError, StorageError
from comit_ray.evaluation.screen_metrics import join_tables
from comit_ray.screening.screen_tables import layout, read_predictions
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import MASKS, PREDICTIONS
from tests.support import manifest_row, mask_row, prediction_row, write_rows

QUESTION = {"manifest": "f", "model_id": "m1", "temperature": "off", "gradcam": False}
OWNER = Owner("r1", "m1", settings_hash(QUESTION))
LAYOUT = layout(embeddings=False)


def tables(owner: Owner) -> dict[str, pa.Table]:
    row = prediction_row("a/1", 0.9, run_id=owner.run_id, model_id=owner.model_id)
    return {
        "predictions": pa.Table.from_pylist([row], schema=PREDICTIONS),
        "masks": pa.Table.from_pylist([mask_row("a/1")], schema=MASKS),
    }


@pytest.fixture
def plan(tmp_path: Path) -> planning.Plan:
    return planning.make_plan(write_rows(tmp_path / "manifest", [manifest_row("a/1")], MANIFEST), "all")


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "local" else f"{request.getfixturevalue('bucket')}/out"


def test_every_file_says_whose_it_is(plan: planning.Plan, tmp_path: Path) -> None:
    owner, file = take_lease(str(tmp_path), OWNER), plan.chunks[0].file
    planning.commit(str(tmp_path), file, tables(owner), LAYOUT, owner)
    for table in ("predictions", "masks"):
        said = pq.read_metadata(tmp_path / table / file).metadata
        expected = {"run_id": b"r1", "model_id": b"m1", "run_settings": OWNER.settings.encode()}
        assert {key: said[f"comit_ray.{key}".encode()] for key in expected} == expected
        assert said[b"comit_ray.table"] == table.encode()
    assert pq.read_metadata(tmp_path / "predictions" / file).metadata[b"comit_ray.fence"] == b"1"


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (replace(OWNER, run_id="r0"), "run_id 'r0', expected 'r1'"),
        (replace(OWNER, model_id="m0"), "model_id 'm0', expected 'm1'"),
        (replace(OWNER, settings="0000"), "run_settings '0000'"),
    ],
)
def test_a_chunk_of_another_run_is_not_done_and_is_named(plan, tmp_path, capsys, other: Owner, named: str) -> None:
    file = plan.chunks[0].file
    planning.commit(str(tmp_path), file, tables(other), LAYOUT, other)
    assert accounts.committed(plan, str(tmp_path), LAYOUT, OWNER) == set()
    told = capsys.readouterr().out
    assert file in told
    assert named in told
    assert not accounts.take(plan, str(tmp_path), LAYOUT, OWNER).balanced
    # A zombie that came between: its masks lie beside predictions of this run.
    planning.commit(str(tmp_path), file, tables(OWNER), LAYOUT, OWNER)
    assert accounts.committed(plan, str(tmp_path), LAYOUT, OWNER) == {file}
    zombie = tmp_path / "zombie"
    planning.commit(str(zombie), file, tables(other), LAYOUT, other)
    shutil.copy(zombie / "masks" / file, tmp_path / "masks" / file)
    assert accounts.committed(plan, str(tmp_path), LAYOUT, OWNER) == set()
    assert f"masks/{file} belongs to another run" in capsys.readouterr().out


def test_older_files_without_metadata_are_known_by_their_rows(plan, tmp_path) -> None:
    file = plan.chunks[0].file
    planning.commit(str(tmp_path), file, tables(OWNER), LAYOUT)
    assert accounts.committed(plan, str(tmp_path), LAYOUT, OWNER) == {file}
    assert accounts.committed(plan, str(tmp_path), LAYOUT, replace(OWNER, run_id="r2")) == set()
    assert accounts.committed(plan, str(tmp_path), LAYOUT, replace(OWNER, model_id="m2")) == set()


def test_the_queue_and_the_report_refuse_rows_of_another_model(plan, tmp_path) -> None:
    output, file = str(tmp_path), plan.chunks[0].file
    run_id = run_record.open_run(output, QUESTION, {}, "predictions")
    owner = Owner.of(run_record.read(output))
    assert owner == replace(OWNER, run_id=run_id)
    planning.commit(output, file, tables(owner), LAYOUT, owner)
    assert read_predictions(output).num_rows == 1
    assert len(join_tables(output, str(tmp_path / "manifest"), "all")) == 1
    other = replace(owner, model_id="m0")
    planning.commit(output, file, tables(other), LAYOUT, other)
    with pytest.raises(StorageError, match=r"belongs to another run than the run\.json beside it \(model_id 'm0'"):
        read_predictions(output)
    planning.commit(output, file, tables(owner), LAYOUT, owner)
    planning.commit(str(tmp_path / "zombie"), file, tables(other), LAYOUT, other)
    shutil.copy(tmp_path / "zombie" / "masks" / file, tmp_path / "masks" / file)
    with pytest.raises(StorageError, match=r"masks/.* belongs to another run"):
        join_tables(output, str(tmp_path / "manifest"), "all")


def test_run_settings_are_told_apart_but_not_by_the_manifest_or_what_was_not_asked_for() -> None:
    assert settings_hash(QUESTION | {"manifest": "g", "variants": []}) == settings_hash(QUESTION)
    assert settings_hash(QUESTION | {"temperature": {"covid": 1.2}}) != settings_hash(QUESTION)


def test_a_driver_that_was_overtaken_writes_nothing_more(plan, output: str) -> None:
    file = plan.chunks[0].file
    stopped = take_lease(output, OWNER)
    planning.commit(output, file, tables(stopped), LAYOUT, stopped)
    newer = take_lease(output, replace(OWNER, model_id="m2"))
    planning.commit(output, file, tables(newer), LAYOUT, newer)
    with pytest.raises(OvertakenError, match=r"another process has taken over .* \(lease 2\)"):
        planning.commit(output, file, tables(stopped), LAYOUT, stopped)
    assert read_predictions(output)["model_id"].to_pylist() == ["m2"]


def test_a_driver_whose_output_was_removed_and_begun_anew_writes_nothing(plan, tmp_path) -> None:
    """The new run has lease 1, as the old driver has: the token tells them apart."""
    output, file = str(tmp_path / "out"), plan.chunks[0].file
    stopped = take_lease(output, OWNER)
    planning.commit(output, file, tables(stopped), LAYOUT, stopped)
    shutil.rmtree(output)
    with pytest.raises(OvertakenError, match="was removed"):
        planning.commit(output, file, tables(stopped), LAYOUT, stopped)
    assert not Path(output).exists()
    newer = take_lease(output, replace(OWNER, model_id="m2"))
    assert newer.lease is not None
    assert newer.lease.number == 1
    with pytest.raises(OvertakenError, match="another run started"):
        planning.commit(output, file, tables(stopped), LAYOUT, stopped)
    check_lease(output, newer)


def test_overtaken_between_its_side_tables_and_its_commit(plan, tmp_path, monkeypatch) -> None:
    output, file = str(tmp_path / "out"), plan.chunks[0].file
    slow, real = take_lease(output, OWNER), parquet.write_table

    def write_table(uri: str, table: pa.Table, rows: int | None) -> str:
        digest = real(uri, table, rows)
        monkeypatch.setattr(parquet, "write_table", real)
        take_lease(output, OWNER)
        return digest

    monkeypatch.setattr(parquet, "write_table", write_table)
    with pytest.raises(OvertakenError):
        planning.commit(output, file, tables(slow), LAYOUT, slow)
    assert not (Path(output) / "predictions").exists()


def test_drivers_that_begin_at_once_get_a_number_each(output: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        owners = list(pool.map(lambda _: take_lease(output, OWNER), range(8)))
    assert sorted(owner.lease.number for owner in owners if owner.lease) == list(range(1, 9))
    newest = max(owners, key=lambda owner: owner.lease.number if owner.lease else 0)
    check_lease(output, newest)
    for owner in owners:
        if owner is not newest:
            with pytest.raises(OvertakenError):
                check_lease(output, owner)


def test_settling_takes_a_lease_of_its_own(plan, tmp_path) -> None:
    output = str(tmp_path / "out")
    mismatch = prediction_row("a/1", None, reason="checksum_mismatch", detail="other bytes", run_id="r1", model_id="m1")
    made = tables(OWNER) | {"predictions": pa.Table.from_pylist([mismatch], schema=PREDICTIONS)}
    planning.commit(output, plan.chunks[0].file, made | {"masks": MASKS.empty_table()}, LAYOUT, OWNER)
    assert accounts.settle(plan, output, LAYOUT, OWNER).balanced
    assert ownership.newest_lease(output) == 1
