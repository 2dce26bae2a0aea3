"""What storage says once is not believed: failures are read again, and replace no score."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from comit_ray.chunks import accounts
from comit_ray.chunks import plan as planning
from comit_ray.chunks.accounts import keep_scored
from comit_ray.chunks.ownership import Owner
from comit_ray.chunks.reading import read_part
from comit_ray.command import jobs
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.data.images import load
from comit_ray.errors import FAILURES, ConfigError, DecodeError, NotFoundError, Reason, StorageError
from comit_ray.screening.screen_tables import layout
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileReader, FileRef
from comit_ray.storage.raw_file import RawFile
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import MASKS, PREDICTIONS
from tests.chunks.plain_reader import fail, read
from tests.data import archives
from tests.support import manifest_row, mask_row, prediction_row, write_rows

LAYOUT, OWNER = layout(embeddings=False), Owner("r", "m", "s")
IDS = ["a/x/1", "a/x/2", "a/x/3"]


def read_all(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    table = pa.Table.from_pylist(rows, schema=MANIFEST)
    names = table["chunk"].unique().to_pylist()
    return [row for _, found in read_part(table, names, read, fail, 2, 10**6) for row in found]


@pytest.fixture
def loose(tmp_path: Path) -> list[dict[str, Any]]:
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(bytes([number]) * 100)
    return [manifest_row(f"a/{number}", uri=str(tmp_path / f"{number}.png")) for number in range(6)]


@pytest.mark.parametrize("error", [NotFoundError("no file"), StorageError("503")])
def test_a_failure_for_a_moment_is_no_row(loose, monkeypatch, error: Exception) -> None:
    """404 for a moment on some reads: 16 of 17 rows were wrong, 6 of them for ever."""
    seen: list[str] = []
    real = storage.read_bytes

    def read_bytes(uri: str, at_most: int | None = None) -> bytes:
        seen.append(uri)
        if uri.endswith(("1.png", "4.png")) and seen.count(uri) == 1:
            raise error
        return real(uri, at_most)

    monkeypatch.setattr(storage, "read_bytes", read_bytes)
    found = read_all(loose)
    assert [row.get("data") for row in found] == [bytes([number]) * 100 for number in range(6)]
    assert sorted(uri[-5] for uri in seen[6:]) == ["1", "4"], "once more, when the others of the chunk are done"


class HalfFile:
    """Says one size and gives half of it, as a proxy that cuts a body and its Content-Length does."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __enter__(self) -> "HalfFile":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def size(self) -> int:
        return len(self.data)

    def read(self, at_most: int | None = None) -> bytes:
        return self.data[: len(self.data) // 2]


def test_a_body_that_is_cut_is_compared_with_the_size_that_was_known(loose, monkeypatch) -> None:
    class Cut:
        def open_input_file(self, path: str) -> HalfFile:
            return HalfFile(Path(path).read_bytes())

    monkeypatch.setattr(storage, "filesystem", lambda uri: (Cut(), uri))
    assert {row["reason"] for row in read_all(loose)} == {"storage_cut"}
    monkeypatch.undo()
    assert all("data" in row for row in read_all(loose))


def test_an_image_is_missing_only_where_another_file_is_seen(loose, tmp_path) -> None:
    """The share went away: 232 of 741 sound images were missing, most of them for ever."""
    gone = [row | {"uri": str(tmp_path / "mount" / f"{n}.png")} for n, row in enumerate(loose)]
    assert {row["reason"] for row in read_all(gone)} == {"storage_absent"}
    (tmp_path / "mount").mkdir()
    assert {row["reason"] for row in read_all(gone)} == {"storage_absent"}
    (tmp_path / "mount" / "other.png").write_bytes(b"")
    assert {row["reason"] for row in read_all(gone)} == {"missing"}


def test_of_a_bucket_too(bucket: str) -> None:
    with FileReader(100) as reader:

        def reason(uri: str) -> Reason:
            with pytest.raises(DecodeError) as caught:
                reader.read(FileRef(uri))
            return caught.value.reason

        assert reason(f"{bucket}/d/1.png") is Reason.STORAGE_ABSENT
        storage.write_bytes(f"{bucket}/d/2.png", b"x")
        assert reason(f"{bucket}/d/1.png") is Reason.MISSING
        assert reason(f"{bucket}-other/d/1.png") is Reason.STORAGE_ABSENT


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_a_file_that_the_storage_lists_is_not_missing_whatever_a_read_says(
    where, request, tmp_path, monkeypatch
) -> None:
    """Two 404 in a row were final."""
    root = str(tmp_path) if where == "disk" else request.getfixturevalue("bucket")
    for name in ("1.png", "10.png"):
        storage.write_bytes(f"{root}/{name}", b"x")

    def absent(uri: str, **_: Any) -> bytes:
        raise NotFoundError(f"{uri}: 404")

    monkeypatch.setattr(storage, "read_bytes", absent)
    with FileReader(100) as reader:
        for name, expected in {"1.png": Reason.STORAGE_ABSENT, "0.png": Reason.MISSING}.items():
            with pytest.raises(DecodeError) as caught:
                reader.read(FileRef(f"{root}/{name}"))
            assert caught.value.reason is expected


def test_a_bit_that_flips_on_the_way_out_of_a_tar_gz_is_of_the_storage(tmp_path, monkeypatch) -> None:
    """Its 39 rows were `checksum_mismatch`, for ever."""
    files = archives.members(12)
    uri = archives.write(tmp_path / "a.tgz", files)
    rows = [manifest_row(f"d/a.tgz!{name}", uri=uri, member=name) for name in files]
    real, reads = RawFile.readinto, [0]

    def flipping(self: Any, buffer: Any) -> int:
        count = real(self, buffer)
        reads[0] += 1
        if reads[0] == 1:
            buffer[count // 2] ^= 1
        return count

    monkeypatch.setattr(RawFile, "readinto", flipping)
    assert {row.get("reason") for row in read_all(rows)} == {"storage_changed"}
    assert all("data" in row for row in read_all(rows))


def tables(reasons: list[str | None]) -> dict[str, pa.Table]:
    """Predictions and masks of `IDS`; None: scored."""
    rows = [
        prediction_row(image_id, 0.9) if reason is None else prediction_row(image_id, None) | {"reason": reason}
        for image_id, reason in zip(IDS, reasons, strict=True)
    ]
    masks = [mask_row(row["image_id"], lung_png=b"old") for row in rows if row["status"] == "ok"]
    return {
        "predictions": pa.Table.from_pylist(rows, schema=PREDICTIONS),
        "masks": pa.Table.from_pylist(masks, schema=MASKS),
    }


@pytest.fixture
def plan(tmp_path: Path) -> planning.Plan:
    rows = [manifest_row(image_id, chunk="c") for image_id in IDS]
    return planning.make_plan(write_rows(tmp_path / "manifest", rows, MANIFEST), "all")


def test_a_rerun_never_replaces_a_score_by_a_failure(plan, tmp_path) -> None:
    """A chunk with one refused file was done again while the share was away: 11 rows that were ok became missing."""
    output, file = str(tmp_path), plan.chunks[0].file
    planning.commit(output, file, tables([None, "unreadable", None]), LAYOUT, OWNER)
    kept = keep_scored(output, file, tables(["missing", None, "storage_absent"]), LAYOUT, OWNER)
    assert kept["predictions"]["status"].to_pylist() == ["ok", "ok", "ok"]
    assert kept["predictions"]["image_id"].to_pylist() == IDS
    assert kept["masks"]["image_id"].to_pylist() == IDS
    assert kept["predictions"].schema.equals(PREDICTIONS)
    planning.commit(output, file, kept, LAYOUT, OWNER)
    assert accounts.committed(plan, output, LAYOUT, OWNER) == {file}
    new = tables(["missing", None, None])
    assert keep_scored(output, file, new, LAYOUT, Owner("r2", "m", "s")) is new, "of another run nothing is kept"


def test_nothing_is_kept_where_nothing_fails(plan, tmp_path) -> None:
    output, file = str(tmp_path), plan.chunks[0].file
    planning.commit(output, file, tables([None, "unreadable", None]), LAYOUT, OWNER)
    new = tables([None, None, None])
    assert keep_scored(output, file, new, LAYOUT, OWNER) is new
    worse = tables([None, "missing", None])
    assert keep_scored(output, file, worse, LAYOUT, OWNER) is worse


@pytest.mark.parametrize("reason", ["unreadable", "storage_absent", "storage_cut", "storage_changed", "program_failed"])
def test_what_the_storage_did_is_done_again(plan, tmp_path, reason: str) -> None:
    planning.commit(str(tmp_path), plan.chunks[0].file, tables([None, reason, None]), LAYOUT, OWNER)
    assert accounts.committed(plan, str(tmp_path), LAYOUT, OWNER) == set()
    assert "run the same command again" in accounts.take(plan, str(tmp_path), LAYOUT, OWNER).refused[0]


def test_other_failures_are_done_again_where_they_are_named(plan, tmp_path) -> None:
    output, file = str(tmp_path), plan.chunks[0].file
    planning.commit(output, file, tables([None, "missing", None]), LAYOUT, OWNER)
    assert accounts.committed(plan, output, LAYOUT, OWNER) == {file}
    assert accounts.committed(plan, output, LAYOUT, OWNER, ("truncated",)) == {file}
    assert accounts.committed(plan, output, LAYOUT, OWNER, ("truncated", "missing")) == set()


def test_what_the_manifest_itself_excludes_is_not_read_again_every_night(plan, tmp_path) -> None:
    """A link in an archive is `unreadable` in the manifest: its chunk was done again by every run."""
    known = load.known_exclusion(manifest_row("a/x/2", excluded="unreadable"))
    assert known is not None
    made = tables([None, "unreadable", None])
    details = pa.array([None, known.detail, None], pa.string())
    main = made["predictions"]
    made["predictions"] = main.set_column(main.schema.get_field_index("detail"), "detail", details).cast(PREDICTIONS)
    planning.commit(str(tmp_path), plan.chunks[0].file, made, LAYOUT, OWNER)
    assert accounts.committed(plan, str(tmp_path), LAYOUT, OWNER, ("unreadable",)) == {plan.chunks[0].file}
    assert accounts.take(plan, str(tmp_path), LAYOUT, OWNER).by_reason[("failed", "unreadable")] == 1


def test_reasons_to_retry_are_those_of_failures() -> None:
    needed = {"manifest": "m", "checkpoint": "c", "output": "o"}
    assert ScreenConfig.parse(needed | {"retry": ["missing", "truncated"]}, origin="test").retry == (
        "missing",
        "truncated",
    )
    with pytest.raises(ConfigError, match=r"expected reasons of failed images .*got 'lateral'"):
        ScreenConfig.parse(needed | {"retry": ["lateral"]}, origin="test")
    assert {"missing", "storage_absent"} <= set(FAILURES)


def test_too_many_failures_end_with_status_1_and_what_they_have_in_common(plan, tmp_path, monkeypatch) -> None:
    planning.commit(str(tmp_path), plan.chunks[0].file, tables([None, "missing", "missing"]), LAYOUT, OWNER)
    taken = accounts.take(plan, str(tmp_path), LAYOUT, OWNER)
    assert taken.balanced
    assert taken.failed_share == pytest.approx(2 / 3)
    first, *lines = taken.too_many_failed(0.05)
    assert "2 images failed, 66.7% of all: more than --max_failed_share 0.05 allows" in first
    assert [line.strip() for line in lines[:2]] == ["2 of them: reason missing", "2 of them: place a/x"]
    assert taken.too_many_failed(0.7) == []
    monkeypatch.setattr("comit_ray.screening.run_screen.screen", lambda config: taken)
    needed = {"manifest": "m", "checkpoint": "c", "output": "o"}
    assert jobs.screen(ScreenConfig.parse(needed, origin="test")) == 1
    assert jobs.screen(ScreenConfig.parse(needed | {"max_failed_share": 0.7}, origin="test")) == 0


def test_every_row_of_an_archive_whose_bytes_changed_on_the_way_says_so(tmp_path) -> None:
    uri, ids = "/r/a.tgz", [f"a/a.tgz!{number}" for number in range(4)]
    rows = [manifest_row(i, chunk=f"c{n // 2}", uri=uri, member=str(n)) for n, i in enumerate(ids)]
    plan = planning.make_plan(write_rows(tmp_path / "manifest", rows, MANIFEST), "all")
    first = [prediction_row(ids[0]), prediction_row(ids[1], None)]
    last = [prediction_row(i, None, reason="storage_changed", detail="two reads") for i in ids[2:]]
    for chunk, found in zip(plan.chunks, (first, last), strict=True):
        masks = [mask_row(row["image_id"]) for row in found if row["status"] == "ok"]
        made = {"predictions": pa.Table.from_pylist(found, schema=PREDICTIONS)}
        planning.commit(str(tmp_path), chunk.file, made | {"masks": pa.Table.from_pylist(masks, schema=MASKS)}, LAYOUT)
    taken = accounts.settle(plan, str(tmp_path), LAYOUT)
    assert taken.by_reason == {("failed", "storage_changed"): 4}
    assert accounts.committed(plan, str(tmp_path), LAYOUT) == set()
    assert parquet.read_table(f"{tmp_path}/masks").num_rows == 0
