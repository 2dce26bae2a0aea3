from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from comit_ray.config.manifest_config import SplitConfig
from comit_ray.config.source_config import SourceOptions
from comit_ray.data.manifest.manifest import read, write
from comit_ray.data.manifest.manifest_build import finish, from_rows, mark_missing, merge, present_only, read_source
from comit_ray.data.sources import image_files
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ConfigError, ManifestError, NotFoundError, Reason
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.vocabulary import Split
from tests.data import archives

SPLIT = SplitConfig()


def save(directory: Path, rows: list[ManifestRow], dataset: str, root: str = "/archive") -> str:
    write(str(directory), finish(from_rows(rows, root, dataset).table, SPLIT, 512), 2048)
    return str(directory)


def patients(count: int, dataset: str, start: int = 0) -> list[ManifestRow]:
    return [ManifestRow(path=f"{i}.png", patient_id=f"{dataset}/{i}") for i in range(start, start + count)]


def test_ids_and_uris_of_a_row() -> None:
    table = finish(from_rows([ManifestRow(path="a/b.png")], "s3://bucket/archive/", "mine").table, SPLIT, 512)
    row = table.to_pylist()[0]
    assert (row["image_id"], row["uri"]) == ("mine/a/b.png", "s3://bucket/archive/a/b.png")
    assert (row["split"], row["chunk"], row["member"], row["findings"]) == ("train", "mine-00000", None, [])


def test_chunks_are_full_and_named_in_order() -> None:
    table = finish(from_rows(patients(10, "d"), "/r", "d").table, SPLIT, 4)
    assert table.column("chunk").to_pylist() == ["d-00000"] * 4 + ["d-00001"] * 4 + ["d-00002"] * 2


def test_rows_are_taken_as_they_come_not_all_at_once() -> None:
    """A row that breaks off far into the archive is met only after the first batch was converted."""
    pulled = 0

    def stream() -> Iterator[ManifestRow]:
        nonlocal pulled
        for row in patients(20_000, "d"):
            pulled += 1
            yield row
        raise ManifestError("the end")

    with pytest.raises(ManifestError, match="the end"):
        from_rows(stream(), "/r", "d")
    assert pulled == 20_000


def test_an_image_twice_is_named() -> None:
    with pytest.raises(ManifestError, match=r"d/a\.png is there twice"):
        from_rows([ManifestRow(path="a.png"), ManifestRow(path="a.png")], "/r", "d")


def test_no_image_is_an_error() -> None:
    with pytest.raises(ManifestError, match="no image of dataset 'd' below /r"):
        from_rows([], "/r", "d")


@pytest.mark.parametrize("name", ["", "a/b", "-a", "a b", ".."])
def test_a_dataset_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits"):
        from_rows([ManifestRow(path="a.png")], "/r", name)


def test_merging_keeps_every_row_and_cuts_new_chunks(tmp_path: Path) -> None:
    first = save(tmp_path / "1", patients(5, "a"), "a")
    second = save(tmp_path / "2", patients(3, "b"), "b")
    third = save(tmp_path / "3", patients(4, "a", start=5), "a")
    table = finish(merge([first, second, third]), SPLIT, 4)
    assert table.column("dataset").to_pylist() == ["a"] * 9 + ["b"] * 3
    assert table.column("image_id").to_pylist()[:9] == [f"a/{i}.png" for i in range(9)]
    assert table.column("chunk").to_pylist() == ["a-00000"] * 4 + ["a-00001"] * 4 + ["a-00002"] + ["b-00000"] * 3
    write(str(tmp_path / "all"), table, 8)
    assert [len(parquet.read_part(part)) for part in parquet.parts(str(tmp_path / "all"))] == [8, 1, 3]
    assert read(str(tmp_path / "all")).equals(table)


def test_merging_the_same_images_twice_is_refused(tmp_path: Path) -> None:
    uri = save(tmp_path / "1", patients(5, "a"), "a")
    with pytest.raises(ManifestError, match=r"a/0\.png is there twice"):
        merge([uri, uri])


def test_a_merge_computes_the_split_again_or_keeps_it(tmp_path: Path) -> None:
    rows = [ManifestRow(path=f"{i}.png", source_split=Split.TEST) for i in range(5)]
    external = finish(from_rows(rows, "/r", "external").table, SplitConfig(keep_source=True), 512)
    assert external.column("split").to_pylist() == ["test"] * 5
    write(str(tmp_path / "external"), external, 2048)
    own = save(tmp_path / "own", patients(50, "own"), "own")
    inputs = [str(tmp_path / "external"), own]
    kept = finish(merge(inputs), SplitConfig(keep_source=True), 512)
    assert kept.column("split").to_pylist() == ["test"] * 5 + read(own).column("split").to_pylist()
    again = finish(merge(inputs), SplitConfig(), 512)
    assert again.column("split").to_pylist()[:5] == ["train"] * 5


