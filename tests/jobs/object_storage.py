"""An archive on the disk and in a bucket, and tables of the two as they are compared."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from comit_ray.storage import storage

OF_THE_RUN = ("run_id", "screened_at")


def packed_archive(cxr: Path, directory: Path, count: int) -> Path:
    """The first images of covid_chestxray with their masks; twelve of them in a tar.gz, a zip and a tar; its root."""
    source, root = cxr / "covid_chestxray", directory / "archive"
    (root / "images").mkdir(parents=True)
    images = sorted((source / "images").iterdir())[:count]
    for image in images:
        shutil.copy(image, root / "images")
    shutil.copytree(source / "annotations", root / "annotations")
    shutil.copy(source / "metadata.csv", root)
    for form, ending, some in (
        ("gztar", "tar.gz", images[:4]),
        ("zip", "zip", images[4:8]),
        ("tar", "tar", images[8:12]),
    ):
        staged = directory / form
        (staged / "images").mkdir(parents=True)
        for image in some:
            (root / "images" / image.name).rename(staged / "images" / image.name)
        made = shutil.make_archive(str(directory / f"made-{form}"), form, staged)
        Path(made).rename(root / f"part.{ending}")
    return root


def upload(root: Path, uri: str) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            storage.write_bytes(f"{uri}/{path.relative_to(root)}", path.read_bytes())


def rows(table: pa.Table, root: str) -> list[dict[str, Any]]:
    """Rows without what belongs to a run, and with places relative to the root."""
    kept = table.drop_columns([name for name in OF_THE_RUN if name in table.column_names])
    cleaned = [
        {name: value.replace(root, "ROOT") if isinstance(value, str) else value for name, value in row.items()}
        for row in kept.to_pylist()
    ]
    return sorted(cleaned, key=lambda row: str(row["image_id"]))
