"""Pictures that are no frontal chest, kept as examples: lateral views, CT slices and other parts of the body.

A training leaves them out, and its check for frontal chests (`comit_ray.checkpoint.frontal_check`) learns from them.
They are the rows that a source excludes by its own tables. Two kinds of rows are no examples: a DICOM file whose header
excludes it is not decoded, and a member of a tar.gz is not looked for, because the archive would have to be read for
it.
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
"""Reasons of exclusion for pictures that are no frontal chest."""
MOST = 1_000
"""Approximate largest number of examples that are read from a manifest."""
FRONTAL, MOST_FRONTAL = "frontal", 3_000
"""Kind of the frontal chests, and the largest number of them on which the check is fitted."""


def share_of(manifest: pa.Table) -> float:
    """Returns the share (0 to 1) of a manifest's examples to read, so that there are about `MOST` at most.

    Args:
        manifest: rows with `excluded` and `view`.
    """
    rows = zip(manifest["excluded"].to_pylist(), manifest["view"].to_pylist(), strict=True)
    there = sum(_reason({"excluded": excluded, "view": view}) is not None for excluded, view in rows)
    return min(1.0, MOST / there) if there else 1.0


def picture(
    row: Mapping[str, Any], reader: FileReader, limits: DecodeLimits, share: float
) -> npt.NDArray[np.uint8] | None:
    """Reads the pixels of an example; None for all other rows, and for an example that cannot be decoded.

    Args:
        row: row of the manifest.
        reader: reader of its files.
        limits: bounds on images.
        share: share of the examples to read, chosen by the hash of the id, so that it selects the same images
            everywhere.
    """
    place = Place.of(row)
    if _reason(row) is None or place.streamed or zlib.crc32(row["image_id"].encode()) >= share * 2**32:
        return None
    try:
        return load_radiograph(place, reader, limits).pixels_HW
    except DecodeError:
        return None  # the row stays excluded, and there are other examples


def _reason(row: Mapping[str, Any]) -> Reason | None:
    known = known_exclusion(row)
    return known.reason if known is not None and known.reason in REASONS else None


def examples(blocks: Iterable[pa.Table], size: int) -> dict[str, Any]:
    """Collects the images from which a check for frontal chests learns.

    Args:
        blocks: tables of `comit_ray.prepare.frames.FRAMES`.
        size: side of the frame in pixels.

    Returns:
        The arguments of `comit_ray.checkpoint.frontal_check.Examples`.
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
        if len(frontal) > 2 * MOST_FRONTAL:  # keeps memory small for millions of frames
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
