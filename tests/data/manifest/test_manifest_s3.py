"""Sources, manifests and masks in object storage: the same as on disk."""

import numpy as np
import pyarrow as pa
import pytest

from comit_ray.config.image_config import FrameConfig
from comit_ray.config.manifest_config import SplitConfig
from comit_ray.config.source_config import SourceOptions
from comit_ray.data.manifest.manifest import part_uris, read, write
from comit_ray.data.manifest.manifest_build import finish, mark_missing, merge, read_source
from comit_ray.data.masks.masks import read_mask, to_png
from comit_ray.data.sources.nih import rows
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import NotFoundError
from comit_ray.storage import storage

TABLE = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n" + "".join(
    f"0000000{number}_000.png,Mass,0,{number},58,M,PA\n" for number in range(1, 6)
)


def nih(root: str, chunk_rows: int) -> pa.Table:
    return finish(
        mark_missing(read_source(rows, SourceFiles(root), "nih", SourceOptions()).table), SplitConfig(), chunk_rows
    )


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
    assert row["uri"] == f"{bucket}/nih/images_002/images/00000003_000.png"
    assert read_mask(row["lung_mask"], FrameConfig(size=64), 64, 64).sum() == 32 * 64

    write(f"{bucket}/manifest", table, part_rows=2)
    assert len(part_uris(f"{bucket}/manifest")) == 3
    assert merge([f"{bucket}/manifest"]).equals(table)
    write(f"{bucket}/manifest", nih(root, chunk_rows=512), part_rows=512)
    assert part_uris(f"{bucket}/manifest") == [f"{bucket}/manifest/part-00000.parquet"]
    assert len(read(f"{bucket}/manifest")) == 5
    with pytest.raises(NotFoundError):
        read(f"{bucket}/elsewhere")
