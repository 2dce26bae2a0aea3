"""Local files, and the same calls against a real S3 server on this machine."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from comit_ray.errors import ConfigError, NotFoundError, StorageError
from comit_ray.storage import storage


@pytest.fixture(params=["local", "s3"])
def root(request, tmp_path) -> str:
    """A fresh directory, or a fresh bucket."""
    return str(tmp_path / "data") if request.param == "local" else request.getfixturevalue("bucket")


def test_bytes_come_back(root):
    uri = storage.join(root, "a", "b.bin")
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"0123456789")
    assert storage.exists(uri)
    assert storage.size(uri) == 10
    assert storage.read_bytes(uri) == b"0123456789"
    assert storage.read_bytes(uri, at_most=4) == b"0123"
    storage.write_bytes(uri, b"new")
    assert storage.read_bytes(uri) == b"new"
    storage.delete(uri)
    storage.delete(uri)
    assert not storage.exists(uri)


def test_listing_is_recursive_sorted_and_relative(root):
    for name in ("b/2.png", "b/1.png", "a.csv", "b/.hidden.png"):
        storage.write_bytes(storage.join(root, name), b"xy")
    assert [(e.path, e.size) for e in storage.list_files(root)] == [("a.csv", 2), ("b/1.png", 2), ("b/2.png", 2)]
    assert [e.path for e in storage.list_files(root, ".png")] == ["b/1.png", "b/2.png"]


def test_what_is_absent_is_not_found(root):
    for call in (storage.read_bytes, storage.size):
        with pytest.raises(NotFoundError, match="nothing"):
            call(storage.join(root, "nothing"))


def test_of_several_that_create_a_file_one_succeeds(root) -> None:
    uri = storage.join(root, "claim", "it.json")
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda i: storage.create(uri, str(i).encode()), range(8)))
    assert sum(won) == 1
    assert storage.read_bytes(uri) == str(won.index(True)).encode()
    assert [entry.path for entry in storage.list_files(storage.join(root, "claim"))] == ["it.json"]


def test_a_file_that_cannot_be_created_is_an_error_not_a_claim_of_another(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot write"):
        storage.create(str(tmp_path / "file" / "below"), b"x")


def test_a_reader_never_sees_half_a_file(tmp_path):
    """While one thread rewrites a file, another reads it: always one whole version."""
    uri, stop = str(tmp_path / "f"), threading.Event()
    versions = {bytes([n]) * 2_000_000 for n in range(3)}
    storage.write_bytes(uri, next(iter(versions)))

    def rewrite() -> None:
        while not stop.is_set():
            for version in versions:
                storage.write_bytes(uri, version)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        assert all(storage.read_bytes(uri) in versions for _ in range(50))
    finally:
        stop.set()
        writer.join()
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("uri", ["gs://bucket/x", "ftp://host/x"])
def test_other_schemes_are_refused(uri):
    with pytest.raises(StorageError, match="expected a local path or an s3:// URI"):
        storage.normalise(uri)


def test_relative_paths_become_absolute():
    assert storage.normalise("x/../y/") == os.path.join(os.getcwd(), "y")
    assert storage.normalise("s3://bucket/key/") == "s3://bucket/key"


def test_files_are_read_from_anywhere_and_front_to_back(root):
    uri = storage.join(root, "f")
    storage.write_bytes(uri, bytes(range(256)) * 2000)
    with storage.open_file(uri) as file:
        assert file.seek(-2, os.SEEK_END) == 511_998
        assert file.read() == b"\xfe\xff"
        file.seek(300)
        assert file.read(3) == b"\x2c\x2d\x2e"
    with storage.open_stream(uri) as stream:
        read = b"".join(iter(lambda: stream.read(100_000), b""))
    assert read == storage.read_bytes(uri)
    for opener in (storage.open_file, storage.open_stream):
        with pytest.raises(NotFoundError, match="nothing"), opener(storage.join(root, "nothing")):
            pass


def test_a_link_to_a_directory_above_it_has_an_end(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.png").write_bytes(b"1")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "beside").symlink_to(tmp_path / "a" / "b")
    found = [entry.path for entry in storage.list_files(str(tmp_path))]
    assert "a/b/x.png" in found
    assert "beside/x.png" in found
    assert len(found) < 10


def test_local_and_s3_list_in_the_same_order(tmp_path, bucket):
    names = ["a.csv", "a/b.png", "a-b/c.png", "ab", "B", "é.png", "a/b/c.png"]
    for name in names:
        storage.write_bytes(str(tmp_path / name) if name != "a/b/c.png" else str(tmp_path / "a" / "b2" / "c.png"), b"")
        storage.write_bytes(f"{bucket}/{name}" if name != "a/b/c.png" else f"{bucket}/a/b2/c.png", b"")
    local = [entry.path for entry in storage.list_files(str(tmp_path))]
    assert local == [entry.path for entry in storage.list_files(bucket)]
    assert local == sorted(local, key=str.encode)


def test_a_file_in_place_of_a_directory_is_called_one(tmp_path):
    (tmp_path / "x.csv").write_text("a")
    with pytest.raises(NotFoundError, match=r"x\.csv is a file: expected a directory"):
        list(storage.list_files(str(tmp_path / "x.csv")))


@pytest.mark.parametrize(
    ("output", "root"), [("a/out", "a"), ("a", "a/"), ("s3://b/k/out", "s3://b/k"), ("s3://b/k", "s3://b")]
)
def test_an_output_inside_the_archive_is_refused(output, root):
    with pytest.raises(ConfigError, match=rf"--output {output} lies inside the archive \(--root {root}\).*beside it"):
        storage.refuse_inside("--output", output, "--root", root)


@pytest.mark.parametrize(("output", "root"), [("a-out", "a"), ("out", "a"), ("s3://b2/k", "s3://b"), ("a", "a/b")])
def test_an_output_beside_the_archive_is_not(output, root):
    storage.refuse_inside("--output", output, "--root", root)
    storage.refuse_inside("--output", output, "--root", None)
