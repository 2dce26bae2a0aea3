"""The simplest reader of rows: bytes of each file, or why there are none."""

from typing import Any

from comit_ray.data.images.load import Place
from comit_ray.errors import DecodeError
from comit_ray.storage.file_reader import FileReader


def read(row: dict[str, Any], reader: FileReader) -> dict[str, Any]:
    try:
        return {"image_id": row["image_id"], "data": reader.read(Place.of(row).file)}
    except DecodeError as error:
        return fail(row, error)


def fail(row: dict[str, Any], error: DecodeError) -> dict[str, Any]:
    return {"image_id": row["image_id"], "reason": str(error.reason)}
