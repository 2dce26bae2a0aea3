"""Every file below a root is a row, used, or counted with its reason."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.manifest.manifest_build import SourceTable, read_source
from comit_ray.data.sources import listing
from comit_ray.data.sources.skipped import is_hidden, member_name
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.source_registry import adapter
from comit_ray.errors import ManifestError, Reason
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileReader
from tests.data import archives
from tests.data.dicom_files import dicom

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tgz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "tar": bytes,
}


def read(root: Path | str, source: str = "images", **options: Any) -> SourceTable:
    return read_source(adapter(source), SourceFiles(str(root), **options), "d", SourceOptions())


def ids(source: SourceTable) -> list[str]:
    return [str(name).removeprefix("d/") for name in source.table["image_id"].to_pylist()]


def reasons(source: SourceTable) -> dict[str, str]:
    assert source.skipped is not None
    return {row["member"] or row["path"]: row["reason"] for row in source.skipped.table().to_pylist()}


def test_what_is_no_row_has_a_reason(tmp_path: Path) -> None:
    for name in ("a.png", "line\nbreak.PNG", "notes.txt", "x.7z", "y.RAR", "z.tar.zst", "c.png.gz", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".folder").mkdir()
    (tmp_path / ".folder" / "b.png").write_bytes(b"x")
    archives.write(tmp_path / "p.zip", {"in.png": b"x", "inner.zip": b"x", "__MACOSX/._in.png": b"x", "more.7z": b"x"})
    found = read(tmp_path)
    assert sorted(ids(found)) == ["a.png", "line\nbreak.PNG", "p.zip!in.png"]
    assert reasons(found) == {
        ".folder/b.png": "hidden",
        ".hidden.png": "hidden",
        "__MACOSX/._in.png": "hidden",
        "c.png.gz": "compressed_file",
        "notes.txt": "other_format",
        "x.7z": "archive_not_read",
        "y.RAR": "archive_not_read",
        "z.tar.zst": "archive_not_read",
        "inner.zip": "archive_in_archive",
        "more.7z": "archive_in_archive",
    }
    assert found.skipped is not None
    assert "passed over: 10 files" in found.skipped.describe()
    found.skipped.write(str(tmp_path / "skipped.csv"))
    assert len((tmp_path / "skipped.csv").read_text().splitlines()) == 11


def test_a_listing_tells_the_same(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    for name in ("a.png", ".b.png", "c.txt"):
        (tmp_path / "root" / name).write_bytes(b"x")
    os.mkfifo(tmp_path / "root" / "pipe.png")
    assert listing.write(str(tmp_path / "root"), str(tmp_path / "listing")) == 2
    loose, listed = read(tmp_path / "root"), read(tmp_path / "root", listing=str(tmp_path / "listing"))
    assert reasons(loose) == reasons(listed) == {".b.png": "hidden", "pipe.png": "not_a_file", "c.txt": "other_format"}


def test_pipes_and_links_are_counted_and_nothing_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "absent")
    (tmp_path / "sub" / "root").symlink_to(tmp_path)
    (tmp_path / "sub" / "up").symlink_to(tmp_path / "sub")
    found = read(tmp_path)
    assert ids(found) == ["sub/a.png"]
    assert reasons(found) == {
        "pipe.png": "not_a_file",
        "self.png": "broken_link",
        "nowhere.png": "broken_link",
        "sub/root": "link_above",
        "sub/up": "link_above",
    }


def test_a_directory_without_permission_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "a.png").write_bytes(b"x")
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "no", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert reasons(read(tmp_path)) == {"locked/": "unreadable_directory"}


NAMES = ["images/a.png", "./images/b.png", "images/./c.png", "images/../images/d.png", "/abs/f.png", "images//g.png"]


@pytest.mark.parametrize("ending", ["tar", "tgz", "tar.bz2", "tar.xz", "zip"])
def test_dots_and_slashes_in_members_names(tmp_path: Path, ending: str) -> None:
    """All are rows that can be read; what leads out of the root is a failed row."""
    held = {name: name.encode() for name in [*NAMES, "../e.png"]}
    pack(tmp_path / f"all.{ending}", held)
    found = read(tmp_path)
    assert ids(found) == [f"all.{ending}!{name}" for name in held]
    assert found.table["excluded"].to_pylist() == [None] * len(NAMES) + ["unreadable"]
    files = SourceFiles(str(tmp_path))
    with FileReader(1000) as reader:
        assert [reader.read(files.reference(file)) for file in files if file.member] == list(held.values())
    assert files.find("images/d.png") is not None
    assert files.find("abs/f.png") is not None


def pack(path: Path, held: dict[str, bytes]) -> None:
    """An archive with exactly these names, without folders."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, data in held.items():
                packed.writestr(zipfile.ZipInfo(name), data)
        return
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:") as tar:
        for name, data in held.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(PACKERS[path.name.rpartition(".")[2]](raw.getvalue()))


