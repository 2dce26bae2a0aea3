from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from comit_ray.config.manifest_config import SplitConfig
from comit_ray.data.manifest.manifest import content_hash, part_uris, read, training_hash, validate, write
from comit_ray.data.manifest.manifest_build import finish, from_rows
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.errors import ConfigError, ManifestError, NotFoundError
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST


def manifest(
    count: int, dataset: str = "d", chunk_rows: int = 4, root: str = "/archive", seed: int = 0, **values: Any
) -> pa.Table:
    rows = (
        ManifestRow(path=f"{i:03d}.png", patient_id=f"{dataset}/{i}", findings=("a",), **values) for i in range(count)
    )
    return finish(from_rows(rows, root, dataset).table, SplitConfig(seed=seed), chunk_rows)


def replaced(table: pa.Table, name: str, values: list[Any], type_: pa.DataType | None = None) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values, type_ or pa.string()))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    table = manifest(30)
    write(str(tmp_path), table, 12, '{"seed": 0}')
    assert read(str(tmp_path)).equals(table)
    assert read(str(tmp_path)).schema.equals(MANIFEST, check_metadata=True)
    parts = part_uris(str(tmp_path))
    assert [Path(part).name for part in parts] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert pq.read_schema(parts[0]).metadata[b"comit_ray.config"] == b'{"seed": 0}'


@pytest.mark.parametrize(
    ("part_rows", "expected"), [(12, [12, 12, 6]), (13, [12, 12, 6]), (2, [4] * 7 + [2]), (99, [30])]
)
def test_parts_hold_whole_chunks(tmp_path: Path, part_rows: int, expected: list[int]) -> None:
    write(str(tmp_path), manifest(30), part_rows)
    parts = [parquet.read_part(uri) for uri in part_uris(str(tmp_path))]
    assert [len(part) for part in parts] == expected
    chunks = [set(part.column("chunk").to_pylist()) for part in parts]
    assert sum(map(len, chunks)) == len(set.union(*chunks)) == 8


def test_a_shorter_manifest_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    write(str(tmp_path), manifest(30), 4)
    assert len(part_uris(str(tmp_path))) == 8
    write(str(tmp_path), manifest(6), 4)
    assert len(part_uris(str(tmp_path))) == 2
    assert len(read(str(tmp_path))) == 6


@pytest.mark.parametrize("parts_written", [1, 2])
def test_an_interrupted_replacement_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts_written: int
) -> None:
    uri = str(tmp_path)
    write(uri, manifest(12), 4)
    written: list[str] = []

    def killed(part: str, table: pa.Table) -> None:
        if len(written) == parts_written:
            raise KeyboardInterrupt
        written.append(part)
        pq.write_table(table, part)

    with monkeypatch.context() as patch:
        patch.setattr(parquet, "write_table", killed)
        with pytest.raises(KeyboardInterrupt):
            write(uri, manifest(12, dataset="other"), 4)
    with pytest.raises(ManifestError, match="3 parts are not those of one whole manifest"):
        read(uri)
    write(uri, manifest(12), 4)
    assert len(read(uri)) == 12


def test_a_lost_part_is_refused(tmp_path: Path) -> None:
    write(str(tmp_path), manifest(12), 4)
    (tmp_path / "part-00001.parquet").unlink()
    with pytest.raises(ManifestError, match="2 parts are not those of one whole manifest"):
        read(str(tmp_path))


