"""Stages alone, on real files of several formats."""

from functools import partial
from pathlib import Path

from comit_ray.benchmark import stages
from comit_ray.checkpoint import checkpoint
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.image_config import DecodeLimits
from comit_ray.screening.predictor import Predictor, PredictorSettings
from comit_ray.screening.screen_tables import layout
from tests.support import manifest_row, write_checkpoint


def test_every_stage_is_timed_and_formats_are_told_apart(cxr: Path, tmp_path: Path) -> None:
    files = [
        *sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:3],
        cxr / "dicom" / "RG1_J2KI.dcm",
        cxr / "dicom" / "RG3_J2KR.dcm",
        next(iter(sorted((cxr / "covid_chestxray" / "images").glob("*.jp*g")))),
        tmp_path / "gone.png",
    ]
    rows = [manifest_row(f"a/{number}", uri=str(file)) for number, file in enumerate(files)]
    rows.append(manifest_row("a/lateral", uri=str(files[0]), excluded="lateral"))
    uri = write_checkpoint(tmp_path / "checkpoint")
    point = OperatingPoint("specificity_0.90", {"covid": 0.5})
    loaded = checkpoint.load(uri)
    output = str(tmp_path / "alone")
    settings = PredictorSettings(uri, loaded.model_id, point, "r", 2, threads=1)
    read, fetched_rows = stages.read(rows, loaded.config.frame, DecodeLimits())
    predicted, tables = stages.predict(fetched_rows, 4, partial(Predictor, settings))
    found = [*read, *predicted, *stages.write(tables, output, layout(embeddings=False))]
    counted = {(stage.name, stage.kind): stage.images for stage in found}
    assert counted == {
        ("fetch", ""): 6,
        ("decode", "PNG"): 3,
        ("decode", "DICOM JPEG 2000 Image Compression"): 1,
        ("decode", "DICOM JPEG 2000 Image Compression (Lossless Only)"): 1,
        ("decode", "JPEG"): 1,
        ("predict", ""): 5,
        ("measure", ""): 5,
        ("write", ""): 5,
        ("bare model", ""): 5,
    }, "one DICOM is no frontal chest radiograph"
    assert all(stage.seconds > 0 for stage in found)
    (fetched,) = (stage.size for stage in found if stage.name == "fetch")
    assert fetched == sum(file.stat().st_size for file in files[:6])
    written = stages.written_bytes(output, ("predictions", "masks"))
    assert written == sum(file.stat().st_size for file in Path(output).rglob("*.parquet"))
