"""The `gradcam` table: for each scored image, where in the radiograph its scores come from, as pictures.

The maps are the model's (`comit_ray.inference`). They are made and encoded a batch at a time, for a map is four bytes a
pixel, and a chunk's maps together would be hundreds of megabytes.
"""

import io

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from comit_ray.inference.model import Frames, Model
from comit_ray.tables import arrays
from comit_ray.tables.schema import GRADCAM


def table(model: Model, frames_BHW: Frames, image_ids: pa.ChunkedArray, sound_B: npt.NDArray[np.bool_]) -> pa.Table:
    """The rows of the images that have scores; a score without head, or a map that is not finite, is null.

    Args:
        model: loaded with `gradcam`.
        frames_BHW: radiographs.
        image_ids: of the images that are sound.
        sound_B: whether each frame's scores are finite numbers; the others have no row.
    """
    pngs: dict[str, list[bytes | None]] = {}
    for start in range(0, len(frames_BHW), model.batch_size):
        batch = slice(start, start + model.batch_size)
        for score, maps_BHW in model.heat_maps(frames_BHW[batch]).items():
            pngs.setdefault(f"{score}_png", []).extend(to_png(map_HW) for map_HW in maps_BHW[sound_B[batch]])
    columns = {name: pa.array(values, pa.binary()) for name, values in pngs.items()}
    return arrays.table({"image_id": image_ids, **columns}, GRADCAM, len(image_ids))


def to_png(map_HW: npt.NDArray[np.float32]) -> bytes | None:
    """A map as 8-bit grey PNG, 255 its highest value, all 0 where it is nowhere positive; None if it is not finite."""
    if not np.isfinite(map_HW).all():
        return None
    highest = float(map_HW.max())
    share_HW = map_HW / np.float64(highest) if highest > 0 else np.zeros(map_HW.shape)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255 * share_HW).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