@pytest.mark.parametrize("changes", [{"seed": 1}, {"unhealthy": 1}, {"age": 40.0}, {"root": "/elsewhere"}])
def test_a_part_of_another_manifest_of_the_same_images_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Two splits mixed would train on patients that are tested."""
    write(str(tmp_path / "a"), manifest(40, chunk_rows=10), 10)
    write(str(tmp_path / "b"), manifest(40, chunk_rows=10, **changes), 10)
    for name in ("part-00000.parquet", "part-00002.parquet"):
        assert not pq.read_table(tmp_path / "a" / name).equals(pq.read_table(tmp_path / "b" / name))
    (tmp_path / "b" / "part-00002.parquet").replace(tmp_path / "a" / "part-00002.parquet")
    with pytest.raises(ManifestError, match="4 parts are not those of one whole manifest"):
        read(str(tmp_path / "a"))


@pytest.mark.parametrize("name", ["predictions.parquet", "deeper/part-00000.parquet", "part-00000.parquet"])
def test_other_tables_are_never_overwritten(tmp_path: Path, name: str) -> None:
    other = tmp_path / name
    other.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"a": [1]}), other)
    with pytest.raises(ConfigError, match=f"other Parquet files, such as {name}"):
        write(str(tmp_path), manifest(4), 4)
    assert pq.read_table(other).num_rows == 1


def test_a_manifest_that_somebody_filtered_is_read(tmp_path: Path) -> None:
    """As DuckDB or pandas leave it: one file, no metadata of ours, larger types, a column more."""
    table = manifest(8).replace_schema_metadata()
    table = table.set_column(0, "image_id", table.column("image_id").cast(pa.large_string()))
    table = table.append_column("note", pa.array(["x"] * 8)).filter(pc.equal(table.column("chunk"), "d-00001"))
    pq.write_table(table, tmp_path / "mine.parquet")
    found = read(str(tmp_path / "mine.parquet"))
    assert found.schema.equals(MANIFEST)
    assert found.column("image_id").to_pylist() == [f"d/{i:03d}.png" for i in range(4, 8)]


def test_nothing_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        read(str(tmp_path / "nowhere"))
    with pytest.raises(NotFoundError, match=r"no \.parquet file"):
        read(str(tmp_path))


def test_a_table_that_is_no_manifest_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    with pytest.raises(ManifestError, match=r"x\.parquet: expected a manifest, the columns image_id, uri"):
        read(str(tmp_path / "x.parquet"))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("image_id", ["d/a", "d/b", "d/a"], "d/a is there twice"),
        ("image_id", ["d/a", None, "d/b"], "a value of image_id in every row"),
        ("view", ["PA", "PA", "oblique"], "unknown view 'oblique'; known: PA, AP"),
        ("split", ["train", "dev", None], "unknown split 'dev'; known: train, val, test"),
        ("excluded", [None, "ugly", None], "unknown excluded 'ugly'; known: missing"),
        ("sex", [None, "male", None], "unknown sex 'male'; known: M, F"),
        ("covid", [0, 2, None], "expected 1, 0 or null in covid, got 2"),
        ("covid", ["yes", "no", None], "columns of the wrong type: covid is string, expected int8$"),
        ("sidecar", ["/a.json", '{"uri": "/a.tgz"}', None], "expected a URI or"),
        ("chunk", ["x", "y", "x"], "rows of chunk x one after the other"),
        ("dataset", ["d", "e", "d"], "rows of chunk d-00000 one after the other"),
    ],
)
def test_wrong_values_are_named(column: str, values: list[Any], message: str) -> None:
    type_ = pa.int32() if isinstance(values[0], int) else pa.string()
    with pytest.raises(ManifestError, match=message):
        validate(replaced(manifest(3), column, values, type_), "mine")


def test_a_patient_in_two_splits_is_refused() -> None:
    table = replaced(manifest(3), "patient_id", ["d/p", "d/p", "d/q"])
    validate(replaced(table, "split", ["test", "test", "train"]), "mine")
    validate(replaced(table, "split", ["test", None, "train"]), "mine")
    with pytest.raises(ManifestError, match=r"1 patients with 2 images lie in more than one split$"):
        validate(replaced(table, "split", ["test", "train", "train"]), "mine")


def test_another_schema_version_is_refused() -> None:
    with pytest.raises(ManifestError, match="mine: expected schema version 2, got 99"):
        validate(manifest(3).replace_schema_metadata({"comit_ray.version": "99"}), "mine")


def test_the_content_hash_changes_with_any_value_and_not_with_its_layout() -> None:
    table = manifest(6)
    values: dict[str, Any] = {
        "findings": ["b"],
        "acquired_on": date(2020, 1, 2),
        "age": 1.5,
        "illness_day": 3,
        "member_offset": 512,
        "added_on": date(2020, 1, 2),
        "version": 2,
        "file_size": 7,
    }
    values |= dict.fromkeys(("unhealthy", "covid", "other"), 1)
    hashes = {content_hash(table)}
    for number, field in enumerate(MANIFEST):
        column = table.column(field.name).to_pylist()
        column[-1] = values.get(field.name, "x")
        hashes.add(content_hash(table.set_column(number, field, pa.array(column, field.type))))
    assert len(hashes) == len(MANIFEST)  # the day of adding is of no account
    cut = pa.concat_tables([table.slice(0, 1), table.slice(1, 3), table.slice(4)])
    assert cut.column("uri").num_chunks == 3
    large = table.set_column(0, "image_id", table.column("image_id").cast(pa.large_string()))
    middle = pa.concat_tables([manifest(3, dataset="e"), table, manifest(3, dataset="f")]).slice(3, 6)
    for same in (cut, large, middle, table.replace_schema_metadata()):
        assert content_hash(same) == content_hash(table)


def test_the_content_hash_of_more_rows_than_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comit_ray.data.manifest.manifest._HASHED_ROWS", 4)
    table = manifest(10)
    assert content_hash(table) == content_hash(pa.concat_tables([table.slice(0, 5), table.slice(5)]))
    assert len({content_hash(table.slice(0, count)) for count in range(11)}) == 11


def test_the_training_hash_knows_what_is_learned_and_nothing_else() -> None:
    def table(root: str = "/archive", **changes: Any) -> pa.Table:
        values: dict[str, Any] = {"lung_mask": f"{root}/lung_masks/a.png", "unhealthy": 1} | changes
        return manifest(8, root=root, **values)

    same = [
        table(root="/mounted/elsewhere"),
        table(chunk_rows=2),
        table(age=3.0),
        replaced(table(), "checksum", ["md5:1"] * 8),
        table().take(list(range(8))[::-1]),
    ]
    assert {training_hash(other) for other in same} == {training_hash(table())}
    others = [
        table(seed=1),
        table(unhealthy=0),
        table(other=1),
        table(dataset="e"),
        table(lung_mask="/archive/lung_masks/b.png"),
        table(lung_mask="/annotations/lung_masks/a.png"),
        table(lung_mask=None),
        table(disease_mask='{"boxes":[]}'),
        replaced(table(), "excluded", ["lateral"] + [None] * 7),
    ]
    assert len({training_hash(other) for other in [table(), *others]}) == 1 + len(others)
