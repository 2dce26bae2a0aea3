"""Small tables that several tests need, written as the package writes them."""

import gzip
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from comit_ray.checkpoint import checkpoint, temperature
from comit_ray.checkpoint.checkpoint import TrainingState
from comit_ray.checkpoint.operating_points import Threshold
from comit_ray.config.config_base import Precision
from comit_ray.config.image_config import FrameConfig
from comit_ray.config.train_config import TrainConfig
from comit_ray.data.images.frame import statistics
from comit_ray.inference import openvino_export, optimised
from comit_ray.inference.optimised import OptimisedRecord
from comit_ray.models.registry import build_model
from comit_ray.optimisation import run_optimise
from comit_ray.screening.fetch import to_table
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import MASKS, PREDICTIONS


def manifest_row(image_id: str, **changes: Any) -> dict[str, Any]:
    """A frontal radiograph of the test split without labels."""
    row: dict[str, Any] = {
        "image_id": image_id,
        "uri": f"/nowhere/{image_id}",
        "member": None,
        "excluded": None,
        "dataset": image_id.split("/")[0],
        "patient_id": image_id,
        "view": "PA",
        "view_source": "test",
        "findings": [],
        "split": "test",
        "chunk": f"{image_id.split('/')[0]}-00000",
    }
    return row | changes


def fetched(*frames: npt.NDArray[np.uint8] | None) -> pa.Table:
    """Square frames, of originals twice as high as wide, as a screen has fetched them; None: a file cut in half."""
    rows = []
    for index, frame in enumerate(frames):
        row: dict[str, Any] = {"image_id": f"a/{index}", "view": "PA"}
        if frame is None:
            row |= {"status": "failed", "reason": "truncated", "detail": "half"}
        else:
            row |= {"status": "ok", "height": 2 * len(frame), "width": len(frame), "frame": frame}
            row |= {"top": 0.0, "left": 0.0, "rows_per_pixel": 0.5, "columns_per_pixel": 1.0}
            row |= {name: value[0] for name, value in statistics(frame[None]).items()}
        rows.append(row)
    size = next((len(frame) for frame in frames if frame is not None), 64)
    return to_table(rows, FrameConfig(size=size))


def prediction_row(
    image_id: str, p_covid: float | None = 0.1, threshold: float = 0.5, **changes: Any
) -> dict[str, Any]:
    """A scored image; `p_covid=None` one that failed."""
    common = {"image_id": image_id, "view": "PA", "model_id": "m", "run_id": "r", "screened_at": datetime.now(UTC)}
    if p_covid is None:
        return common | {"status": "failed", "reason": "truncated", "detail": "half a file"} | changes
    scores = {
        "status": "ok",
        "p_covid": p_covid,
        "p_unhealthy": p_covid,
        "covid_flag": p_covid >= threshold,
        "unhealthy_flag": p_covid >= threshold,
        "operating_point": "specificity_0.90",
        "height": 64,
        "width": 64,
    }
    return common | scores | changes


def mask_row(image_id: str, **png: bytes) -> dict[str, Any]:
    """Masks of a 64 px frame that the original fills one to one."""
    frame = {"frame_height": 64, "frame_width": 64, "fit": "stretch", "original_top": 0, "original_left": 0}
    return {"image_id": image_id, "rows_per_pixel": 1, "columns_per_pixel": 1} | frame | png


def write_rows(directory: Path, rows: list[dict[str, Any]], schema: pa.Schema, part: str = "part-00000") -> str:
    """Rows as one part of a table; the table's URI."""
    parquet.write_table(str(directory / f"{part}.parquet"), pa.Table.from_pylist(rows, schema=schema))
    return str(directory)


def write_results(
    root: Path, manifest: list[dict[str, Any]], predictions: list[dict[str, Any]], masks: list[dict[str, Any]]
) -> tuple[str, str]:
    """A screened archive: URIs of its results and of its manifest."""
    write_rows(root / "results" / "predictions", predictions, PREDICTIONS)
    write_rows(root / "results" / "masks", masks, MASKS)
    return str(root / "results"), write_rows(root / "manifest", manifest, MANIFEST)