def test_two_datasets_of_one_name_are_refused(tmp_path: Path) -> None:
    first = save(tmp_path / "1", patients(2, "a"), "a", root="/hospital_a")
    second = save(tmp_path / "2", patients(2, "a", start=2), "a", root="/hospital_b")
    with pytest.raises(ManifestError, match=r"dataset 'a' .* lies at /hospital_b, .* at /hospital_a: give each"):
        merge([first, second])


def test_what_cannot_be_read_is_a_row_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"x")
    archives.write(tmp_path / "a.tgz", {"2.png": b"y"})
    (tmp_path / "a.tar-tvf.txt").write_text("-rw-r--r-- u/g 1 2020-05-30 10:11 gone.png\n")
    files = SourceFiles(str(tmp_path), trust_listings=False)
    source = read_source(image_files.rows, files, "d", SourceOptions())
    rows = {row["image_id"]: row["excluded"] for row in mark_missing(source.table, files).to_pylist()}
    assert rows == {"d/1.png": None, "d/a.tgz!2.png": None, "d/a.tgz!gone.png": "missing"}


@pytest.fixture
def archive(tmp_path: Path) -> str:
    for name in ("here/a.png", "here/b.png"):
        (tmp_path / "archive" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "archive" / name).touch()
    return str(tmp_path / "archive")


ROWS = [
    ManifestRow(path="here/a.png", patient_id="d/1"),
    ManifestRow(path="here/gone.png", patient_id="d/2"),
    ManifestRow(path="gone/b.png", patient_id="d/3", excluded=Reason.LATERAL),
    ManifestRow(path="here/b.png", patient_id="d/4", excluded=Reason.LATERAL),
]


def test_absent_files_are_marked_and_other_reasons_kept(archive: str) -> None:
    marked = finish(mark_missing(from_rows(ROWS, archive, "d").table), SPLIT, 512)
    assert marked.column("excluded").to_pylist() == [None, "missing", "lateral", "lateral"]
    assert [split is None for split in marked.column("split").to_pylist()] == [False, True, True, True]
    (Path(archive) / "here" / "gone.png").touch()
    assert mark_missing(marked).column("excluded").to_pylist() == [None, None, "lateral", "lateral"]


def test_storage_is_listed_once_not_asked_row_by_row(archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    real = storage.list_files

    def counted(uri: str, suffix: str = "", *, passed_over: bool = False) -> Iterator[storage.FileEntry]:
        listed.append(uri)
        return real(uri, suffix, passed_over=passed_over)

    monkeypatch.setattr(storage, "list_files", counted)
    mark_missing(from_rows(ROWS, archive, "d").table)
    assert listed == [archive]


def test_present_only_leaves_absent_files_out(archive: str) -> None:
    kept = present_only(from_rows(ROWS, archive, "d").table)
    assert kept.column("image_id").to_pylist() == ["d/here/a.png", "d/here/b.png"]
    with pytest.raises(ManifestError, match=r"none of the 1 files is present, the first being .*/here/gone\.png"):
        present_only(from_rows(ROWS[1:2], archive, "d").table)


def test_a_mount_that_is_gone_is_an_error_not_a_thousand_missing_files() -> None:
    with pytest.raises(NotFoundError, match="/not/mounted"):
        mark_missing(from_rows(ROWS, "/not/mounted", "d").table)


@pytest.mark.parametrize(
    ("day", "placeholder"),
    [
        (date(1901, 1, 1), True),
        (date(1900, 1, 1), True),
        (date(1800, 5, 3), True),
        (date(9999, 12, 31), True),
        (date(1970, 1, 1), True),
        (date(1970, 1, 2), False),
        (date(2020, 1, 1), False),
        (date(2180, 6, 26), False),
        (None, False),
    ],
)
def test_placeholder_days_of_anonymisation_are_null_and_counted(day, placeholder):
    source = from_rows([ManifestRow(path="a.png", acquired_on=day)], "/r", "d")
    assert source.placeholder_dates == int(placeholder)
    assert source.table["acquired_on"].to_pylist() == [None if placeholder else day]
