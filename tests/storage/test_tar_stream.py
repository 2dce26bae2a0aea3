import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from comit_ray.errors import DecodeError, Reason, StorageError
from comit_ray.storage import tar_stream
from comit_ray.storage.raw_file import RawFile
from comit_ray.storage.tar_stream import TarStream
from tests.data import archives

FILES = archives.members()


@pytest.fixture
def packed(tmp_path) -> str:
    return archives.write(tmp_path / "a.tgz", FILES)


def reason_of(stream, name) -> Reason:
    with pytest.raises(DecodeError) as caught:
        stream.read(name)
    return caught.value.reason


def test_threads_that_ask_in_about_the_order_need_one_pass(packed):
    with TarStream(packed, FILES, 10**6) as stream, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(stream.read, FILES)) == list(FILES.values())
        assert stream.passes == 1


def test_what_passes_by_before_it_is_asked_for_is_held(packed):
    with TarStream(packed, FILES, 10**6) as stream:
        for name in reversed(FILES):
            assert stream.read(name) == FILES[name]
        assert stream.passes == 1


def test_what_several_share_is_held_until_the_last_of_them(packed):
    names = list(FILES)
    with TarStream(packed, [names[2], names[5], names[2], names[9], names[2]], 10**6) as stream:
        for name in (names[2], names[5], names[2], names[9], names[2]):
            assert stream.read(name) == FILES[name]
        assert stream.passes == 1
        assert not stream._held


def test_what_nobody_announced_costs_another_pass_and_is_found(packed):
    names = list(FILES)
    with TarStream(packed, names[10:], 10**6) as stream:
        assert stream.read(names[20]) == FILES[names[20]]
        assert stream.read(names[3]) == FILES[names[3]]
        assert stream.passes == 2
        assert stream.read(names[20]) == FILES[names[20]]


def test_a_member_that_is_not_there_costs_one_pass_at_most(packed):
    with TarStream(packed, FILES, 10**6) as stream:
        for name in ("absent", "absent", "gone"):
            assert reason_of(stream, name) is Reason.MISSING
        assert stream.passes == 1
        assert stream.read(next(iter(FILES))) == FILES[next(iter(FILES))]


def test_a_large_member_is_read_no_further_than_one_byte_above_the_bound(packed):
    large = next(name for name, data in FILES.items() if len(data) == 5000)
    with TarStream(packed, FILES, 1000) as stream:
        assert stream.read(large) == FILES[large][:1001]


def test_members_before_a_cut_are_served_those_behind_it_say_why(packed):
    path = Path(packed)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with TarStream(packed, FILES, 10**6) as stream:
        results: list[bytes | Reason] = []
        for name in FILES:
            try:
                results.append(stream.read(name))
            except DecodeError as error:
                results.append(error.reason)
        served = [result for result in results if isinstance(result, bytes)]
        assert 10 < len(served) < 30
        assert served == list(FILES.values())[: len(served)]
        assert set(results[len(served) :]) == {Reason.TRUNCATED}
        assert stream.passes == 1
        assert stream.verify(None) is None


def test_the_checksum_is_that_of_the_archive(packed):
    digest = hashlib.sha1(Path(packed).read_bytes()).hexdigest()
    with TarStream(packed, FILES, 10**6) as stream:
        stream.read(next(iter(FILES)))
        assert stream.verify(f"sha1:{digest.upper()}") is None
        assert stream.passes == 1
        wrong = stream.verify("sha1:" + "0" * 40)
        assert wrong is not None
        assert wrong.reason is Reason.CHECKSUM_MISMATCH
        sha256 = hashlib.sha256(Path(packed).read_bytes()).hexdigest()
        assert stream.verify(f"sha256:{sha256}") is None


def test_one_flipped_byte_is_found_by_gzips_own_checksum(packed):
    """Bytes that do not compress are stored: only the checksum at the end can tell."""
    path = Path(packed)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with TarStream(packed, FILES, 10**6) as stream:
        for name in FILES:
            stream.read(name)
        problem = stream.verify(None)
        assert problem is not None
        assert problem.reason is Reason.CHECKSUM_MISMATCH


def test_what_is_no_gzip_file(tmp_path):
    (tmp_path / "a.tgz").write_bytes(b"plain text")
    with TarStream(str(tmp_path / "a.tgz"), ["x"], 100) as stream:
        assert reason_of(stream, "x") is Reason.CORRUPT


def test_what_is_held_does_not_grow_with_the_archive(tmp_path):
    """Only members that were announced and not yet asked for are held."""
    files = archives.members(300)
    names = list(files)
    with TarStream(archives.write(tmp_path / "b.tgz", files), names[:5] + names[-5:], 10**6) as stream:
        for name in names[:5] + names[-5:]:
            stream.read(name)
        assert not stream._held


def test_what_is_held_beyond_memory_lies_in_a_file(packed, monkeypatch):
    monkeypatch.setattr(tar_stream, "IN_MEMORY", 12_000)
    with TarStream(packed, FILES, 10**6) as stream:
        for name in reversed(FILES):
            assert stream.read(name) == FILES[name]
            assert sum(map(len, stream._held._memory.values())) <= 12_000
        assert stream.passes == 1
        assert not stream._held


def test_a_storage_that_fails_once_costs_a_pass_not_the_archive(packed, monkeypatch):
    real, reads = RawFile.readinto, 0

    def fail(self, buffer):
        nonlocal reads
        reads += 1
        if reads == 4:
            raise StorageError("503 slow down")
        return real(self, memoryview(buffer)[:4096])

    monkeypatch.setattr(RawFile, "readinto", fail)
    with TarStream(packed, FILES, 10**6) as stream:
        assert [stream.read(name) for name in FILES] == list(FILES.values())
        assert stream.passes == 2
        assert stream.verify(None) is None


def test_a_storage_that_does_not_answer_is_told_as_such(packed, monkeypatch):
    def fail(self, buffer):
        raise StorageError("503 slow down")

    monkeypatch.setattr(RawFile, "readinto", fail)
    with TarStream(packed, FILES, 10**6) as stream, pytest.raises(StorageError, match="503"):
        stream.read(next(iter(FILES)))


def test_padding_behind_the_archive_is_no_damage(packed):
    path = Path(packed)
    path.write_bytes(path.read_bytes() + b"\0" * 700 + b"padding of a tape")
    with TarStream(packed, FILES, 10**6) as stream:
        assert [stream.read(name) for name in FILES] == list(FILES.values())
        assert stream.verify(None) is None


def test_an_unknown_kind_of_checksum_is_a_mismatch(packed):
    with TarStream(packed, FILES, 10**6) as stream:
        problem = stream.verify("crc7:00")
    assert problem is not None
    assert problem.reason is Reason.CHECKSUM_MISMATCH