@pytest.mark.parametrize("ending", ["tar", "tgz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("how", ["one stream", "two streams"])
def test_tars_one_behind_the_other(tmp_path: Path, ending: str, how: str) -> None:
    compress = PACKERS[ending.rpartition(".")[2]]
    for name in ("first", "second"):
        pack(tmp_path / f"{name}.tar", {f"{name}{number}.png": name.encode() for number in range(3)})
    tars = [(tmp_path / f"{name}.tar").read_bytes() for name in ("first", "second")]
    (tmp_path / "root").mkdir()
    whole = b"".join(map(compress, tars)) if how == "two streams" else compress(b"".join(tars))
    (tmp_path / "root" / f"both.{ending}").write_bytes(whole)
    files = SourceFiles(str(tmp_path / "root"))
    assert not files.broken
    with FileReader(100) as reader:
        found = {file.name: reader.read(files.reference(file)) for file in files if file.member}
    assert list(found.values()) == [b"first"] * 3 + [b"second"] * 3
    (tmp_path / "root" / f"both.{ending}").write_bytes(compress(tars[0] + b"no tar at all" * 100))
    assert [archive.path for archive in SourceFiles(str(tmp_path / "root")).broken] == [f"both.{ending}"]


def test_a_zip_behind_another_one_tells_that_the_first_is_lost(tmp_path: Path) -> None:
    """Its directory knows the second one's members alone; a program that unpacks itself is no zip in front."""
    for name in ("first", "second"):
        pack(tmp_path / f"{name}.zip", {f"{name}.png": name.encode()})
    first, second = ((tmp_path / f"{name}.zip").read_bytes() for name in ("first", "second"))
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "both.zip").write_bytes(first + second)
    (tmp_path / "root" / "program.zip").write_bytes(b"MZ" + bytes(500) + second)
    files = SourceFiles(str(tmp_path / "root"))
    assert [(archive.path, archive.reason) for archive in files.broken] == [("both.zip", Reason.CORRUPT)]
    with FileReader(100) as reader:
        assert [reader.read(files.reference(file)) for file in files if file.member] == [b"second"] * 2


def test_pipes_and_devices_in_a_tar_are_counted(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (
            ("pipe.png", tarfile.FIFOTYPE),
            ("device.png", tarfile.CHRTYPE),
            ("folder", tarfile.DIRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type = kind
            tar.addfile(info)
    files = SourceFiles(str(tmp_path))
    assert not [file for file in files if file.member]
    assert files.skipped.counts() == {"not_a_file": 2}


def test_names_of_zips_in_utf_8_without_its_mark(tmp_path: Path) -> None:
    name = "tórax.png"
    data = zipped(name.encode())
    (tmp_path / "a.zip").write_bytes(data)
    files = SourceFiles(str(tmp_path))
    (file,) = files.matching(r".*\.png")
    assert file.name == name
    with FileReader(100) as reader:
        assert reader.read(files.reference(file)) == b"x"
    (tmp_path / "a.zip").write_bytes(zipped("tórax.png".encode("cp437")))
    assert [file.name for file in SourceFiles(str(tmp_path)).matching(r".*\.png")] == [name]


def zipped(name: bytes) -> bytes:
    """A zip of one member whose name is these bytes, its UTF-8 mark not set."""
    raw = io.BytesIO()
    placeholder = "N" * len(name)
    with zipfile.ZipFile(raw, "w") as packed:
        packed.writestr(placeholder, b"x")
    return raw.getvalue().replace(placeholder.encode(), name)


def test_one_letter_or_two_are_one_name(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "tórax.png") for form in ("NFC", "NFD"))
    (tmp_path / decomposed).write_bytes(b"x")
    files = SourceFiles(str(tmp_path))
    assert files.find(composed) == files.find(decomposed)
    (tmp_path / composed).write_bytes(b"y")
    both = SourceFiles(str(tmp_path))
    for name in (composed, decomposed):
        file = both.find(name)
        assert file is not None
        assert file.name == name


def test_keys_with_dots_and_slashes(bucket: str) -> None:
    import boto3

    keys = ["a.png", "b/./b.png", "c//c.png", "d.png/", ".e.png"]
    for key in keys:
        boto3.client("s3").put_object(Bucket=bucket.removeprefix("s3://"), Key=f"r/{key}", Body=key.encode())
    found = read(f"{bucket}/r")
    assert ids(found) == ["a.png", "b/./b.png", "c//c.png"]
    assert [storage.read_bytes(uri) for uri in found.table["uri"].to_pylist()] == [key.encode() for key in keys[:3]]
    assert reasons(found) == {"d.png/": "folder_marker", ".e.png": "hidden"}


def test_dicom_by_name_or_by_content(tmp_path: Path) -> None:
    sound = dicom()
    bare = sound[sound.index(b"\x08\x00\x16\x00UI") :]
    for name, data in {
        "1.2.826.0.1": sound,
        "1.2.826.0.2": bare,
        "1.2.826.0.3": b"",
        "1.2.826.0.4": bytes(5000),
        "IM1.ima": sound,
        "IM2": b"",
        "odd.xyz": bare,
        "x.dcm": sound[:100],
        "notes.txt": b"text",
        "page.html": b"<html>",
        "z.dcm.gz": b"x",
        "DICOMDIR": sound,
    }.items():
        (tmp_path / name).write_bytes(data)
    pack(tmp_path / "pacs.zip", {"1.2.3.1": sound, "1.2.3.2": b"", "in.txt": b"text", "in.xyz": bare})
    found = read(tmp_path, "dicom")
    names = ["1.2.826.0.1", "1.2.826.0.2", "1.2.826.0.3", "1.2.826.0.4", "IM1.ima", "IM2", "odd.xyz", "x.dcm"]
    assert ids(found) == [*names, "pacs.zip!1.2.3.1", "pacs.zip!1.2.3.2", "pacs.zip!in.xyz"]
    assert reasons(found) == {
        "notes.txt": "other_format",
        "page.html": "other_format",
        "in.txt": "other_format",
        "z.dcm.gz": "compressed_file",
        "DICOMDIR": "dicom_index",
    }


def test_a_root_without_a_row_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom())
    with pytest.raises(ManifestError, match=r"no image .*passed over: 1 file.*\n.*other_format.*'.dcm' 1"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("folder", "name", "expected"),
    [
        ("", "a/../b.png", "b.png"),
        ("p", "../b.png", "b.png"),
        ("p", "../../b.png", "../b.png"),
        ("", "..", ".."),
        ("p/q", "w\\in\\a.png", "p/q/w/in/a.png"),
    ],
)
def test_member_names(folder: str, name: str, expected: str) -> None:
    assert member_name(folder, name) == expected
    assert not is_hidden(expected)
