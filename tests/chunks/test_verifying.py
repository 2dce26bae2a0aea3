"""Bits that flip in committed files, files that are torn or exchanged, and what `comit-ray verify` says of them."""

import os
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comit_ray.chunks import accounts
from comit_ray.chunks import plan as planning
from comit_ray.chunks.verifying import verify
from comit_ray.command import jobs
from comit_ray.config.screen_config import VerifyConfig
from comit_ray.errors import DamagedError
from comit_ray.storage import s3, storage
from comit_ray.tables import parquet, seal
from tests.benchmarks.faults.bit_flips import LAYOUT, committed, flip, tables


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Any:
    output = str(tmp_path_factory.mktemp("output"))
    return output, *committed(output, 24, 1)


@pytest.mark.parametrize("table", ["predictions", "masks"])
def test_no_flipped_bit_is_taken_for_whole_and_read_differently(made, table: str) -> None:
    output, chunk, owner = made
    found = flip(output, chunk, owner, table, 100, 7)
    assert found["whole_but_different"] == 0
    assert found["read_differently"] == 0
    assert found["damaged"] == 100, "every bit of a file is under its sum"
    assert accounts.inspect(chunk, output, LAYOUT, owner).problem is None


@pytest.mark.parametrize("table", ["predictions", "masks"])
def test_damage_is_said_and_done_again(made, capsys, table: str) -> None:
    output, chunk, owner = made
    path = Path(output, table, chunk.file)
    sound = path.read_bytes()
    torn = bytearray(sound)
    torn[len(sound) // 2 : len(sound) // 2 + 512] = bytes(512)
    path.write_bytes(torn)
    assert jobs.verify(VerifyConfig(results=output)) == 1
    told = capsys.readouterr().out
    assert f"{table}/{chunk.file} is damaged" in told
    assert "damaged: 1 file; run the same job again" in told
    plan = planning.Plan((planning.PartPlan("", (chunk,)),), "")
    assert accounts.committed(plan, output, LAYOUT, owner) == set()
    path.write_bytes(sound)
    assert accounts.committed(plan, output, LAYOUT, owner) == {chunk.file}
    assert jobs.verify(VerifyConfig(results=output)) == 0
    assert "every file is unchanged since it was written" in capsys.readouterr().out


def test_a_side_table_that_was_exchanged_is_found_though_it_is_whole(tmp_path) -> None:
    output = str(tmp_path)
    chunk, owner = committed(output, 12, 1)
    Path(output, "masks", chunk.file).write_bytes(seal.to_bytes(tables(12, 2)["masks"], None))
    assert "is not the file that its chunk was committed with" in str(
        accounts.inspect(chunk, output, LAYOUT, owner).problem
    )
    assert any("masks" in line and "SHA-256" in line for line in verify(output).damaged)
    Path(output, "masks", chunk.file).unlink()
    assert any("is missing" in line for line in verify(output).damaged)


def test_a_seal_that_is_gone_is_damage_and_older_files_are_read(tmp_path) -> None:
    table = pa.table({"x": [1, 2]})
    data = seal.to_bytes(table, None)
    at = data.index(seal.MARK)
    (tmp_path / "gone.parquet").write_bytes(data[:at] + data[at + seal.SIZE :])
    assert pq.read_table(tmp_path / "gone.parquet").num_rows == 2
    with pytest.raises(DamagedError, match="written with a seal"):
        parquet.read_part(str(tmp_path / "gone.parquet"))
    pq.write_table(table, tmp_path / "old.parquet")
    assert parquet.read_part(str(tmp_path / "old.parquet")).equals(table)
    assert parquet.check_part(str(tmp_path / "old.parquet")).sealed is False


def test_a_large_file_is_checked_in_pieces(tmp_path, monkeypatch) -> None:
    path = tmp_path / "t.parquet"
    digest = parquet.write_table(str(path), tables(12, 1)["masks"])
    monkeypatch.setattr(parquet, "WHOLE", 100)
    monkeypatch.setattr(seal, "_AT_ONCE", 64)
    assert parquet.check_part(str(path)).sha256 == digest
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"t\.parquet is damaged"):
        parquet.check_part(str(path))


def test_other_readers_read_a_sealed_file(tmp_path) -> None:
    made = tables(12, 1)["predictions"]
    path = str(tmp_path / "t.parquet")
    parquet.write_table(path, made, row_group_rows=5)
    assert pq.read_table(path).equals(made)
    assert duckdb.sql(f"SELECT count(*), sum(p_covid) IS NOT NULL FROM '{path}'").fetchall() == [(12, True)]
    assert len(made.to_pandas()) == 12
    assert parquet.read_part(path).schema.metadata == made.schema.metadata


def test_a_local_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def counted(handle: int) -> None:
        done.append("directory" if Path(f"/proc/self/fd/{handle}").resolve().is_dir() else "file")
        fsync(handle)

    def renamed(self: Path, target: Any) -> Path:
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", counted)
    monkeypatch.setattr(Path, "replace", renamed)
    storage.write_bytes(str(tmp_path / "x"), b"data")
    assert done == ["file", "rename", "directory"]


def test_a_put_carries_its_sums_and_is_sent_again_when_other_bytes_came(bucket, monkeypatch) -> None:
    sent: list[dict[str, str]] = []

    def note(request: Any, **_: Any) -> None:
        sent.append({str(name).lower(): value for name, value in request.headers.items()})

    s3.client().meta.events.register("before-send.s3.PutObject", note)
    storage.write_bytes(f"{bucket}/x", b"data")
    assert storage.create(f"{bucket}/y", b"data")
    assert not storage.create(f"{bucket}/y", b"other")
    assert len(sent) == 3
    assert all("x-amz-checksum-sha256" in headers and "content-md5" in headers for headers in sent)

    real, tries = s3.client().put_object, []

    def refused(**options: Any) -> Any:
        tries.append(options["Key"])
        if len(tries) == 1:
            options["ContentMD5"] = "AAAAAAAAAAAAAAAAAAAAAA=="
            error = s3.errors()[0]({"Error": {"Code": "BadDigest"}}, "PutObject")
            raise error
        return real(**options)

    monkeypatch.setattr(s3.client(), "put_object", refused)
    storage.write_bytes(f"{bucket}/z", b"data")
    assert tries == ["z", "z"]
    assert storage.read_bytes(f"{bucket}/z") == b"data"
