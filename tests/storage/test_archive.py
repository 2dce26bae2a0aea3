import gzip
import io
import random
import zipfile

import pytest

from comit_ray.errors import DecodeError, NotFoundError, Reason, StorageError
from comit_ray.storage import archive, storage
from comit_ray.storage.archive import Member, archive_kind, list_members, open_zip, read_tar_member, read_zip_member
from tests.data import archives

FILES = archives.members()


@pytest.fixture(params=["a.tar", "a.tar.gz", "a.tgz", "a.zip"])
def packed(request, tmp_path) -> str:
    return archives.write(tmp_path / request.param, FILES)


def test_every_regular_file_is_listed_in_order(packed):
    found = list(list_members(packed))
    assert [(member.name, member.size) for member in found] == [(name, len(data)) for name, data in FILES.items()]
    assert all((member.offset is not None) == packed.endswith(".tar") for member in found)


def test_several_gzip_members_are_one_archive(tmp_path):
    uri = archives.gzip_twice(tmp_path / "a.tgz", FILES)
    assert [member.name for member in list_members(uri)] == list(FILES)


def test_listing_from_object_storage(bucket, tmp_path):
    for name in ("a.tar", "a.tgz", "a.zip"):
        uri = f"{bucket}/{name}"
        with open(archives.write(tmp_path / name, FILES), "rb") as file:
            storage.write_bytes(uri, file.read())
        assert [member.name for member in list_members(uri)] == list(FILES)


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.zip"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_archive_is_an_error_not_a_short_one(tmp_path, name, share):
    path = tmp_path / name
    archives.write(path, FILES)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    found: list[Member] = []
    with pytest.raises(StorageError, match="cannot read the archive"):
        found.extend(list_members(str(path)))
    assert len(found) <= len(FILES)


def test_a_tar_cut_between_two_members_is_an_error(tmp_path):
    path = tmp_path / "a.tar"
    archives.write(path, FILES)
    third = list(list_members(str(path)))[3].offset
    path.write_bytes(path.read_bytes()[:third])
    with pytest.raises(StorageError, match="no mark of its end"):
        list(list_members(str(path)))


@pytest.mark.parametrize("name", ["a.tar", "a.tgz"])
def test_a_damaged_header_does_not_pass_for_the_end(tmp_path, name):
    """`tarfile` alone would stop there, as if nothing came after it."""
    plain = tmp_path / "plain.tar"
    archives.write(plain, FILES)
    at = list(list_members(str(plain)))[20].offset
    assert at is not None
    data = bytearray(plain.read_bytes())
    data[at + 5] ^= 0xFF
    (tmp_path / name).write_bytes(bytes(data) if name == "a.tar" else gzip.compress(bytes(data)))
    with pytest.raises(StorageError, match="damaged header"):
        list(list_members(str(tmp_path / name)))


def test_what_is_no_archive_says_so(tmp_path):
    for name in ("a.tar", "a.tgz", "a.zip"):
        (tmp_path / name).write_bytes(b"no archive at all" * 100)
        with pytest.raises(StorageError, match=name):
            list(list_members(str(tmp_path / name)))
        with pytest.raises(NotFoundError):
            list(list_members(str(tmp_path / "absent" / name)))


def test_tar_members_are_read_at_their_offsets(tmp_path):
    uri = archives.write(tmp_path / "a.tar", FILES)
    for member in list_members(uri):
        assert member.offset is not None
        assert read_tar_member(uri, member.name, member.offset, 10**6) == FILES[member.name]
        assert read_tar_member(uri, member.name, member.offset, 10) == FILES[member.name][:10]


def test_another_member_at_the_offset_is_never_taken(tmp_path):
    uri = archives.write(tmp_path / "a.tar", FILES)
    found = list(list_members(uri))
    for offset in (found[1].offset, 17, 10**9):
        assert offset is not None
        with pytest.raises(DecodeError) as caught:
            read_tar_member(uri, found[0].name, offset, 10**6)
        assert caught.value.reason in (Reason.MISSING, Reason.TRUNCATED)


def test_a_tar_that_ends_inside_a_member(tmp_path):
    path = tmp_path / "a.tar"
    archives.write(path, FILES)
    last = [member for member in list_members(str(path)) if member.size == 5000][-1]
    assert last.offset is not None
    path.write_bytes(path.read_bytes()[: last.offset + 2000])
    with pytest.raises(DecodeError) as caught:
        read_tar_member(str(path), last.name, last.offset, 10**6)
    assert caught.value.reason is Reason.TRUNCATED


def test_zip_members_are_read_and_their_damage_is_found(tmp_path):
    path = tmp_path / "a.zip"
    archives.write(path, FILES)
    with open_zip(str(path)) as opened:
        for name, data in FILES.items():
            assert read_zip_member(opened, name, 10**6) == data
        with pytest.raises(DecodeError) as caught:
            read_zip_member(opened, "absent", 10)
        assert caught.value.reason is Reason.MISSING
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as packed:
        packed.writestr("x", b"a" * 100)
    broken = stored.getvalue().replace(b"aaaa", b"aaba", 1)
    path.write_bytes(broken)
    with open_zip(str(path)) as opened, pytest.raises(DecodeError) as caught:
        read_zip_member(opened, "x", 1000)
    assert caught.value.reason is Reason.CORRUPT


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.TAR.GZ", "tar.gz"), ("a.tgz", "tar.gz"), ("a.tar", "tar"), ("a.zip", "zip"), ("a.gz", None), ("tar", None)],
)
def test_the_name_tells_the_kind(name, kind):
    assert archive_kind(name) == kind


def test_the_error_for_an_absent_member():
    assert archive.absent().reason is Reason.MISSING


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_zip_gives_errors_of_ours_alone(tmp_path, compression):
    """Whatever `zipfile` makes of the bytes: some hundred mutations of each compression."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", compression) as packed:
        for name in ("d/a.png", "b.png"):
            packed.writestr(name, b"pixels of a chest " * 20)
    whole = path.read_bytes()
    made = random.Random(0)
    outcomes = set()
    for _ in range(250):
        data = bytearray(whole)
        for _ in range(made.choice([1, 1, 3, 20])):
            data[made.randrange(len(data))] = made.randrange(256)
        path.write_bytes(data)
        try:
            members = list(list_members(str(path)))
            with open_zip(str(path)) as opened:
                for member in members:
                    try:
                        read_zip_member(opened, member.name, 10**6)
                        outcomes.add("read")
                    except DecodeError as error:
                        outcomes.add(str(error.reason))
        except StorageError:
            outcomes.add("broken")
    assert {"read", "corrupt", "broken"} <= outcomes