def supersede(manifest: Path, newer: dict[str, str]) -> None:
    """Mark images of a manifest as earlier versions of others: image_id -> that of the newer version."""
    record = {"number": 1, "added_on": "2026-11-02", "base": "", "parts": [], "rows": 0, "gone": [], "returned": []}
    (manifest / "update-00001.json").write_text(json.dumps(record | {"superseded": newer}))


def write_checkpoint(
    directory: Path,
    seed: int = 0,
    threshold: float = 0.5,
    temperatures: temperature.Document | None = None,
    **model: Any,
) -> str:
    """An untrained narrow COMiT-Net at 64 px with thresholds for both scores; its URI."""
    torch.manual_seed(seed)
    options = {"width": 0.0625, "weights": "none"} | model
    config = TrainConfig.parse(
        {"data": "d", "storage": "s", "name": "n", "frame": {"size": 64}, "model": options}, origin="test"
    )
    chosen = {name: Threshold(threshold=threshold) for name in ("covid", "unhealthy")}
    directory.mkdir(parents=True)
    state = TrainingState(history=[{"epoch": 1}], optimiser={}, random=[])
    points = {"specificity_0.90": chosen}
    checkpoint.save(directory, build_model(config.model), config, points, temperatures or {}, state)
    return str(directory)


def with_openvino(uri: str, precision: Precision = "float32") -> str:
    """The checkpoint at `uri` with an OpenVINO model beside it, which nobody has measured; its URI again."""
    loaded = checkpoint.load(uri)
    network = openvino_export.convert(loaded)
    if precision == "int8":
        size = loaded.config.frame.size
        drawn = np.random.default_rng(5).integers(0, 256, (16, 1, size, size), np.uint8)
        network = openvino_export.quantised(network, iter(drawn), len(drawn))
    files = dict(openvino_export.files(network))
    files |= {name: Path(uri, name).read_bytes() for name in ("operating_points.json", "temperatures.json")}
    record = OptimisedRecord(
        backend="openvino",
        precision=precision,
        model_id=loaded.model_id,
        files={},
        versions={},
        instructions=optimised.instruction_set(),
        calibrated_on=0,
        measured={},
        bounds={},
        speed=2.0 if precision == "float32" else 3.0,
    )
    run_optimise.publish(optimised.place(uri, precision), files, record)
    return uri


def some_of_nih(cxr: Path, directory: Path, every: int, absent: int = 100) -> Path:
    """Every so many images of NIH ChestX-ray14 below `directory`, with its tables cut to them.

    Args:
        cxr: root of the real radiographs.
        directory: to write to; itself returned.
        every: 1 takes all images that are at hand, 2 every second one, and so on.
        absent: of the tables' rows whose images are not at hand every so many stay: all 112,120 take seconds to read.
    """
    (directory / "images").mkdir(parents=True)
    at_hand = sorted((cxr / "nih_chestxray14" / "images").iterdir())
    chosen, left_out = at_hand[::every], {image.name for index, image in enumerate(at_hand) if index % every}
    for image in chosen:
        shutil.copy(image, directory / "images")
    names = {image.name for image in chosen}
    for file in (cxr / "nih_chestxray14").glob("*.csv.gz"):
        header, *lines = gzip.decompress(file.read_bytes()).decode().splitlines(keepends=True)
        named = [(line, line.partition(",")[0]) for line in lines]
        others = {line for line, name in named if name not in left_out and name not in names}
        kept = set(sorted(others)[::absent])
        cut = [line for line, name in named if name in names or line in kept]
        (directory / file.name.removesuffix(".gz")).write_text(header + "".join(cut))
    return directory


def some_of_covid(cxr: Path, directory: Path, every: int) -> Path:
    """Every so many images of covid-chestxray-dataset below `directory`, with its table and its masks.

    Args:
        cxr: root of the real radiographs.
        directory: to write to; itself returned.
        every: 1 takes all images, 2 every second one, and so on.
    """
    source = cxr / "covid_chestxray"
    (directory / "images").mkdir(parents=True)
    for image in sorted((source / "images").iterdir())[::every]:
        shutil.copy(image, directory / "images")
    shutil.copytree(source / "annotations", directory / "annotations")
    shutil.copy(source / "metadata.csv", directory)
    return directory
