"""The manifest of `screen --archive`: made once, reused for the same files, refused for an archive that changed."""

import json
import shutil
from pathlib import Path

import pytest

from comit_ray.command import jobs
from comit_ray.command.screen_archive import compare, manifest_of
from comit_ray.config.manifest_config import SplitConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.data.manifest import manifest
from comit_ray.data.manifest.manifest_build import finish, merge
from comit_ray.errors import ComitError, ConfigError, ManifestError, StorageError
from comit_ray.storage import storage
from comit_ray.storage.storage import FileEntry
from comit_ray.tables import parquet
from tests.support import write_checkpoint


@pytest.fixture
def archive(cxr: Path, tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    root.mkdir()
    for file in [*sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:3], cxr / "dicom" / "RG1_J2KI.dcm"]:
        shutil.copy(file, root)
    (root / "notes.txt").write_text("text")
    return root


def test_the_manifest_is_made_once_and_says_what_was_found(archive: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    uri = manifest_of(str(archive), str(output))
    assert uri == str(output / "manifest")
    said = capsys.readouterr()
    assert f"{archive}: 4 images, other files: 1" in said.out
    assert "'.txt' 1" in said.out
    assert "patient" not in said.out + said.err
    assert "train" not in said.out
    assert len(manifest.read(uri)) == 4
    assert "notes.txt" in (output / "skipped.csv").read_text()

    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    assert manifest_of(f"{archive}/", str(output)) == uri
    assert "4 images, other files: 1 (listed by an earlier run)" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()} == before


