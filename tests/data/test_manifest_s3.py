"""Sources, manifests and masks in object storage: the same as on disk."""

from collections.abc import Iterator

import boto3
import numpy as np
import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer

from comit_ray import storage
from comit_ray.config import FrameConfig, SplitConfig
from comit_ray.data.manifest import part_uris, read, write
from comit_ray.data.manifest_build import finish, from_rows, mark_missing, merge
from comit_ray.data.masks import read_mask, to_png
from comit_ray.data.sources.nih import rows
from comit_ray.errors import NotFoundError

TABLE = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n" + "".join(
    f"0000000{number}_000.png,Mass,0,{number},58,M,PA\n" for number in range(1, 6)
)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for cache in (storage._s3_client, storage._s3_filesystem):
        cache.cache_clear()
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="archive")
    yield "s3://archive"
    for cache in (storage._s3_client, storage._s3_filesystem):
        cache.cache_clear()
    server.stop()


def nih(root: str, chunk_rows: int) -> pa.Table:
    return finish(mark_missing(from_rows(rows(root, "nih"), root, "nih")), SplitConfig(), chunk_rows)


def test_an_archive_in_a_bucket(bucket: str) -> None:
    root = f"{bucket}/nih"
    mask = np.zeros((64, 64), bool)
    mask[:32] = True
    storage.write_bytes(f"{root}/Data_Entry_2017.csv", TABLE.encode())
    storage.write_bytes(f"{root}/images_002/images/00000003_000.png", b"pixels")
    storage.write_bytes(f"{root}/lung_masks/00000003_000.png", to_png(mask))
    table = nih(root, chunk_rows=2)
    assert table.column("excluded").to_pylist() == ["missing", "missing", None, "missing", "missing"]
    row = table.to_pylist()[2]
    assert row["uri"] == "s3://archive/nih/images_002/images/00000003_000.png"
    assert read_mask(row["lung_mask"], FrameConfig(size=64), 64, 64).sum() == 32 * 64

    write(f"{bucket}/manifest", table, part_rows=2)
    assert len(part_uris(f"{bucket}/manifest")) == 3
    assert merge([f"{bucket}/manifest"]).equals(table)
    write(f"{bucket}/manifest", nih(root, chunk_rows=512), part_rows=512)
    assert part_uris(f"{bucket}/manifest") == ["s3://archive/manifest/part-00000.parquet"]
    assert len(read(f"{bucket}/manifest")) == 5
    with pytest.raises(NotFoundError):
        read(f"{bucket}/elsewhere")
