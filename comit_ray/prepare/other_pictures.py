"""Pictures that are no frontal chest, kept as examples: laterals, CT slices and other parts of the body.

A training leaves them out, and its check for frontal chests (`comit_ray.checkpoint.frontal_check`) learns from them.
They are the rows that a source excludes by its own tables. A DICOM file whose header excludes it is not decoded, and
a member of a tar.gz is not looked for, because the archive would be read for it: neither is an example.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import Place, known_exclusion, load_radiograph
from comit_ray.errors import DecodeError, Reason
from comit_ray.storage.file_reader import FileReader
from comit_ray.tables.vocabulary import Split

REASONS = frozenset({Reason.LATERAL, Reason.NOT_FRONTAL, Reason.NOT_A_CHEST, Reason.WRONG_MODALITY})
"""Exclusions of pictures that are no frontal chest."""
MOST = 1_000
"""About the most examples that are read of a manifest."""
FRONTAL, MOST_FRONTAL = "frontal", 3_000
"""Kind of the others, and the most of them that the check is fitted on."""


def share_of(manifest: pa.Table) -> float:
    """The share of a manifest's examples that are read, so that they are about `MOST` at most.

    Args:
        manifest: rows with `excluded` and `view`.
    """
    rows = zip(manifest["excluded"].to_pylist(), manifest["view"].to_pylist(), strict=True)
    there = sum(_reason({"excluded": excluded, "view": view}) is not None for excluded, view in rows)
    return min(1.0, MOST / there) if there else 1.0


def picture(
    row: Mapping[str, Any], reader: FileReader, limits: DecodeLimits, share: float
) -> npt.NDArray[np.uint8] | None:
    """The pixels of an example; None of all other rows, and of one that cannot be decoded.

    Args:
        row: of the manifest.
        reader: of its files.
        limits: bounds on images.
        share: of the examples that are read; by the hash of the id, so that it is the same ones everywhere.
    """
    place = Place.of(row)
    if _reason(row) is None or place.streamed or zlib.crc32(row["image_id"].encode()) >= share * 2**32:
        return None
    try:
        return load_radiograph(place, reader, limits).pixels_HW
    except DecodeError:
        return None  # it is excluded all the same, and others are like it


def _reason(row: Mapping[str, Any]) -> Reason | None:
    known = known_exclusion(row)
    return known.reason if known is not None and known.reason in REASONS else None


def examples(blocks: Iterable[pa.Table], size: int) -> dict[str, Any]:
    """Images that a check for frontal chests learns from, as `comit_ray.checkpoint.frontal_check.Examples` takes them.

    Args:
        blocks: tables of `comit_ray.prepare.frames.FRAMES`.
        size: side of the frame in pixels.
    """
    found: list[tuple[bytes, str | None, str, str]] = []
    frontal: list[tuple[int, tuple[bytes, str | None, str, str]]] = []
    for block in blocks:
        for row in _with_pixels(block):
            reason = (row["left_out"] or "").removeprefix("excluded: ")
            entry = (row["pixels"], row["patient_id"], str(row["dataset"]), reason or FRONTAL)
            if reason in REASONS:
                found.append(entry)
            elif not reason and row["split"] in (Split.TRAIN, Split.VAL):
                frontal.append((zlib.crc32(row["image_id"].encode()), entry))
        if len(frontal) > 2 * MOST_FRONTAL:  # of a million frames not all are to be held
            frontal = sorted(frontal, key=lambda item: item[0])[:MOST_FRONTAL]
    chosen = [*found, *(entry for _, entry in sorted(frontal, key=lambda item: item[0])[:MOST_FRONTAL])]
    pixels, patients, datasets, kinds = zip(*chosen, strict=True) if chosen else ((), (), (), ())
    frames = [np.frombuffer(data, np.uint8).reshape(size, size) for data in pixels]
    return {
        "frames_NHW": np.stack(frames) if frames else np.zeros((0, size, size), np.uint8),
        "frontal_N": np.array([kind == FRONTAL for kind in kinds], bool),
        "patients": patients,
        "datasets": datasets,
        "kinds": kinds,
    }


def _with_pixels(block: pa.Table) -> Sequence[Mapping[str, Any]]:
    columns = ["image_id", "patient_id", "dataset", "split", "left_out", "pixels"]
    rows = block.select(columns)
    return list(rows.filter(rows["pixels"].is_valid()).to_pylist())