def test_an_archive_that_grew_has_new_parts_and_says_what_is_new(archive: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    uri = manifest_of(str(archive), str(output))
    before = {path.name: path.read_bytes() for path in (output / "manifest").glob("*.parquet")}
    shutil.copy(next(archive.glob("*.png")), archive / "new.png")
    (archive / "newer.txt").write_text("text")
    (archive / "RG1_J2KI.dcm").unlink()
    capsys.readouterr()
    assert manifest_of(str(archive), str(output)) == uri
    told = capsys.readouterr().out
    assert f"{archive}: 5 images, other files: 2\nupdate: 1 new images, 0 changed, 1 gone; 5 images now" in told
    assert "new.png" not in told
    assert {name: (output / "manifest" / name).read_bytes() for name in before} == before
    assert len(manifest.read(uri)) == 5
    assert "newer.txt" in (output / "skipped.csv").read_text()
    (archive / "new.png").write_bytes(b"another size")
    manifest_of(str(archive), str(output))
    assert len(manifest.read(uri)) == 6
    assert manifest.read(uri)["split"].null_count == 6, "new and changed images have no split either"


def test_images_that_are_only_screened_are_in_no_split_until_a_manifest_for_training_takes_them(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMIT_ID_KEY", "a key of sixteen bytes or more")
    table = manifest.read(manifest_of(str(archive), str(tmp_path / "out")))
    assert table["split"].null_count == len(table)
    assert table["patient_id"].null_count < len(table), "not even an image whose patient is known"
    taken = finish(merge([str(tmp_path / "out" / "manifest")]), SplitConfig(keep_source=True), 512)
    by_patient = zip(taken["patient_id"].to_pylist(), taken["split"].to_pylist(), strict=True)
    assert {split for patient, split in by_patient if patient is None} == {"train"}
    assert taken["split"].null_count == 0


def test_a_manifest_of_before_that_does_not_know_sizes_is_compared_with_its_listing(archive, tmp_path) -> None:
    uri = manifest_of(str(archive), str(tmp_path / "out"))
    for part in Path(uri).glob("*.parquet"):
        parquet.write_table(str(part), parquet.read_part(str(part)).drop_columns(["file_size", "file_tag"]))
    manifest_of(str(archive), str(tmp_path / "out"))
    next(archive.glob("*.png")).write_bytes(b"another size")
    with pytest.raises(ConfigError, match=r"an older version .* files of another size: 1"):
        manifest_of(str(archive), str(tmp_path / "out"))


def test_an_archive_that_was_copied_or_is_not_mounted_is_refused(cxr: Path, tmp_path: Path) -> None:
    shutil.copytree(cxr / "nih_chestxray14" / "images", tmp_path / "archive")
    uri = manifest_of(str(tmp_path / "archive"), str(tmp_path / "out"))
    for path in (tmp_path / "archive").iterdir():
        path.touch()
    with pytest.raises(ManifestError, match="was it copied"):
        manifest_of(str(tmp_path / "archive"), str(tmp_path / "out"))
    assert not manifest.read_marks(uri).superseded


def test_another_archive_is_refused(archive: Path, tmp_path: Path) -> None:
    manifest_of(str(archive), str(tmp_path / "out"))
    shutil.copytree(archive, tmp_path / "other")
    with pytest.raises(ConfigError, match=rf"holds a screen of {archive}, not of {tmp_path}/other"):
        manifest_of(str(tmp_path / "other"), str(tmp_path / "out"))


def test_an_output_inside_the_archive_is_refused(archive: Path) -> None:
    with pytest.raises(ConfigError, match=r"--output .* lies inside the archive \(--archive "):
        manifest_of(str(archive), str(archive / "out"))
    assert not (archive / "out").exists()


def test_a_manifest_of_somebody_else_is_left_alone(archive: Path, tmp_path: Path) -> None:
    shutil.copytree(Path(manifest_of(str(archive), str(tmp_path / "out"))), tmp_path / "mine" / "manifest")
    with pytest.raises(ConfigError, match="a manifest that this command did not make: screen it with --manifest"):
        manifest_of(str(archive), str(tmp_path / "mine"))


@pytest.mark.parametrize("lost", [("archive.json",), ("archive.json", "listing/listing.json")])
def test_what_was_stopped_before_its_manifest_was_whole_is_made_again(archive, tmp_path, lost) -> None:
    output = tmp_path / "out"
    uri = manifest_of(str(archive), str(output))
    for name in lost:
        (output / name).unlink()
    (archive / "new.png").write_text("text")
    assert manifest_of(str(archive), str(output)) == uri
    assert len(manifest.read(uri)) == 5


def test_a_record_that_is_damaged_is_an_error(archive: Path, tmp_path: Path) -> None:
    manifest_of(str(archive), str(tmp_path / "out"))
    (tmp_path / "out" / "archive.json").write_text(json.dumps({"root": 1}))
    with pytest.raises(StorageError, match=r"archive\.json: expected a record that a screen of an archive wrote"):
        manifest_of(str(archive), str(tmp_path / "out"))


def test_a_folder_without_an_image_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("text")
    with pytest.raises(ManifestError, match=r"no image of dataset 'files' below .*passed over: 1 file"):
        manifest_of(str(tmp_path / "empty"), str(tmp_path / "out"))


def test_a_checkpoint_that_does_not_fit_is_refused_before_the_archive_is_listed(archive: Path, tmp_path: Path) -> None:
    options = {"archive": str(archive), "output": str(tmp_path / "out")}
    with pytest.raises(ComitError, match="nowhere"):
        jobs.screen(ScreenConfig(**options, checkpoint="/nowhere"))
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(ConfigError, match=r"no operating point 'specificity_0\.99'"):
        jobs.screen(ScreenConfig(**options, checkpoint=checkpoint, operating_point="specificity_0.99"))
    assert not (tmp_path / "out").exists()


def entries(**sizes: int) -> list[FileEntry]:
    return [FileEntry(path, size) for path, size in sizes.items()]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (entries(a=1, c=3), entries(a=1, c=3), (0, 0, 0)),
        (entries(a=1, c=3), entries(a=1, b=2, c=4, d=5), (2, 1, 0)),
        (entries(a=1, b=2, c=3), entries(c=3), (0, 0, 2)),
        (entries(a=1), entries(b=1), (1, 0, 1)),
        ([], entries(a=1), (1, 0, 0)),
        # The order is that of the bytes in UTF-8, not of UTF-16: U+FF5E comes before U+1F600.
        (entries(**{"\uff5e": 1, "\U0001f600": 1}), entries(**{"\uff5e": 1, "\U0001f600": 1}), (0, 0, 0)),
    ],
)
def test_two_listings_are_compared_file_by_file(before, now, expected) -> None:
    found = compare(iter(before), iter(now))
    assert (found.new, found.changed, found.gone) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"archive": "a", "manifest": "m"}, "--archive and --manifest exclude each other"),
        ({}, "give --archive, a folder or bucket of radiographs, or --manifest"),
        ({"archive": "a", "split": "test"}, "--split test needs --manifest: with --archive, every image is screened"),
    ],
)
def test_one_of_archive_and_manifest_is_asked_for(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        ScreenConfig.parse({"checkpoint": "c", "output": "o", **options}, origin="test")


def test_a_bucket_is_screened_into_a_bucket(archive: Path, bucket: str, capsys) -> None:
    for path in archive.iterdir():
        storage.write_bytes(f"{bucket}/radiographs/{path.name}", path.read_bytes())
    uri = manifest_of(f"{bucket}/radiographs/", f"{bucket}/out")
    assert uri == f"{bucket}/out/manifest"
    assert f"{bucket}/radiographs: 4 images, other files: 1" in capsys.readouterr().out
    assert manifest.read(uri)["uri"].to_pylist()[-1].startswith(f"{bucket}/radiographs/")
    assert manifest_of(f"{bucket}/radiographs", f"{bucket}/out") == uri
    storage.write_bytes(f"{bucket}/radiographs/new.png", b"text")
    assert manifest_of(f"{bucket}/radiographs", f"{bucket}/out") == uri
    assert len(manifest.read(uri)) == 5
    with pytest.raises(ConfigError, match="lies inside the archive"):
        manifest_of(f"{bucket}/radiographs", f"{bucket}/radiographs/out")
