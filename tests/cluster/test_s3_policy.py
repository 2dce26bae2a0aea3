"""cluster/s3-policy.json grants what the package asks of S3, and nothing more: its own calls, judged one by one."""

import fnmatch
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.exceptions import S3AccessDeniedError
from moto.s3.models import s3_backends

from comit_ray.checkpoint import checkpoint
from comit_ray.chunks import run_record
from comit_ray.config.image_config import FrameConfig
from comit_ray.config.manifest_config import SplitConfig
from comit_ray.config.source_config import SourceOptions
from comit_ray.data.manifest import manifest
from comit_ray.data.manifest.manifest_build import finish, read_source
from comit_ray.data.sources import image_files
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import StorageError
from comit_ray.storage import s3, storage
from tests.conftest import REPOSITORY
from tests.support import write_checkpoint

POLICY = REPOSITORY / "cluster" / "s3-policy.json"
PERMISSION = {"HeadBucket": "s3:ListBucket", "ListBucket": "s3:ListBucket"}
"""What IAM calls moto's actions, where the names differ."""

Request = tuple[str, str, str | None]
"""An action of IAM, the resource after `arn:aws:s3:::`, and the prefix of a listing."""


class Judge:
    """The policy's answers to requests, as IAM documents them; keeps what was asked.

    Args:
        bucket: URI; its name with an ending is put for the policy's two placeholders.
    """

    def __init__(self, bucket: str) -> None:
        self.buckets = {name: f"{s3.split(bucket)[0]}-{name.lower()}" for name in ("ARCHIVE-BUCKET", "OUTPUT-BUCKET")}
        text = POLICY.read_text()
        for placeholder, name in self.buckets.items():
            assert placeholder in text
            text = text.replace(placeholder, name)
        self.statements = json.loads(text)["Statement"]
        self.archive = f"s3://{self.buckets['ARCHIVE-BUCKET']}/ARCHIVE-PREFIX"
        self.output = f"s3://{self.buckets['OUTPUT-BUCKET']}/comit-ray"
        self.used: set[tuple[str, str]] = set()
        self.denied: list[Request] = []

    def allows(self, action: str, resource: str, prefix: str | None = None) -> bool:
        granting = [s["Sid"] for s in self.statements if self._grants(s, action, resource, prefix)]
        self.used.update((sid, action) for sid in granting)
        return bool(granting)

    @staticmethod
    def _grants(statement: dict, action: str, resource: str, prefix: str | None) -> bool:
        actions = statement["Action"]
        if action not in ([actions] if isinstance(actions, str) else actions):
            return False
        if not fnmatch.fnmatchcase(f"arn:aws:s3:::{resource}", statement["Resource"]):
            return False
        for operator, keys in statement.get("Condition", {}).items():
            assert operator in ("StringLike", "StringLikeIfExists"), operator
            assert list(keys) == ["s3:prefix"], keys
            if prefix is None and operator == "StringLike":
                return False
            if prefix is not None and not fnmatch.fnmatchcase(prefix, keys["s3:prefix"]):
                return False
        return True

    def check(self, action: str, resource: str, prefix: str | None = None) -> None:
        if not self.allows(action, resource, prefix):
            self.denied.append((action, resource, prefix))
            raise S3AccessDeniedError


