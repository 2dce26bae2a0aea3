"""A manifest that grows: new parts beside untouched old ones, new versions, marks, patients that keep their split."""

import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from comit_ray.config.manifest_config import ManifestConfig, SplitConfig
from comit_ray.data.manifest import manifest, manifest_growth
from comit_ray.data.manifest.manifest_growth import drawn_split
from comit_ray.data.manifest.manifest_scan import scan
from comit_ray.data.manifest.manifest_updates import read_marks
from comit_ray.data.sources.manifest_row import ManifestRow, place
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ConfigError, ManifestError, NotFoundError
from comit_ray.prepare import run_manifest
from comit_ray.prepare.run_manifest import make
from comit_ray.storage import storage
from comit_ray.tables import parquet

FIRST, SECOND, THIRD = date(2026, 11, 1), date(2026, 11, 2), date(2026, 11, 3)


def named_rows(files: SourceFiles, dataset: str, options: object) -> Iterator[ManifestRow]:
    """Every PNG is a row of the patient that its name begins with; `x` is nobody."""
    for file in files.matching(r".+\.png"):
        patient = file.name.rpartition("/")[2].partition("_")[0]
        yield ManifestRow(**place(file), patient_id=None if patient == "x" else f"{dataset}/{patient}")


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (run_manifest, manifest_growth):
        monkeypatch.setattr(module, "adapter", lambda name: named_rows)
    root = tmp_path / "archive"
    root.mkdir()
    for patient in range(20):
        (root / f"p{patient:02d}_1.png").write_bytes(b"first")
    return root


def update(root: Path | str, output: Path | str, day: date, **options: object) -> str:
    asked = {"source": "files", "name": "d", "chunk_rows": 4, "part_rows": 8, "update": True} | options
    return make(ManifestConfig(**({"root": str(root), "output": str(output), "added_on": day} | asked)))


def bytes_of(directory: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(directory).iterdir())}


def rows_of(uri: str) -> dict[str, dict[str, object]]:
    return {row["image_id"]: row for row in manifest.read(uri).to_pylist()}


def test_new_files_become_new_parts_and_no_old_part_is_touched(archive: Path, tmp_path: Path, capsys) -> None:
    uri = update(archive, tmp_path / "manifest", FIRST)
    before, first = bytes_of(uri), rows_of(uri)
    assert {row["added_on"] for row in first.values()} == {FIRST}
    assert update(archive, uri, SECOND) == uri
    assert "update: 0 new images, 0 changed, 0 gone; 20 images now" in capsys.readouterr().out
    assert bytes_of(uri) == before

    for number in range(6):
        (archive / f"q{number}_1.png").write_bytes(b"new")
    update(archive, uri, SECOND)
    assert "update: 6 new images, 0 changed, 0 gone; 26 images now" in capsys.readouterr().out
    after, grown = bytes_of(uri), rows_of(uri)
    assert {name: after[name] for name in before} == before
    assert {name: grown[name] for name in first} == first
    new = [row for name, row in grown.items() if name not in first]
    assert {row["added_on"] for row in new} == {SECOND}
    assert [row["chunk"] for row in new] == ["2026-11-02-d-00000"] * 4 + ["2026-11-02-d-00001"] * 2
    assert sum(rows.num_rows for _, rows in scan(uri, ["image_id"])) == 26

    (archive / "q9_1.png").write_bytes(b"later the same day")
    update(archive, uri, SECOND)
    assert rows_of(uri)["d/q9_1.png"]["chunk"] == "2026-11-02-d-00002"


def test_a_changed_file_is_a_new_version_and_the_old_row_stays(archive: Path, tmp_path: Path) -> None:
    uri = update(archive, tmp_path / "manifest", FIRST)
    before = rows_of(uri)
    (archive / "p03_1.png").write_bytes(b"other size")
    os.utime(archive / "p04_1.png", ns=(1, 1))  # the same size at another time
    update(archive, uri, SECOND)
    after = rows_of(uri)
    assert read_marks(uri).superseded == {"d/p03_1.png": "d/p03_1.png@2", "d/p04_1.png": "d/p04_1.png@2"}
    for name in ("d/p03_1.png", "d/p04_1.png"):
        new = after[f"{name}@2"]
        assert (new["version"], new["uri"], new["patient_id"]) == (2, before[name]["uri"], before[name]["patient_id"])
        assert new["split"] == before[name]["split"]
        assert after[name] == before[name] | {"excluded": "superseded"}
        assert rows_of_scan(uri, marked=False)[name] is None
    assert len(after) == 22

    (archive / "p03_1.png").write_bytes(b"and once more another")
    update(archive, uri, THIRD)
    assert read_marks(uri).superseded["d/p03_1.png@2"] == "d/p03_1.png@3"
    assert rows_of(uri)["d/p03_1.png@3"]["version"] == 3
    assert manifest.training_hash(manifest.read(uri)) != manifest.training_hash(manifest.read(uri).slice(1))


