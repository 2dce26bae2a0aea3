"""The S3 clients against a real server on this machine, one that cuts uploads among them."""

import socket
import threading
from urllib.parse import urlsplit

import boto3
import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.manifest.manifest_build import read_source
from comit_ray.data.sources import image_files
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import NotFoundError, StorageError
from comit_ray.storage import s3, storage


def addressing() -> str | None:
    return (getattr(s3.client().meta.config, "s3", None) or {}).get("addressing_style")


def test_more_keys_than_a_page_are_listed_page_by_page(bucket, monkeypatch):
    """In the order of their bytes, and without more than a page of them at hand."""
    server = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]  # in this process: faster than PUTs
    for number in range(2_400):
        server.put_object(s3.split(bucket)[0], f"images/{number % 100:02d}/{number:05d}.png", b"")
    pages = 0
    real = s3.client().get_paginator("list_objects_v2").paginate

    class Paginator:
        @staticmethod
        def paginate(**options):
            nonlocal pages
            for page in real(**options):
                pages += 1
                assert len(page["Contents"]) <= 1000
                yield page

    monkeypatch.setattr(s3.client(), "get_paginator", lambda _: Paginator)
    stream = storage.list_files(f"{bucket}/images")
    assert next(stream).path == "00/00000.png"
    assert pages == 1
    rest = [entry.path for entry in stream]
    assert len(rest) == 2_399
    assert rest == sorted(rest)


def test_a_folder_marker_is_no_file_and_an_empty_bucket_no_error(bucket):
    assert list(storage.list_files(bucket)) == []
    s3.client().put_object(Bucket=s3.split(bucket)[0], Key="folder/", Body=b"")
    assert list(storage.list_files(f"{bucket}/folder")) == []
    with pytest.raises(NotFoundError, match="no directory at"):
        list(storage.list_files(f"{bucket}/fold"))
    with pytest.raises(NotFoundError, match="no bucket at"):
        list(storage.list_files("s3://no-such-bucket-anywhere"))


def test_a_key_with_an_empty_part_is_listed_and_read(bucket):
    """pyarrow does not address it; it must neither end a run nor be taken for another object."""
    client, name = s3.client(), s3.split(bucket)[0]
    for key in ("a//b.png", "a/b.png"):
        client.put_object(Bucket=name, Key=key, Body=key.encode())
    assert [entry.path for entry in storage.list_files(f"{bucket}/a")] == ["/b.png", "b.png"]
    assert storage.read_bytes(f"{bucket}/a//b.png") == b"a//b.png"
    with pytest.raises(NotFoundError, match="no file"):
        storage.read_bytes(f"{bucket}/a//c.png")
    files = SourceFiles(f"{bucket}/a")
    rows = read_source(image_files.rows, files, "d", SourceOptions()).table.to_pylist()
    assert [row["uri"] for row in rows] == [f"{bucket}/a//b.png", f"{bucket}/a/b.png"]


def test_the_endpoint_of_the_environment_serves_both_clients(bucket, s3_endpoint):
    assert s3.client().meta.endpoint_url == s3_endpoint
    assert addressing() == "path"
    storage.write_bytes(f"{bucket}/x", b"written by boto3")
    assert storage.read_bytes(f"{bucket}/x") == b"written by boto3"  # read by pyarrow


def test_amazon_itself_needs_no_endpoint(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    s3.forget()
    assert s3.client().meta.region_name == "eu-west-1"
    assert addressing() is None
    assert s3.filesystem().region == "eu-west-1"
    s3.forget()


def test_without_credentials_it_is_said_which_variables_to_set(bucket, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # which keeps the credentials that it found
    s3.forget()
    for ask in (
        lambda: next(iter(storage.list_files(bucket))),
        lambda: storage.exists(f"{bucket}/x"),
        lambda: storage.read_bytes(f"{bucket}/x"),
        lambda: storage.write_bytes(f"{bucket}/x", b""),
    ):
        with pytest.raises(StorageError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"):
            ask()


def test_public_buckets_are_read_without_a_signature(bucket, monkeypatch):
    name = s3.split(bucket)[0]
    s3.client().put_object(Bucket=name, Key="public.png", Body=b"pixels", ACL="public-read")
    s3.client().put_bucket_acl(Bucket=name, ACL="public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv(s3.ANONYMOUS_VARIABLE, "1")
    s3.forget()
    headers: list[bool] = []
    s3.client().meta.events.register(
        "before-send", lambda request, **_: headers.append("Authorization" in request.headers)
    )
    assert [entry.path for entry in storage.list_files(bucket)] == ["public.png"]
    assert storage.read_bytes(f"{bucket}/public.png") == b"pixels"
    assert headers == [False, False]


class CuttingProxy:
    """Passes requests on to `target` and hangs up in the middle of every body longer than `after` bytes."""

    def __init__(self, target: str, after: int) -> None:
        url = urlsplit(target)
        self.target, self.after, self.cuts = (str(url.hostname), int(url.port or 80)), after, 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.target) as upstream:
            answers = threading.Thread(target=self._pump, args=(upstream, client), daemon=True)
            answers.start()
            passed = 0
            while data := client.recv(65_536):
                if data.startswith(b"PUT"):
                    passed = 0
                passed += len(data)
                if passed > self.after:
                    self.cuts += 1
                    return
                upstream.sendall(data)

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
        except OSError:
            return


def test_an_upload_cut_in_the_middle_leaves_no_object(bucket, s3_endpoint, monkeypatch):
    proxy = CuttingProxy(s3_endpoint, after=300_000)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    s3.forget()
    storage.write_bytes(f"{bucket}/small", b"x" * 1000)
    with pytest.raises(StorageError, match="cannot write"):
        storage.write_bytes(f"{bucket}/large.parquet", b"x" * 3_000_000)
    assert proxy.cuts >= 2
    proxy.server.close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    s3.forget()
    assert [entry.path for entry in storage.list_files(bucket)] == ["small"]


def test_what_boto3_raises_is_ours_and_a_mistake_of_ours_is_not_hidden(bucket, monkeypatch):
    with pytest.raises(StorageError, match="cannot write s3://no-such-bucket-anywhere/x"):
        storage.write_bytes("s3://no-such-bucket-anywhere/x", b"")
    with pytest.raises(StorageError, match="cannot write s3://no-such-bucket-anywhere/x"):
        storage.create("s3://no-such-bucket-anywhere/x", b"")
    assert storage.create(f"{bucket}/x", b"first")
    assert not storage.create(f"{bucket}/x", b"second")
    with monkeypatch.context() as broken:
        broken.setattr(s3, "client", lambda: None)
        with pytest.raises(AttributeError):
            storage.write_bytes(f"{bucket}/x", b"")


@pytest.mark.parametrize("endpoint", ["nonsense", "http://127.0.0.1:1"])
def test_an_endpoint_that_is_none_is_an_error_of_storage(monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    s3.forget()
    with pytest.raises(StorageError, match="cannot write s3://b/x"):
        storage.write_bytes("s3://b/x", b"")
    with pytest.raises(StorageError, match="cannot list s3://b/x"):
        list(storage.list_files("s3://b/x"))
    s3.forget()