@pytest.fixture
def judge(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    """An archive of two images; from then on every request that the server gets is judged."""
    judge, server = Judge(bucket), s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for name in judge.buckets.values():
        s3.client().create_bucket(Bucket=name)
    for name in ("ARCHIVE-PREFIX/a.png", "ARCHIVE-PREFIX/b.png", "OTHER/c.png"):
        storage.write_bytes(f"s3://{judge.buckets['ARCHIVE-BUCKET']}/{name}", b"pixels")

    def authorize(request, bucket_name: str | None = None, key_name: str | None = None) -> None:
        action = request.data["Action"]
        if key_name is None and action == "DeleteObject":  # of many objects at once
            for key in re.findall(r"<Key>(.*?)</Key>", request.body.decode()):
                judge.check("s3:DeleteObject", f"{bucket_name}/{key}")
            return
        if key_name is None:
            prefix = (request.querystring or {}).get("prefix", [None])[0]
            judge.check(PERMISSION[action], str(bucket_name), prefix)
            return
        judge.check(f"s3:{action}", f"{bucket_name}/{key_name}")
        if action == "GetObject" and server.head_object(str(bucket_name), key_name) is None:
            judge.check("s3:ListBucket", str(bucket_name))  # S3 says 404 to those who may list, 403 to all others

    monkeypatch.setattr(ActionAuthenticatorMixin, "_authenticate_and_authorize_s3_action", authorize)
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    s3.forget()
    yield judge
    s3.forget()


def way_of_a_job(archive: str, output: str, tmp_path: Path) -> None:
    """What jobs ask of storage: an archive listed and read, tables, records, checkpoints, and Ray Train's own files."""
    rows = read_source(image_files.rows, SourceFiles(archive), "d", SourceOptions()).table
    assert [storage.read_bytes(row["uri"]) for row in rows.to_pylist()] == [b"pixels", b"pixels"]
    table = finish(rows, SplitConfig(), 512)
    manifest.write(f"{output}/manifest", table, part_rows=1)
    manifest.write(f"{output}/manifest", table, part_rows=512)  # deletes the part that is too many
    assert len(manifest.read(f"{output}/manifest")) == 2

    first = run_record.open_run(f"{output}/results", {"model": "m"}, {}, "predictions")
    assert run_record.open_run(f"{output}/results", {"model": "m"}, {}, "predictions") == first
    assert storage.create(f"{output}/runs/r/config.yaml", b"1")
    assert not storage.create(f"{output}/runs/r/config.yaml", b"2")

    checkpoint.publish(Path(write_checkpoint(tmp_path / "checkpoint")), f"{output}/runs/r/best")
    assert checkpoint.load(f"{output}/runs/r/best").config.frame == FrameConfig(size=64)
    filesystem, path = storage.filesystem(f"{output}/runs")  # as Ray Train writes checkpoints and removes old ones
    filesystem.create_dir(f"{path}/r/checkpoint_000000")
    pafs.copy_files(
        str(tmp_path / "checkpoint"),
        f"{path}/r/checkpoint_000000",
        source_filesystem=pafs.LocalFileSystem(),
        destination_filesystem=filesystem,
    )
    filesystem.delete_dir(f"{path}/r/checkpoint_000000")


def test_every_grant_is_needed_and_enough(judge: Judge, tmp_path: Path) -> None:
    way_of_a_job(judge.archive, judge.output, tmp_path)
    assert judge.denied == []
    granted = {
        (statement["Sid"], action)
        for statement in judge.statements
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    # An upload in parts is given up only when it fails half way.
    assert granted - judge.used == {("WriteTheOutput", "s3:AbortMultipartUpload")}


def test_the_archive_is_read_only(judge: Judge) -> None:
    for change in (
        lambda: storage.write_bytes(f"{judge.archive}/a.png", b"other"),
        lambda: storage.create(f"{judge.archive}/new.png", b"new"),
        lambda: storage.delete(f"{judge.archive}/a.png"),
    ):
        with pytest.raises(StorageError):
            change()
    assert {action for action, _, _ in judge.denied} == {"s3:PutObject", "s3:DeleteObject"}
    assert storage.read_bytes(f"{judge.archive}/a.png") == b"pixels"


def test_nothing_outside_the_prefixes(judge: Judge) -> None:
    archive, output = judge.buckets.values()
    for ask in (
        lambda: storage.read_bytes(f"s3://{archive}/OTHER/c.png"),
        lambda: list(storage.list_files(f"s3://{archive}/OTHER")),
        lambda: list(storage.list_files(f"s3://{archive}")),
        lambda: list(storage.list_files(f"s3://{output}/elsewhere")),
        lambda: storage.write_bytes(f"s3://{output}/elsewhere/x", b"x"),
    ):
        with pytest.raises(StorageError):
            ask()
    assert len(judge.denied) == 5


def test_a_missing_file_is_known_to_be_missing_in_the_output_alone(judge: Judge) -> None:
    """Who may list a bucket only by prefix is told 403 of an absent object: a row `unreadable`, not `missing`."""
    assert not storage.exists(f"{judge.output}/runs/none")
    with pytest.raises(StorageError, match="cannot look at"):
        storage.exists(f"{judge.archive}/none.png")