def rows_of_scan(uri: str, *, marked: bool) -> dict[str, str | None]:
    parts = [rows.to_pylist() for _, rows in scan(uri, ["image_id", "excluded"], marked=marked)]
    return {row["image_id"]: row["excluded"] for part in parts for row in part}


def test_vanished_files_are_marked_and_may_come_back(archive: Path, tmp_path: Path, capsys) -> None:
    uri = update(archive, tmp_path / "manifest", FIRST)
    before = rows_of(uri)
    shutil.move(archive / "p05_1.png", tmp_path / "kept.png")
    update(archive, uri, SECOND)
    assert "1 gone; 20 images now" in capsys.readouterr().out
    assert read_marks(uri).gone == {"d/p05_1.png": "2026-11-02"}
    assert rows_of(uri) == before
    update(archive, uri, THIRD)
    assert len(list(Path(uri).glob("update-*.json"))) == 1  # told once
    shutil.move(tmp_path / "kept.png", archive / "p05_1.png")
    update(archive, uri, THIRD)
    assert "1 there again" in capsys.readouterr().out
    assert read_marks(uri).gone == {}


def test_a_new_image_of_a_known_patient_goes_where_the_patient_is(archive: Path, tmp_path: Path) -> None:
    uri = update(archive, tmp_path / "manifest", FIRST)
    before = {row["patient_id"]: row["split"] for row in rows_of(uri).values()}
    assert set(before.values()) == {"train", "val", "test"}
    for patient in range(20):
        (archive / f"p{patient:02d}_2.png").write_bytes(b"a second one")
    new = [f"n{number:03d}" for number in range(100)]
    for name in new:
        (archive / f"{name}_1.png").write_bytes(b"nobody knows")
    (archive / "x_1.png").write_bytes(b"of nobody")
    update(archive, uri, SECOND)
    rows = rows_of(uri)
    assert {f"d/p{p:02d}": rows[f"d/p{p:02d}_2.png"]["split"] for p in range(20)} == before
    assert rows["d/x_1.png"]["split"] == "train"
    drawn = [rows[f"d/{name}_1.png"]["split"] for name in new]
    assert drawn == [drawn_split(f"d/{name}", SplitConfig()) for name in new]
    assert 55 <= drawn.count("train") <= 85  # 70 are expected
    assert 8 <= drawn.count("test") <= 35  # 20


def test_a_dataset_in_one_split_stays_there(archive: Path, tmp_path: Path) -> None:
    shares = {"split": {"train": 0.0, "val": 0.0, "test": 1.0}}
    uri = update(archive, tmp_path / "manifest", FIRST, **shares)
    for name in ("n_1.png", "x_1.png"):
        (archive / name).write_bytes(b"new")
    update(archive, uri, SECOND)
    assert {row["split"] for row in rows_of(uri).values()} == {"test"}


def test_too_many_changes_are_refused(archive: Path, tmp_path: Path) -> None:
    uri = update(archive, tmp_path / "manifest", FIRST)
    before = bytes_of(uri)
    for path in sorted(archive.iterdir())[:11]:
        path.unlink()
    with pytest.raises(ManifestError, match=r"of 20 known files 0 have changed and 11 are gone, more than"):
        update(archive, uri, SECOND)
    assert bytes_of(uri) == before
    update(archive, uri, SECOND, max_changed_share=0.6)
    assert len(read_marks(uri).gone) == 11


