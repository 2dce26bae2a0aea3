import tarfile
from pathlib import Path

import pytest

from comit_ray.data.sources.source_files import BrokenArchive, SourceFiles
from comit_ray.errors import ManifestError, NotFoundError, Reason, StorageError
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileReader
from comit_ray.storage.raw_file import RawFile
from tests.data import archives


@pytest.fixture(params=["local", "s3"])
def root(request, tmp_path) -> str:
    """A loose image, and the same tree in three archives in a folder of their own."""
    base = str(tmp_path / "data") if request.param == "local" else request.getfixturevalue("bucket")
    storage.write_bytes(f"{base}/images/1.png", b"loose")
    for number, ending in ((2, "tar"), (3, "tgz"), (4, "zip")):
        local = tmp_path / f"p.{ending}"
        archives.write(local, {f"./images/{number}.png": bytes([number]) * number, "read.me": b""})
        storage.write_bytes(f"{base}/packed/{ending}/p.{ending}", local.read_bytes())
        local.unlink()
    return base


def test_members_are_named_as_if_unpacked_where_they_lie(root):
    files = SourceFiles(root)
    names = [file.name for file in files.matching(r"(.*/)?images/\d\.png")]
    assert names == ["images/1.png", "packed/tar/images/2.png", "packed/tgz/images/3.png", "packed/zip/images/4.png"]
    file = files.find("packed/tgz/images/3.png")
    assert file is not None
    assert (file.path, file.member, file.size) == ("packed/tgz/p.tgz", "./images/3.png", 3)
    assert files.find("images/3.png") is None
    with FileReader(100) as reader:
        assert [reader.read(files.reference(file)) for file in files.matching(r".*\d\.png")] == [
            b"loose",
            b"\x02" * 2,
            b"\x03" * 3,
            b"\x04" * 4,
        ]
    assert [file.position for file in files] == list(range(len(files)))


def test_archives_need_not_be_opened(root):
    assert [file.name for file in SourceFiles(root, inside_archives=False)] == [
        "images/1.png",
        "packed/tar/p.tar",
        "packed/tgz/p.tgz",
        "packed/zip/p.zip",
    ]


def test_an_archive_that_lies_unpacked_beside_itself_counts_once(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(b"x")
    archives.write(tmp_path / "all.zip", {"images/1.png": b"x", "images/2.png": b"y"})
    found = {file.name: file.member for file in SourceFiles(str(tmp_path)).matching(r"images/.*")}
    assert found == {"images/1.png": None, "images/2.png": "images/2.png"}


def test_a_broken_archive_is_told_and_its_beginning_kept(tmp_path, capsys):
    files = archives.members(20)
    path = Path(archives.write(tmp_path / "a.tgz", files))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "b.zip").write_bytes(b"no zip")
    source = SourceFiles(str(tmp_path))
    assert source.broken == [BrokenArchive("a.tgz", Reason.TRUNCATED), BrokenArchive("b.zip", Reason.CORRUPT)]
    assert 0 < sum(file.path == "a.tgz" and file.member is not None for file in source) < 20
    assert "cannot read the archive" in capsys.readouterr().err


def test_listings_stand_for_archives_that_are_not_there(tmp_path):
    (tmp_path / "a.tar-tvf.txt").write_text("-rw-r--r-- u/g 12 2020-05-30 10:11 d/x.png\n")
    (tmp_path / "sha1sum.txt").write_text(f"{'b' * 40}  a.tar.gz\n")
    source = SourceFiles(str(tmp_path))
    file = source.find("d/x.png")
    assert file is not None
    assert (file.path, file.member, file.size) == ("a.tar.gz", "d/x.png", 12)
    assert source.checksums == {"a.tar.gz": f"sha1:{'b' * 40}"}


def test_what_a_table_has_named_is_taken(root):
    files = SourceFiles(root)
    first = files.first("images/absent.png", "images/1.png")
    assert first is not None
    files.take(first)
    assert [file.name for file in files.untaken(r".*\d\.png")] == [
        "packed/tar/images/2.png",
        "packed/tgz/images/3.png",
        "packed/zip/images/4.png",
    ]


def test_what_is_not_there(tmp_path):
    with pytest.raises(NotFoundError, match="nowhere"):
        SourceFiles(str(tmp_path / "nowhere"))
    with pytest.raises(ManifestError, match=r"expected one labels\.csv .*found none"):
        SourceFiles(str(tmp_path)).table(r"labels\.csv", "labels.csv")


def test_what_cannot_be_read_stays_and_says_why(tmp_path):
    """Names that are no text, links, a name twice; hidden members are left out, as hidden files are."""
    with open(bytes(tmp_path) + b"/x\xff.png", "wb"):
        pass
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, link in (("1.png", ""), ("2.png", "1.png"), ("1.png", ""), ("._1.png", ""), ("3.png", "")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = (tarfile.LNKTYPE, link) if link else (tarfile.REGTYPE, "")
            tar.addfile(info)
    with tarfile.open(tmp_path / "b.tar", "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("t\xf3rax.png"))
    files = SourceFiles(str(tmp_path))
    assert [file.name for file in files.matching(r".*\.png")] == [
        "x\\udcff.png",
        "1.png",
        "2.png",
        "3.png",
        "t\\udcf3rax.png",
    ]
    assert files.unusable == {
        ("x\\udcff.png", None): Reason.UNREADABLE,
        ("a.tar", "2.png"): Reason.UNREADABLE,
        ("a.tar", "1.png"): Reason.CORRUPT,
        ("b.tar", "t\\udcf3rax.png"): Reason.UNREADABLE,
    }


def test_another_file_of_the_same_name_does_not_hide_a_member(tmp_path, capsys):
    (tmp_path / "1.png").write_bytes(b"another picture")
    (tmp_path / "2.png").write_bytes(b"y")
    archives.write(tmp_path / "all.zip", {"1.png": b"x", "2.png": b"y"})
    found = [(file.name, file.member) for file in SourceFiles(str(tmp_path)).matching(r".*\.png")]
    assert found == [("1.png", None), ("2.png", None), ("1.png", "1.png")]
    assert "1 members lie unpacked beside it" in capsys.readouterr().err


def test_a_storage_that_does_not_answer_is_no_damage(tmp_path, monkeypatch):
    archives.write(tmp_path / "a.tgz", archives.members(20))
    real, reads = RawFile.readinto, 0

    def fail(self, buffer):
        nonlocal reads
        reads += 1
        if reads > 1:
            raise StorageError("503 slow down")
        return real(self, memoryview(buffer)[:4096])

    monkeypatch.setattr(RawFile, "readinto", fail)
    with pytest.raises(StorageError, match="503"):
        SourceFiles(str(tmp_path))


def test_an_archive_at_hand_is_compared_with_its_listing_where_that_is_asked_for(tmp_path):
    archives.write(tmp_path / "a.tgz", {"1.png": b"x", "2.png": b"y"})
    (tmp_path / "a.tar-tvf.txt").write_text(
        "-rw-r--r-- u/g 1 2020-05-30 10:11 1.png\n-rw-r--r-- u/g 1 2020-05-30 10:11 gone.png\n"
    )
    trusted = SourceFiles(str(tmp_path))
    assert [file.name for file in trusted.matching(r".*\.png")] == ["1.png", "gone.png"]
    compared = SourceFiles(str(tmp_path), trust_listings=False)
    assert [file.name for file in compared.matching(r".*\.png")] == ["1.png", "2.png", "gone.png"]
    assert compared.unusable == {("a.tgz", "gone.png"): Reason.MISSING}
