"""Draws masks and heat maps as transparent pictures in the geometry of the radiograph.

Lungs are drawn as an outline and disease is hatched, so that a reader can tell them apart without colour. A heat map is
more opaque where its value is higher.
"""

import io
import threading
from collections import OrderedDict
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from scipy import ndimage

from comit_ray.data.images.frame import FrameMap
from comit_ray.data.masks.masks import from_png, to_original
from comit_ray.data.masks.outline_words import OutlineGrid
from comit_ray.errors import NotFoundError
from comit_ray.screening.mask_tables import ZONES
from comit_ray.screening.screen_tables import GRADCAM, MASKS
from comit_ray.storage import storage
from comit_ray.tables import parquet

Kind = Literal["lung", "disease", "heat"]
KINDS: tuple[Kind, ...] = ("lung", "disease", "heat")
OVERLAY_PX = 1024
"""Longest side of an overlay in pixels. This is finer than the frame of any model."""
LUNG, DISEASE, HEAT = (86, 180, 233), (230, 159, 0), (213, 94, 0)
"""Colours (RGB) of Okabe and Ito, which colour-blind readers can tell apart."""
_HATCH, _OUTLINE = 8, 2
_KEPT_PARTS = 8


class Overlays:
    """The overlays of one screen's images; safe for threads.

    Args:
        results: URI of the screen's output.
    """

    def __init__(self, results: str) -> None:
        self._results = results
        self._kept: OrderedDict[tuple[str, str], pa.Table | None] = OrderedDict()
        self._lock = threading.Lock()

    def kinds(self, image_id: str, part: str | None) -> list[Kind]:
        """Return the kinds of overlay that exist for an image."""
        return [kind for kind in KINDS if self._png(image_id, part, kind) is not None]

    def picture(self, image_id: str, part: str | None, kind: Kind, height: int, width: int) -> bytes | None:
        """Draw one overlay over a whole radiograph.

        Args:
            image_id: id of the image.
            part: file name of the chunk that holds its rows.
            kind: `lung`, `disease` or `heat`.
            height: rows of the radiograph.
            width: columns of the radiograph.

        Returns:
            An RGBA PNG with the radiograph's aspect ratio, at most `OVERLAY_PX` long; None if there is no such overlay.

        Raises:
            StorageError: the table cannot be read.
        """
        png, row = self._png(image_id, part, kind), self._row(MASKS, image_id, part)
        if png is None or row is None:
            return None
        scale = min(1.0, OVERLAY_PX / max(height, width))
        shape = max(1, round(height * scale)), max(1, round(width * scale))
        place = _place(row, shape[0] / height, shape[1] / width)
        if kind == "heat":
            with Image.open(io.BytesIO(png)) as image:
                heat_HW = np.asarray(image.convert("L"))
            return _rgba(HEAT, to_original(heat_HW, place, *shape))  # type: ignore[arg-type]
        mask_HW = to_original(from_png(png), place, *shape)
        return _rgba(LUNG, _outline(mask_HW)) if kind == "lung" else _rgba(DISEASE, _hatched(mask_HW))

    def outline(self, image_id: str, part: str | None) -> dict[str, int] | None:
        """Return how coarse the outlines of an image are; None if it has none.

        Returns:
            `height` and `width` of the image on which the model drew them, and `step`: pixels of the radiograph that
                one of its pixels covers, at least 1.
        """
        row = self._row(MASKS, image_id, part)
        if row is None or not (row["lung_png"] or row["disease_png"]):
            return None
        grid = OutlineGrid.of_row(row)
        return {"height": grid.height, "width": grid.width, "step": max(1, round(grid.step))}

    def zones(self, image_id: str, part: str | None, height: int, width: int) -> dict[str, Any] | None:
        """Locate the six lung zones, as `comit_ray.screening.mask_tables.zone_disease` divides them.

        The height of both lungs together is cut in thirds, and the columns that they span are cut in the middle.

        Args:
            image_id: id of the image.
            part: file name of the chunk that holds its rows.
            height: rows of the radiograph.
            width: columns of the radiograph.

        Returns:
            `names`, and the cuts in `rows` (4) and `columns` (3) as fractions of height and width; None if no lung was
                found.
        """
        png, row = self._png(image_id, part, "lung"), self._row(MASKS, image_id, part)
        if png is None or row is None:
            return None
        mask_HW = from_png(png)
        if not mask_HW.any():
            return None
        rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
        place = _place(row, 1, 1)
        cuts = np.linspace(rows[0], rows[-1] + 1, 4)
        across = np.array([columns[0], (columns[0] + columns[-1] + 1) / 2, columns[-1] + 1])
        down = ((cuts - place.top) / place.rows_per_pixel / height).clip(0, 1)
        side = ((across - place.left) / place.columns_per_pixel / width).clip(0, 1)
        return {"names": list(ZONES), "rows": down.tolist(), "columns": side.tolist()}

    def _png(self, image_id: str, part: str | None, kind: Kind) -> bytes | None:
        if kind == "heat":
            row = self._row(GRADCAM, image_id, part)
            found = None if row is None else row.get("covid_png") or row.get("unhealthy_png")
        else:
            row = self._row(MASKS, image_id, part)
            found = None if row is None else row.get(f"{kind}_png")
        return found if isinstance(found, bytes) else None

    def _row(self, table: str, image_id: str, part: str | None) -> dict[str, Any] | None:
        if part is None:
            return None
        whole = self._part(table, part)
        if whole is None:
            return None
        rows = whole.filter(pc.equal(whole["image_id"], image_id)).to_pylist()
        return rows[0] if rows else None

    def _part(self, table: str, part: str) -> pa.Table | None:
        key = (table, part)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        try:
            found = parquet.read_part(storage.join(self._results, table, part))
        except NotFoundError:
            found = None
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _KEPT_PARTS:
                self._kept.popitem(last=False)
        return found


def _place(row: dict[str, Any], rows: float, columns: float) -> FrameMap:
    """Return the frame map of an original that is shrunk by the factors `rows` and `columns`."""
    down, across = row["rows_per_pixel"] / rows, row["columns_per_pixel"] / columns
    return FrameMap(row["fit"], row["original_top"], row["original_left"], down, across)


def _outline(mask_HW: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    inner = ndimage.binary_erosion(mask_HW, iterations=_OUTLINE)
    return np.where(mask_HW & ~inner, 255, 0).astype(np.uint8)


def _hatched(mask_HW: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    rows, columns = np.indices(mask_HW.shape)
    stripe = (rows + columns) % _HATCH < _HATCH // 3
    alpha = np.where(mask_HW, np.where(stripe, 220, 60), 0).astype(np.uint8)
    return np.maximum(alpha, _outline(mask_HW))


def _rgba(colour: tuple[int, int, int], alpha_HW: npt.NDArray[np.uint8]) -> bytes:
    picture = np.empty((*alpha_HW.shape, 4), np.uint8)
    picture[..., :3], picture[..., 3] = colour, alpha_HW
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
