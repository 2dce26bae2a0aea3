import zipfile

import pytest

from comit_ray.errors import DecodeError, ManifestError, Reason
from comit_ray.storage import storage
from comit_ray.storage.archive import list_members
from comit_ray.storage.file_reader import FileReader, FileRef
from tests.data import archives

FILES = archives.members(12)


@pytest.fixture(params=["a.tar", "a.tgz", "a.zip"])
def packed(request, tmp_path) -> str:
    return archives.write(tmp_path / request.param, FILES)


def refs(uri) -> list[FileRef]:
    return [FileRef(uri, member.name, member.offset) for member in list_members(uri)]


def reason_of(reader, ref) -> Reason:
    with pytest.raises(DecodeError) as caught:
        reader.read(ref)
    return caught.value.reason


def test_members_of_every_kind_and_loose_files_are_read_alike(packed, tmp_path):
    (tmp_path / "loose").write_bytes(b"loose")
    wanted = refs(packed)
    with FileReader(10**6, wanted) as reader:
        assert [reader.read(ref) for ref in wanted] == list(FILES.values())
        assert reader.read(FileRef(str(tmp_path / "loose"))) == b"loose"
        assert reader.read(FileRef(str(tmp_path / "loose")), at_most=2) == b"lo"


def test_one_byte_more_than_the_bound_is_read(packed):
    with FileReader(100, refs(packed)) as reader:
        assert max(len(reader.read(ref)) for ref in refs(packed)) == 101


def test_what_is_absent_is_missing(packed, tmp_path):
    with FileReader(100) as reader:
        assert reason_of(reader, FileRef(packed, "absent", 512 if packed.endswith(".tar") else None)) is Reason.MISSING
        for name in ("gone.tar", "gone.tgz", "gone.zip", "gone.png"):
            ref = FileRef(str(tmp_path / name), None if name.endswith("png") else "x", 0)
            assert reason_of(reader, ref) is Reason.MISSING


def test_a_broken_zip_is_corrupt(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK no zip")
    with FileReader(100) as reader:
        assert reason_of(reader, FileRef(str(tmp_path / "a.zip"), "x")) is Reason.CORRUPT


def test_an_encrypted_member_says_so(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("x", b"data")
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + at] |= 1  # the flag of encryption (APPNOTE 4.4.4)
    path.write_bytes(data)
    with FileReader(100) as reader:
        assert reason_of(reader, FileRef(str(path), "x")) is Reason.ENCRYPTED


def test_members_in_object_storage(bucket, tmp_path):
    for name in ("a.tar", "a.tgz", "a.zip"):
        archives.write(tmp_path / name, FILES)
        uri = f"{bucket}/{name}"
        storage.write_bytes(uri, (tmp_path / name).read_bytes())
        wanted = refs(uri)
        with FileReader(10**6, wanted) as reader:
            assert [reader.read(ref) for ref in wanted] == list(FILES.values())


@pytest.mark.parametrize("ref", [FileRef("/a b.png"), FileRef("s3://b/a.zip", "d/é.png"), FileRef("/a.tar", "x", 512)])
def test_references_come_back_from_text(ref):
    assert FileRef.from_text(ref.to_text()) == ref


def test_a_reference_of_another_form_is_named():
    for text in ('{"boxes": []}', '{"uri": "/a", "member": null}', "{"):
        with pytest.raises(ManifestError, match="expected a URI or"):
            FileRef.from_text(text)


def test_a_zip_that_was_read_wrongly_is_asked_of_the_storage_again(tmp_path):
    """An open zip keeps what it has read: members of a cut or flipped answer stayed `corrupt` at every look."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a.png", "b.png"):
            archive.writestr(name, name.encode() * 100)
    sound = path.read_bytes()
    damaged = bytearray(sound)
    damaged[sound.index(b"b.pngb.png")] ^= 1
    path.write_bytes(damaged)
    wrong = FileRef(str(path), "b.png")
    with FileReader(10_000) as reader:
        assert reader.read(FileRef(str(path), "a.png")) == b"a.png" * 100
        with pytest.raises(DecodeError, match="corrupt"):
            reader.read(wrong)
        path.write_bytes(sound)
        assert reader.read(wrong) == b"b.png" * 100
