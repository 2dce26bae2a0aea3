"""What tests of pictures share."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from comit_ray.data.masks.mask_references import boxes_reference
from comit_ray.data.masks.masks import to_png
from comit_ray.evaluation import screen_metrics
from comit_ray.evaluation.pictures.contact_sheet import Colour
from comit_ray.evaluation.pictures.picture import Picture
from tests.support import manifest_row, mask_row, prediction_row, write_results

GREY = np.full((200, 160), 100, np.uint8)
SQUARE = np.zeros((200, 160), bool)
SQUARE[50:150, 40:120] = True
LEFT = np.zeros((64, 64), bool)
LEFT[8:56, 4:28] = True


def where(picture: Image.Image, colour: Colour) -> NDArray[np.bool_]:
    """The pixels of exactly this colour."""
    return np.asarray((np.asarray(picture) == colour).all(axis=2))


def screened_images(cxr: Path, root: Path) -> pd.DataFrame:
    """Twelve real radiographs with masks: 6 of COVID, of which 2 missed, one of these not flagged unhealthy.

    `root` gets results/ and manifest/.
    """
    files = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:12]
    box = boxes_reference([(256, 32, 192, 224)], 1024, 1024)
    ids = [f"a/{number:02d}" for number in range(12)]
    manifest = [
        manifest_row(
            image_id, uri=str(file), covid=int(number < 6), unhealthy=int(number < 9),
            illness_day=[9, 4, None, 2, 2, 7, *[None] * 6][number],
            lung_mask=box, disease_mask=box if number < 9 else None,
        )
        for number, (image_id, file) in enumerate(zip(ids, files, strict=True))
    ]  # fmt: skip
    flags = [(True, True)] * 4 + [(False, True), (False, False)] + [(False, False)] * 6
    predictions = [
        prediction_row(
            image_id, 0.9 if covid else 0.1, covid_flag=covid, unhealthy_flag=unhealthy, height=1024, width=1024
        )
        for image_id, (covid, unhealthy) in zip(ids, flags, strict=True)
    ]
    masks = [mask_row(image_id, lung_png=to_png(LEFT), disease_png=to_png(LEFT)) for image_id in ids]
    results, uri = write_results(root, manifest, predictions, masks)
    return screen_metrics.join_tables(results, uri, "test")


def opened(root: Path, picture: Picture) -> Image.Image:
    """The PNG of a picture in the report at `root`."""
    assert picture.files[0] == f"figures/{picture.name}.png"
    return Image.open(io.BytesIO((root / picture.files[0]).read_bytes())).convert("RGB")


def scored_images(count: int, **columns: Any) -> pd.DataFrame:
    """Scored images as `scores.join_tables` gives them, one a patient, with neither labels nor flags nor masks."""
    ids = [f"a/{number:05d}" for number in range(count)]
    common: dict[str, Any] = {"image_id": ids, "patient_id": ids, "dataset": "a", "status": "ok"}
    nothing = (
        *("covid", "unhealthy", "p_covid", "p_unhealthy", "covid_flag", "unhealthy_flag", "calibration", "study_id"),
        *("sex", "age", "site", "device", "lung_png", "lung_area", "disease_png", "disease_area"),
    )
    known = {"view": "PA", "operating_point": "specificity_0.90", "model_id": "m"}
    return pd.DataFrame(common | dict.fromkeys(nothing, np.nan) | known | columns)
