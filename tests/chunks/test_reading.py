"""One pass over each archive, in threads, and what becomes of rows when an archive turns out to be another."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from comit_ray.chunks.reading import Spent, read_part
from comit_ray.storage.tar_stream import TarStream
from comit_ray.tables.manifest_schema import MANIFEST
from tests.chunks.plain_reader import fail, read
from tests.data import archives
from tests.support import manifest_row

FILES = archives.members(30)


@pytest.fixture
def packed(tmp_path) -> str:
    return archives.write(tmp_path / "a.tgz", FILES)


@pytest.fixture
def passes(monkeypatch) -> list[str]:
    """The archives that were begun, once for each pass."""
    begun: list[str] = []
    real = TarStream._rewind

    def counted(self, algorithm):
        begun.append(self.uri)
        real(self, algorithm)

    monkeypatch.setattr(TarStream, "_rewind", counted)
    return begun


def table(uri: str, names: list[str], chunk_rows: int, **changes: Any) -> pa.Table:
    rows = [
        manifest_row(f"d/a.tgz!{name}", uri=uri, member=name, chunk=f"d-{i // chunk_rows:05d}", **changes)
        for i, name in enumerate(names)
    ]
    return pa.Table.from_pylist(rows, schema=MANIFEST)


def chunks_of(rows: pa.Table, wanted: list[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    names = wanted or rows["chunk"].unique().to_pylist()
    return dict(read_part(rows, names, read, fail, threads=4, max_bytes=10**6))


def test_chunks_come_whole_and_in_order_from_one_pass(packed, passes):
    found = chunks_of(table(packed, list(FILES), 7))
    assert list(found) == [f"d-{number:05d}" for number in range(5)]
    assert [row["data"] for rows in found.values() for row in rows] == list(FILES.values())
    assert passes == [packed]


def test_what_a_chunk_took_is_told_before_it_is_given(packed) -> None:
    rows = table(packed, list(FILES), 10)
    told: list[Spent] = []
    given = []
    for name, results in read_part(rows, ["d-00000", "d-00001", "d-00002"], read, fail, 2, 1 << 20, told=told.append):
        given.append(name)
        assert len(told) == len(given)
        assert told[-1].size == sum(len(row["data"]) for row in results)
    assert sum(spent.size for spent in told) == sum(len(data) for data in FILES.values())
    assert all(spent.fetching > 0 and spent.decoding >= 0 for spent in told)


def test_only_what_is_missing_is_read_again(packed, passes):
    found = chunks_of(table(packed, list(FILES), 7), ["d-00001", "d-00003"])
    names = list(FILES)
    assert [row["data"] for row in found["d-00003"]] == [FILES[name] for name in names[21:28]]
    assert list(found) == ["d-00001", "d-00003"]
    assert passes == [packed]


def test_a_chunk_is_given_before_the_rest_of_the_archive_is_read(packed):
    stream = read_part(table(packed, list(FILES), 7), {"d-00000", "d-00004"}, read, fail, 1, 10**6)
    assert next(stream)[0] == "d-00000"
    path = Path(packed)
    assert path.exists()
    assert next(stream)[0] == "d-00004"


def test_loose_rows_and_two_archives_in_one_part(packed, tmp_path, passes):
    second = archives.write(tmp_path / "b.tgz", FILES)
    (tmp_path / "loose").write_bytes(b"loose")
    loose = pa.Table.from_pylist([manifest_row("d/loose", uri=str(tmp_path / "loose"))], schema=MANIFEST)
    rows = pa.concat_tables([loose, table(packed, list(FILES)[:3], 99), table(second, list(FILES)[:3], 99)])
    rows = rows.set_column(rows.schema.get_field_index("chunk"), MANIFEST.field("chunk"), pa.array(["d-00000"] * 7))
    found = chunks_of(rows)["d-00000"]
    assert [row["data"] for row in found] == [b"loose", *list(FILES.values())[:3] * 2]
    assert passes == [packed, second]


def test_a_matching_checksum_changes_nothing(packed):
    digest = f"sha1:{hashlib.sha1(Path(packed).read_bytes()).hexdigest()}"
    found = chunks_of(table(packed, list(FILES), 7, checksum=digest))
    assert all("data" in row for rows in found.values() for row in rows)


@pytest.mark.parametrize("wanted", [30, 10])
def test_the_chunk_at_whose_end_an_archive_is_found_wrong_fails_whole(packed, wanted):
    """Also where the last wanted member lies in the middle: the rest is passed over for its bytes."""
    found = chunks_of(table(packed, list(FILES)[:wanted], 7, checksum="sha1:" + "0" * 40))
    *before, last = found.values()
    assert {row.get("reason") for row in last} == {"checksum_mismatch"}
    assert all("data" in row for rows in before for row in rows)  # work.distrust fails these


def test_what_the_manifest_excludes_is_neither_read_nor_held_nor_failed(packed, monkeypatch):
    """Volumes of CT lie in the same archives as radiographs, and are large."""
    names = list(FILES)
    kept = table(packed, names[::2], 99, checksum="sha1:" + "0" * 40)
    left_out = table(packed, names[1::2], 99, excluded="wrong_modality")
    asked: list[str] = []
    held: list[int] = []

    def note(row, reader):
        if row["excluded"] is not None:
            return {"image_id": row["image_id"], "reason": row["excluded"]}
        asked.append(row["member"])
        result = read(row, reader)
        held.append(len(reader._tars[packed]._held))
        return result

    rows = pa.concat_tables([kept, left_out])
    [(_, found)] = read_part(rows, ["d-00000"], note, fail, 1, 10**6)
    assert asked == names[::2]
    assert max(held) <= 1
    assert [row["reason"] for row in found] == ["checksum_mismatch"] * 15 + ["wrong_modality"] * 15


def test_a_truncated_archive_fails_what_lies_behind_the_cut(packed):
    path = Path(packed)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    rows = [row for rows in chunks_of(table(packed, list(FILES), 7)).values() for row in rows]
    reasons = [row.get("reason") for row in rows]
    served = reasons.index("truncated")
    assert 5 < served < 25
    assert reasons == [None] * served + ["truncated"] * (30 - served)
