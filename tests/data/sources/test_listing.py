import json
import tracemalloc

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from comit_ray.command.jobs import listing as listing_job
from comit_ray.command.jobs import manifest as manifest_job
from comit_ray.config.manifest_config import ListingConfig, ManifestConfig
from comit_ray.data.manifest.manifest import read as read_manifest
from comit_ray.data.sources import listing
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ConfigError, ManifestError, NotFoundError
from comit_ray.storage import s3, storage
from comit_ray.storage.storage import FileEntry
from comit_ray.tables import parquet


@pytest.fixture
def root(tmp_path) -> str:
    for name in ("b.png", "a/1.png", "a/2.txt", "c/3.jpg", ".hidden"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(b"x" * len(name))
    return str(tmp_path / "root")


def test_a_listing_comes_back_part_by_part(root, tmp_path):
    assert listing.write(root, str(tmp_path / "out"), part_rows=3) == 4
    assert len(parquet.parts(str(tmp_path / "out"))) == 2
    assert list(listing.read(str(tmp_path / "out"), root)) == list(storage.list_files(root, passed_over=True))


def test_a_manifest_of_a_listing_is_that_of_the_root(root, tmp_path):
    assert listing_job(ListingConfig(root=root, output=str(tmp_path / "listing"))) == 0
    for name, given in (("live", None), ("listed", str(tmp_path / "listing"))):
        config = ManifestConfig(source="images", root=root, output=str(tmp_path / name), listing=given)
        assert manifest_job(config) == 0
    assert read_manifest(str(tmp_path / "listed")).equals(read_manifest(str(tmp_path / "live")))
    assert [file.name for file in SourceFiles(root, listing=str(tmp_path / "listing"))] == [
        "a/1.png",
        "a/2.txt",
        "b.png",
        "c/3.jpg",
    ]


def test_a_listing_of_another_root_or_a_part_of_one_is_refused(root, tmp_path):
    out = tmp_path / "out"
    listing.write(root, str(out))
    with pytest.raises(ManifestError, match="expected a listing of /elsewhere"):
        list(listing.read(str(out), "/elsewhere"))
    with pytest.raises(ConfigError, match="new or empty directory"):
        listing.write(root, str(out))
    (out / "part-00000.parquet").unlink()
    with pytest.raises(NotFoundError, match="part-00000"):
        list(listing.read(str(out), root))
    (out / listing.RECORD).write_text("{}")
    with pytest.raises(ManifestError, match="not that of a listing"):
        list(listing.read(str(out), root))
    (out / listing.RECORD).unlink()
    with pytest.raises(ManifestError, match=r"no whole listing .*run comit-ray listing again"):
        list(listing.read(str(out), root))


def test_an_empty_root_is_a_listing_without_parts(tmp_path):
    (tmp_path / "root").mkdir()
    assert listing.write(str(tmp_path / "root"), str(tmp_path / "out")) == 0
    assert list(listing.read(str(tmp_path / "out"), str(tmp_path / "root"))) == []
    assert json.loads((tmp_path / "out" / listing.RECORD).read_text())["parts"] == 0


def test_more_keys_than_a_page_go_to_parquet_in_parts(bucket, monkeypatch):
    server = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]  # in this process: faster than PUTs
    keys = [(f"images/{number % 100:02d}/{number:05d}.png", number) for number in range(2_400)]
    for key, _ in keys:
        server.put_object(s3.split(bucket)[0], key, b"")
    assert listing.write(f"{bucket}/images", f"{bucket}/out", part_rows=700) == 2_400
    found = list(listing.read(f"{bucket}/out", f"{bucket}/images"))
    assert [(one.path, one.size) for one in found] == [(key.removeprefix("images/"), 0) for key, _ in sorted(keys)]
    assert all(one.tag for one in found)
    assert len(parquet.parts(f"{bucket}/out")) == 4


def test_memory_does_not_grow_with_the_listing(tmp_path, monkeypatch):
    def peak(files: int) -> int:
        made = (FileEntry(f"images/{number:09d}.png", number) for number in range(files))
        with monkeypatch.context() as patch:
            patch.setattr(storage, "list_files", lambda uri, suffix="", **_: made if uri == "/root" else iter(()))
            tracemalloc.start()
            listing.write("/root", str(tmp_path / str(files)), part_rows=5000)
            highest = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return highest

    peak(5000)  # what is imported and cached by the first
    assert peak(100_000) < 1.2 * peak(10_000)
