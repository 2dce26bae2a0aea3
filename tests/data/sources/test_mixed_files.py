"""The source `files`: whatever lies in a folder is a row or is counted with a reason."""

import shutil
import zipfile
from pathlib import Path

import pytest

from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.source_config import SourceOptions
from comit_ray.data.manifest.manifest_build import read_source
from comit_ray.data.sources import mixed_files
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError, Reason
from comit_ray.storage import storage

OPTIONS = SourceOptions()
CHEST = "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"


@pytest.fixture(scope="module")
def folder(cxr: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real DICOM, PNG and JPEG files under many names, loose and in a zip, beside other files."""
    root = tmp_path_factory.mktemp("folder")
    png = next((cxr / "nih_chestxray14" / "images").glob("*.png"))
    jpeg = next((cxr / "covid_chestxray" / "images").glob("*.jpeg"))
    (root / "usb").mkdir()
    for source, names in (
        (cxr / "dicom" / CHEST, ("a.dcm", "usb/IM000001", "z.img")),
        (cxr / "dicom" / "RG3_J2KI.dcm", ("hand.dcm",)),
        (png, ("B.PNG", "usb/picture.bin")),
        (jpeg, ("usb/c.jpeg",)),
    ):
        for name in names:
            shutil.copy(source, root / name)
    with zipfile.ZipFile(root / "ward.zip", "w") as archive:
        archive.write(png, "ward/d.png")
        archive.write(cxr / "dicom" / CHEST, "ward/e.dat")
        archive.write(jpeg, "ward/f.bin")
        archive.writestr("ward/notes.txt", "text")
    (root / "empty.png").touch()
    (root / "README.txt").write_text("text")
    (root / "empty.txt").touch()
    (root / ".hidden.png").touch()
    return root


ROWS = {
    "B.PNG", "a.dcm", "empty.png", "hand.dcm", "usb/IM000001", "usb/c.jpeg", "usb/picture.bin", "z.img",
    "ward.zip!ward/d.png", "ward.zip!ward/e.dat", "ward.zip!ward/f.bin",
}  # fmt: skip
SKIPPED = {"README.txt": "other_format", "empty.txt": "other_format", ".hidden.png": "hidden"}


def test_every_file_is_a_row_or_is_counted_with_a_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMIT_ID_KEY", raising=False)
    files = SourceFiles(str(folder))
    source = read_source(mixed_files.rows, files, "files", OPTIONS)
    found = {row["image_id"].removeprefix("files/"): row for row in source.table.to_pylist()}
    assert set(found) == ROWS
    assert source.skipped is not None
    skipped = {row["member"] or row["path"]: row["reason"] for row in source.skipped.table().to_pylist()}
    assert skipped == {**SKIPPED, "ward/notes.txt": "other_format"}
    loose = {entry.path for entry in storage.list_files(str(folder))}
    assert loose == {name for name in ROWS if "!" not in name} | {"ward.zip", "README.txt", "empty.txt"}
    assert found["hand.dcm"]["excluded"] == Reason.NOT_A_CHEST
    assert {found[name]["view"] for name in ("a.dcm", "usb/IM000001", "z.img", "ward.zip!ward/e.dat")} == {"PA"}
    assert {row["patient_id"] for row in found.values()} == {None}


def test_nothing_is_said_of_a_key_that_a_screen_does_not_need(folder, monkeypatch, capsys) -> None:
    monkeypatch.delenv("COMIT_ID_KEY", raising=False)
    assert list(mixed_files.rows(SourceFiles(str(folder)), "files", OPTIONS))
    assert "COMIT_ID_KEY" not in "".join(capsys.readouterr())


def test_with_a_key_patients_of_dicom_files_are_hashes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMIT_ID_KEY", "sixteen bytes or more")
    found = {row.path: row for row in mixed_files.rows(SourceFiles(str(folder)), "files", OPTIONS) if not row.member}
    assert found["a.dcm"].study_id == found["z.img"].study_id is not None
    assert found["B.PNG"].study_id is None


def test_loose_files_come_in_the_order_of_the_listing(folder: Path) -> None:
    paths = [row.path for row in mixed_files.rows(SourceFiles(str(folder)), "files", OPTIONS) if row.member is None]
    assert paths == sorted(paths)


def test_a_mask_that_two_images_could_have_is_refused(cxr: Path, tmp_path: Path) -> None:
    (tmp_path / "lung_masks").mkdir()
    shutil.copy(cxr / "dicom" / CHEST, tmp_path / "a.dcm")
    for name in ("a.png", "lung_masks/a.png"):
        (tmp_path / name).touch()
    with pytest.raises(ManifestError, match=r"one image of the mask lung_masks/a\.png in .*, got a\.png and a\.dcm"):
        list(mixed_files.rows(SourceFiles(str(tmp_path)), "files", OPTIONS))


def test_it_is_the_source_where_none_is_named() -> None:
    assert ManifestConfig(root="/data", output="o").source == mixed_files.NAME
    assert ManifestConfig(inputs="a,b", output="o").source is None
