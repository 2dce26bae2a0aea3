"""Made-up tables of an archive of any size, as a screen would leave them: for tests and for measurements.

`python -m tests.benchmarks.archive_of_rows ROWS DIRECTORY [ROWS_A_FILE [LABELLED]]` writes predictions/, masks/,
images/ and a manifest/; with 512 rows a file (the default) the files are those of the manifest's chunks. LABELLED is
the share of images with labels (0.05). Masks are of 96 px, taken from a few hundred pairs of ellipses, so their files
are smaller than those of a screen; in memory they have their full size. No image has an annotated mask.
"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.chunks.plan import chunk_file
from comit_ray.data.masks.masks import to_png
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import MASKS, PREDICTIONS, SCREENED_IMAGES

A_NIGHT = 20_000
FIRST = datetime(2024, 1, 1, 22, tzinfo=UTC)
SITES = ("north", "south", "east", None)
DEVICES = ("AGFA DX-D", "Philips Digital", None)
FRAME, PNGS = 96, 400
REASONS = ("truncated", "missing", "lateral")


def _words(where: np.ndarray, then: str, other: pa.Array | str | None = None) -> pa.Array:
    """A column of words: `then` where it holds, else `other`."""
    rest = pa.scalar(other, pa.string()) if other is None or isinstance(other, str) else other
    return pc.if_else(pa.array(where), pa.scalar(then, pa.string()), rest)


def _digits(numbers: np.ndarray, width: int) -> pa.Array:
    return pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, "0")


def _joined(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _ids(start: int, rows: int) -> pa.Array:
    number = np.arange(start, start + rows)
    folder = _joined("ward/patients/", _digits(number // 30000, 4), "/", _digits(number // 3, 8))
    return _joined(folder, "/image-", _digits(number, 9), ".dcm")


def prediction_rows(start: int, rows: int, seed: int = 0) -> pa.Table:
    """Rows `start` to `start + rows` of the predictions: 2% failed, 1% excluded, 6% flagged.

    Args:
        start: number of the first image.
        rows: how many.
        seed: of the draws.
    """
    draw = np.random.default_rng((seed, start, 1))
    kind = draw.random(rows)
    failed, excluded = kind < 0.02, (kind >= 0.02) & (kind < 0.03)
    scored = ~failed & ~excluded

    def values(numbers: np.ndarray, absent: np.ndarray | None = None) -> pa.Array:
        return pa.array(numbers.astype(np.float32), mask=~scored if absent is None else ~scored | absent)

    covid, unhealthy = draw.beta(0.5, 4, rows).astype(np.float32), draw.beta(1, 3, rows).astype(np.float32)
    number = np.arange(start, start + rows)
    at = [FIRST + timedelta(days=int(one) // A_NIGHT, seconds=int(one) % A_NIGHT) for one in (number[0], number[-1])]
    moments = np.linspace(at[0].timestamp() * 1000, at[1].timestamp() * 1000, rows).astype(np.int64)
    disease = draw.beta(1, 20, rows) * (draw.random(rows) > 0.3)
    columns = {
        "image_id": _ids(start, rows),
        "status": _words(failed, "failed", _words(excluded, "excluded", "ok")),
        "reason": _words(failed, REASONS[0], _words(excluded, REASONS[2])),
        "detail": _words(failed, "half a file", _words(excluded, "seen from the side")),
        "p_unhealthy": values(unhealthy),
        "p_covid": values(np.round(covid, 3)),
        "p_other": values(draw.random(rows)),
        "covid_flag": pa.array(np.round(covid, 3) >= np.float32(0.35), mask=~scored),
        "unhealthy_flag": pa.array(unhealthy >= np.float32(0.6), mask=~scored),
        "operating_point": _words(scored, "specificity_0.90"),
        "calibration": _words(scored, "none"),
        "lung_area": values(draw.beta(8, 20, rows) * (draw.random(rows) > 0.02)),
        "disease_area": values(disease, draw.random(rows) < 0.01),
        "disease_in_lung": values(np.minimum(1, disease * draw.random(rows) * 4), draw.random(rows) < 0.01),
        "embedding_distance": values(draw.lognormal(0, 0.2, rows)),
        "typicality": values(draw.random(rows)),
        "pixel_mean": values(draw.normal(0.5, 0.08, rows)),
        "pixel_sd": values(draw.normal(0.22, 0.03, rows)),
        "pixel_black": values(draw.beta(1, 20, rows)),
        "pixel_white": values(draw.beta(1, 50, rows)),
        "height": pa.array(np.full(rows, 2500, np.int32)),
        "width": pa.array(np.full(rows, 2000, np.int32)),
        "view": _words(draw.random(rows) < 0.6, "PA", "AP"),
        "model_id": pa.array(["0123456789ab"] * rows),
        "run_id": pa.array(["run"] * rows),
        "screened_at": pa.array(moments, pa.timestamp("ms", tz="UTC")),
    }
    filled = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(rows, field.type)
        for field in PREDICTIONS
    ]
    return pa.Table.from_arrays(filled, schema=PREDICTIONS)


def manifest_rows(start: int, rows: int, seed: int = 0, share_labelled: float = 0.05) -> pa.Table:
    """The same images in the manifest: three a patient, two a study."""
    draw = np.random.default_rng((seed, start, 2))
    number = np.arange(start, start + rows)
    ids = _ids(start, rows)
    member = draw.random(rows) < 0.1
    labelled = draw.random(rows) < share_labelled
    columns = {
        "image_id": ids,
        "uri": _joined("s3://archive-bucket/dicom/", ids),
        "member": _words(member, "a.dcm"),
        "dataset": pa.array(["ward"] * rows),
        "site": pa.array(np.array(SITES, object)[draw.integers(0, len(SITES), rows)], pa.string()),
        "device": pa.array(np.array(DEVICES, object)[draw.integers(0, len(DEVICES), rows)], pa.string()),
        "patient_id": _joined("ward/", _digits(number // 3, 8)),
        "study_id": pc.if_else(pa.array(number % 11 == 0), None, _joined("ward/study-", _digits(number // 2, 8))),
        "view": pa.array(["unknown"] * rows),
        "view_source": pa.array(["none"] * rows),
        "sex": pa.array(np.array(("M", "F", None), object)[draw.integers(0, 3, rows)], pa.string()),
        "age": pa.array(draw.uniform(5, 95, rows).astype(np.float32), mask=draw.random(rows) < 0.1),
        "acquired_on": pa.array((19358 + number % 365).astype(np.int32)).cast(pa.date32()),
        "findings": pa.array([[]] * rows, pa.list_(pa.string())),
        "covid": pa.array(draw.integers(0, 2, rows).astype(np.int8), mask=~labelled),
        "unhealthy": pa.array(draw.integers(0, 2, rows).astype(np.int8), mask=~labelled),
        "split": pa.array(["test"] * rows),
        "chunk": _joined("ward-", _digits(number // 512, 5)),
    }
    filled = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(rows, field.type)
        for field in MANIFEST
    ]
    return pa.Table.from_arrays(filled, schema=MANIFEST)


def ellipses(count: int, seed: int = 0) -> list[bytes]:
    """Masks of `FRAME` pixels with two ellipses each, as PNG."""
    draw = np.random.default_rng((seed, 3))
    rows, columns = np.mgrid[:FRAME, :FRAME] / FRAME
    found = []
    for _ in range(count):
        mask = np.zeros((FRAME, FRAME), bool)
        for middle in (0.3, 0.7):
            (top, left), (height, width) = draw.normal((0.5, middle), 0.03), draw.uniform((0.2, 0.1), (0.35, 0.18))
            mask |= ((rows - top) / height) ** 2 + ((columns - left) / width) ** 2 < 1
        found.append(to_png(mask))
    return found


def masks_of(predictions: pa.Table, pngs: Sequence[bytes], seed: int = 0) -> pa.Table:
    """Masks of the scored images of `prediction_rows`.

    Args:
        predictions: the rows.
        pngs: masks, of which each image gets one for its lungs and one for its disease.
        seed: of the draws.
    """
    ids = predictions["image_id"].filter(pc.equal(predictions["status"], "ok"))
    count, draw = len(ids), np.random.default_rng((seed, 4))
    lungs, disease = (pa.array(pngs, pa.binary()).take(draw.integers(0, len(pngs), count)) for _ in range(2))
    whole = {"frame_height": FRAME, "frame_width": FRAME, "original_top": 0, "original_left": 0}
    scale = {"rows_per_pixel": FRAME / 2500, "columns_per_pixel": FRAME / 2000}
    columns = {"image_id": ids, "lung_png": lungs, "disease_png": disease, "fit": pa.array(["stretch"] * count)}
    columns |= {name: pa.array(np.full(count, value)) for name, value in (whole | scale).items()}
    return pa.Table.from_arrays([columns[field.name].cast(field.type) for field in MASKS], schema=MASKS)


def main() -> None:
    """Write the tables, a part of the manifest for every 65,536 rows."""
    total, directory = int(sys.argv[1].replace("_", "")), sys.argv[2]
    a_file = int(sys.argv[3]) if len(sys.argv) > 3 else 512
    labelled = float(sys.argv[4]) if len(sys.argv) > 4 else 0.05
    pngs = ellipses(PNGS)
    for part, start in enumerate(range(0, total, 65_536)):
        rows = min(65_536, total - start)
        manifest = manifest_rows(start, rows, share_labelled=labelled)
        predictions = prediction_rows(start, rows)
        parquet.write_table(f"{directory}/manifest/part-{part:05d}.parquet", manifest)
        known = [
            manifest[f.name] if f.name in manifest.column_names else pa.nulls(rows, f.type) for f in SCREENED_IMAGES
        ]
        images = pa.Table.from_arrays(known, schema=SCREENED_IMAGES)
        parquet.write_table(f"{directory}/results/images/part-{part:05d}.parquet", images)
        for at in range(0, rows, a_file):
            rows_of_file = predictions.slice(at, a_file)
            name = chunk_file(f"ward-{(start + at) // a_file:05d}", rows_of_file["image_id"].to_pylist())
            parquet.write_table(f"{directory}/results/predictions/{name}", rows_of_file)
            masks = masks_of(rows_of_file, pngs)
            parquet.write_table(f"{directory}/results/masks/{name}", masks)
    print(f"{total:,} rows in {directory}")


if __name__ == "__main__":
    main()