def test_an_update_that_was_stopped_counts_for_nothing_and_is_done_again(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = update(archive, tmp_path / "manifest", FIRST)
    before = manifest.read(uri)
    for number in range(20):
        (archive / f"q{number:02d}_1.png").write_bytes(b"new")
    with monkeypatch.context() as patch:
        patch.setattr(storage, "create", lambda uri, data: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            update(archive, uri, SECOND)
    assert manifest.read(uri).equals(before)  # three parts lie there that no record names
    assert len(list(Path(uri).glob("part-*-*.parquet"))) == 3
    with monkeypatch.context() as patch:
        patch.setattr(storage, "create", lambda uri, data: False)
        with pytest.raises(ManifestError, match="was updated by another process at the same moment"):
            update(archive, uri, SECOND)
    update(archive, uri, SECOND)
    assert len(manifest.read(uri)) == 40


def test_lost_parts_and_records_are_errors_and_a_new_manifest_replaces_all(archive: Path, tmp_path: Path) -> None:
    uri = update(archive, tmp_path / "manifest", FIRST)
    for day, name in ((SECOND, "q1_1.png"), (THIRD, "q2_1.png")):
        (archive / name).write_bytes(b"new")
        update(archive, uri, day)
    records = sorted(Path(uri).glob("update-*.json"))
    text = records[0].read_text()
    records[0].unlink()
    with pytest.raises(ManifestError, match="expected the updates 1 to 1, found update-00002"):
        manifest.read(uri)
    records[0].write_text(text)
    lost = Path(uri) / json.loads(text)["parts"][0]
    data = lost.read_bytes()
    lost.unlink()
    with pytest.raises(ManifestError, match="1 parts that an update added are not there"):
        list(scan(uri, ["image_id"]))
    lost.write_bytes(data)
    other = update(archive, tmp_path / "other", FIRST, update=False)
    shutil.copy(records[0], other)
    shutil.copy(lost, other)
    with pytest.raises(ManifestError, match="an update added parts to another manifest"):
        manifest.read(other)
    update(archive, uri, THIRD, update=False)
    assert not list(Path(uri).glob("update-*.json"))
    assert not list(Path(uri).glob("part-*-*.parquet"))
    assert len(manifest.read(uri)) == 22


def test_archives_are_opened_again_only_if_they_changed(archive: Path, tmp_path: Path, monkeypatch) -> None:
    def zipped(name: str, **members: bytes) -> None:
        with zipfile.ZipFile(archive / name, "w") as made:
            for member, data in members.items():
                made.writestr(zipfile.ZipInfo(f"{member}.png"), data)

    def tarred(name: str, **members: bytes) -> None:
        with tarfile.open(archive / name, "w:gz") as made:
            for member, data in members.items():
                (tmp_path / "member").write_bytes(data)
                os.utime(tmp_path / "member", (9, 9))
                made.add(tmp_path / "member", f"{member}.png")

    zipped("a.zip", z1_1=b"one", z2_1=b"two")
    tarred("b.tar.gz", t1_1=b"one")
    uri = update(archive, tmp_path / "manifest", FIRST)
    assert rows_of(uri)["d/a.zip!z1_1.png"]["file_size"] == 3
    with monkeypatch.context() as patch:
        patch.setattr("comit_ray.data.sources.source_files.list_members", None)
        update(archive, uri, SECOND)
    zipped("a.zip", z1_1=b"one", z2_1=b"TWO", z3_1=b"three")
    tarred("b.tar.gz", t1_1=b"one", t2_1=b"two")
    update(archive, uri, SECOND)
    assert read_marks(uri).superseded == {"d/a.zip!z2_1.png": "d/a.zip!z2_1.png@2"}
    assert read_marks(uri).gone == {}
    new = {name for name, row in rows_of(uri).items() if row["added_on"] == SECOND}
    assert new == {"d/a.zip!z2_1.png@2", "d/a.zip!z3_1.png", "d/b.tar.gz!t2_1.png"}


def test_what_an_update_cannot_be_asked_for(archive: Path, tmp_path: Path) -> None:
    uri = update(archive, tmp_path / "manifest", FIRST)
    with pytest.raises(ConfigError, match=r"no rows of dataset 'e' \(it has d\)"):
        update(archive, uri, SECOND, name="e")
    shutil.copytree(archive, tmp_path / "copy")
    with pytest.raises(ConfigError, match="expected --root to be the archive that the manifest"):
        update(tmp_path / "copy", uri, SECOND)
    with pytest.raises(ValidationError, match="--update lists the --root again"):
        update(archive, uri, SECOND, check_files=True)
    shutil.rmtree(archive)  # a share that is not there
    with pytest.raises(NotFoundError):
        update(archive, uri, SECOND)


def test_a_manifest_of_before_grows(archive: Path, tmp_path: Path) -> None:
    """Its parts lack the columns that were added later; what changed before cannot be known."""
    uri = update(archive, tmp_path / "manifest", FIRST)
    for part in Path(uri).glob("*.parquet"):
        table = parquet.read_part(str(part))
        parquet.write_table(str(part), table.drop_columns(["added_on", "version", "file_size", "file_tag"]))
    assert {row["version"] for row in rows_of(uri).values()} == {None}
    (archive / "q1_1.png").write_bytes(b"new")
    (archive / "p01_1.png").write_bytes(b"changed")
    update(archive, uri, SECOND)
    assert [name for name, row in rows_of(uri).items() if row["added_on"]] == ["d/q1_1.png"]


def test_real_radiographs_in_a_bucket(cxr: Path, bucket: str) -> None:
    """Of objects the ETag tells that one changed; only new ones are read again."""
    images = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))
    storage.write_bytes(f"{bucket}/a/1.png", images[0].read_bytes())
    storage.write_bytes(f"{bucket}/a/2.png", images[1].read_bytes())
    storage.write_bytes(f"{bucket}/a/scan", (cxr / "dicom" / "RG1_J2KI.dcm").read_bytes())
    uri = update(f"{bucket}/a", f"{bucket}/manifest", FIRST)
    assert len(rows_of(uri)) == 3
    data = bytearray(images[1].read_bytes())
    data[-1] ^= 1  # of the same size
    storage.write_bytes(f"{bucket}/a/2.png", bytes(data))
    storage.write_bytes(f"{bucket}/a/3.png", images[2].read_bytes())
    update(f"{bucket}/a", uri, SECOND)
    assert read_marks(uri).superseded == {"d/2.png": "d/2.png@2"}
    assert set(rows_of(uri)) == {"d/1.png", "d/2.png", "d/scan", "d/2.png@2", "d/3.png"}
