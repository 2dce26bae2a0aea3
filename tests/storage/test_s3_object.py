"""Objects of S3 through a proxy that cuts bodies, and through stores that answer in their own way."""

import io
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import IncompleteReadError

from comit_ray.errors import NotFoundError, ShortReadError, StorageError
from comit_ray.storage import s3, s3_object, storage
from comit_ray.storage.s3_object import S3Object
from tests.benchmarks.faults.fault_proxy import Faults, proxy
from tests.conftest import empty_bucket

DATA = random.Random(0).randbytes(300_000)


@pytest.fixture
def faults(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Faults]]:
    """URI of an object behind a proxy, and what the proxy does wrong; nothing at first."""
    known = Faults(seed=0)
    with empty_bucket(s3_endpoint, "cut-bodies") as bucket, proxy(s3_endpoint, known) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        s3.forget()
        uri = f"{bucket}/images/x.bin"
        storage.write_bytes(uri, DATA)
        yield uri, known
    s3.forget()


def test_a_body_that_is_always_cut_is_an_error_and_never_other_bytes(faults: tuple[str, Faults]) -> None:
    """pyarrow's files filled the cut part with whatever was in memory."""
    uri, known = faults
    known.cut = 1.0
    with pytest.raises(ShortReadError, match="expected 300,000 bytes from byte 0 on, got 150,000"):
        storage.read_bytes(uri)
    with pytest.raises(ShortReadError, match="expected 1,000 bytes"):
        storage.read_bytes(uri, at_most=1000)
    for opener in (storage.open_file, storage.open_stream):
        with opener(uri) as file, pytest.raises(ShortReadError):
            file.read()
    assert known.count >= 4 * s3_object.TRIES, "each was asked for again"


def test_a_body_that_is_sometimes_cut_is_whole_in_the_end(faults: tuple[str, Faults]) -> None:
    uri, known = faults
    known.cut = 0.2
    assert all(storage.read_bytes(uri) == DATA for _ in range(10))
    with storage.open_file(uri) as file:
        file.seek(200_000)
        assert file.read(50_000) == DATA[200_000:250_000]
    assert known.count


def test_reads_as_python_s_own_files_do(faults: tuple[str, Faults]) -> None:
    uri, _ = faults
    draw = random.Random(1)
    with storage.open_file(uri) as file, io.BytesIO(DATA) as expected:
        for _ in range(30):
            whence = draw.choice([os.SEEK_SET, os.SEEK_END])
            offset = draw.randrange(310_000) if whence == os.SEEK_SET else -draw.randrange(300_000)
            assert file.seek(offset, whence) == expected.seek(offset, whence)
            count = draw.randrange(200_000)
            assert file.read(count) == expected.read(count)
            assert file.tell() == expected.tell()
    with storage.open_stream(uri) as file:
        assert file.read() == DATA
    assert storage.read_bytes(uri, at_most=0) == b""
    assert storage.read_bytes(uri, at_most=7) == DATA[:7]
    assert storage.read_bytes(uri, at_most=400_000) == DATA
    with pytest.raises(OSError, match="expected a place"):
        S3Object(uri).seek(-1)


def test_an_object_without_bytes_and_one_that_is_not_there(faults: tuple[str, Faults]) -> None:
    uri, _ = faults
    storage.write_bytes(f"{uri}.empty", b"")
    assert storage.read_bytes(f"{uri}.empty") == b""
    with storage.open_file(f"{uri}.empty") as file:
        assert file.read() == b""
    with pytest.raises(NotFoundError):
        storage.read_bytes(f"{uri}.none")
    with pytest.raises(NotFoundError):
        S3Object(f"{uri}.none")


def test_an_object_that_is_replaced_while_it_is_read_is_refused(faults: tuple[str, Faults]) -> None:
    """Two halves of two objects are no image."""
    uri, _ = faults
    opened = S3Object(uri)
    assert opened.readinto(bytearray(1000)) == 1000
    storage.write_bytes(uri, DATA[::-1])
    with pytest.raises(StorageError, match="replaced while it was read"):
        opened.readinto(bytearray(1000))


class Store:
    """A client whose answers are made up: `bodies` are bytes, or an error that the reading of the body raises."""

    def __init__(self, *bodies: bytes | Exception, ranges: bool) -> None:
        self.bodies, self.ranges = list(bodies), ranges

    def get_object(self, **_: Any) -> dict[str, Any]:
        body = self.bodies.pop(0)
        answer: dict[str, Any] = {"Body": Body(body), "ContentLength": len(DATA)}
        if self.ranges:
            answer["ContentRange"] = f"bytes 0-{len(DATA) - 1}/{len(DATA)}"
        return answer


class Body:
    def __init__(self, content: bytes | Exception) -> None:
        self.content = content

    def read(self) -> bytes:
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


def use(patch: pytest.MonkeyPatch, store: Store) -> None:
    patch.setattr(s3, "client", lambda: store)


BROKEN = IncompleteReadError(actual_bytes=5, expected_bytes=300_000)


def test_an_answer_that_breaks_off_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Store(BROKEN, BROKEN, DATA, ranges=True))
    assert s3_object.read("s3://bucket/x") == DATA
    use(monkeypatch, Store(BROKEN, BROKEN, BROKEN, ranges=True))
    with pytest.raises(ShortReadError, match="broke off"):
        s3_object.read("s3://bucket/x")


def test_a_store_that_knows_no_ranges_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Store(DATA, DATA, ranges=False))
    assert s3_object.read("s3://bucket/x") == DATA
    assert s3_object.read("s3://bucket/x", at_most=10) == DATA[:10]
