"""Prepares an image for the page: first a JPEG, then all stored values with their windows.

One answer carries the values. It holds in this order: the length of a JSON header (4 bytes, little-endian); the header;
a table with the grey level that a screen gives each possible value (256 or 65,536 bytes); a table of modality values
(float64), if the file has one; and the pixels, row by row, in 8 or 16 bits. Signed pixels are sent as their bit
pattern.
"""

import io
import json
import struct
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images import dicom_display
from comit_ray.data.images.dicom_display import (
    display_table,
    function_of,
    modality_values,
    number,
    padding_of,
    texts,
    whole_number,
    window_shown,
    windows_of,
)
from comit_ray.data.images.load import Place, load_with_values, wanted
from comit_ray.data.images.radiograph import Radiograph, StoredImage
from comit_ray.storage.file_reader import FileReader

JPEG_PX = 1536
"""Longest side of the JPEG in pixels: enough for a display of 1280 x 800, and quick to make."""
JPEG_QUALITY = 90
KEPT_BYTES = 384 * 2**20
"""Bytes of decoded images that one server keeps in memory."""


@dataclass(frozen=True)
class Opened:
    """A decoded image.

    Attributes:
        radiograph: the image as it was screened.
        image: its stored values.
    """

    radiograph: Radiograph
    image: StoredImage

    @property
    def size(self) -> int:
        """Size in memory, in bytes."""
        return self.radiograph.pixels_HW.nbytes + self.image.values_HW.nbytes


class Images:
    """Decodes images and keeps the last ones; safe for threads. Threads that want the same image wait for one decoding.

    Args:
        limits: bounds on one image.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._kept: OrderedDict[str, Opened] = OrderedDict()
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}

    def open(self, image_id: str, place: Place) -> Opened:
        """Return the image, decoded by the same code as in a screen.

        Raises:
            DecodeError: the image cannot or must not be shown, with the reason.
        """
        with self._lock:
            mine = self._busy.setdefault(image_id, threading.Lock())
        with mine:
            with self._lock:
                if image_id in self._kept:
                    self._kept.move_to_end(image_id)
                    return self._kept[image_id]
            with FileReader(self._limits.max_bytes, wanted([place])) as reader:
                found = Opened(*load_with_values(place, reader, self._limits))
            with self._lock:
                self._kept[image_id] = found
                while len(self._kept) > 1 and sum(one.size for one in self._kept.values()) > KEPT_BYTES:
                    self._kept.popitem(last=False)
                self._busy.pop(image_id, None)
            return found


def to_jpeg(radiograph: Radiograph) -> bytes:
    """Encode the radiograph as a JPEG with a longest side of at most `JPEG_PX`."""
    image = Image.fromarray(radiograph.pixels_HW)
    longest = max(image.size)
    if longest > JPEG_PX:
        width, height = (max(1, round(side * JPEG_PX / longest)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def to_values(opened: Opened) -> bytes:
    """Encode the stored values; the docstring of this module describes the format."""
    image = opened.image
    values_HW = np.ascontiguousarray(image.values_HW, image.values_HW.dtype.newbyteorder("<"))
    header, table, modality = describe(image)
    text_bytes = json.dumps(header).encode()
    text_bytes += b" " * (-(4 + len(text_bytes)) % 8)  # aligns the tables for typed arrays of the browser
    parts = [struct.pack("<I", len(text_bytes)), text_bytes, table.tobytes()]
    parts += [modality.astype("<f8").tobytes()] if modality is not None else []
    return b"".join([*parts, values_HW.tobytes()])


def describe(
    image: StoredImage,
) -> tuple[dict[str, Any], npt.NDArray[np.uint8], npt.NDArray[np.float64] | None]:
    """Return what the page needs beside the pixels.

    Returns:
        The header, the grey level that a screen gives each possible value, and the modality value of each. The last is
            None if a slope and an intercept in the header say the same.
    """
    height, width = image.values_HW.shape
    possible = dicom_display.possible_values(image.values_HW)
    header: dict[str, Any] = {"height": height, "width": width, "bits": 8 * image.values_HW.dtype.itemsize}
    header |= {"signed": image.values_HW.dtype.kind == "i", "inverted": image.photometric == "MONOCHROME1"}
    header |= {"slope": 1.0, "intercept": 0.0, "modality_table": False, "padding": None}
    stated = None if image.photometric is None else whole_number(image.elements, "BitsStored")
    header["bits_stored"] = header["bits"] if stated is None else stated
    header["orientation"] = texts(image.elements, "PatientOrientation") or None
    counts = dicom_display.count_values(image.values_HW)
    if image.photometric is None:
        header |= {"windows": [], "presets": [_window("full", 0.0, 255.0)], "as_screened": None}
        return header, np.arange(256, dtype=np.uint8), None
    padding = padding_of(image.elements, possible)
    counts[padding] = 0
    if padding.any():
        header["padding"] = [int(possible[padding].min()), int(possible[padding].max())]
    values, modality = modality_values(possible, image.elements)
    if modality == "rescale":
        header["slope"] = number(image.elements, "RescaleSlope")
        header["intercept"] = number(image.elements, "RescaleIntercept")
    header["modality_table"] = modality == "modality_lut"
    function = function_of(image.elements)
    presets = _presets(values, counts, header["inverted"])
    header["windows"] = [_window("file", center, width, function) for center, width in windows_of(image.elements)]
    header["presets"] = presets
    chosen = None if image.elements.get("VOILUTSequence") else window_shown(values, counts, image.elements)
    center, width = chosen or (presets[0]["center"], presets[0]["width"])
    header["as_screened"] = {"center": center, "width": width}
    table, _ = display_table(image.values_HW, image.elements, image.photometric)
    return header, table, values if header["modality_table"] else None


def _presets(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], inverted: bool) -> list[dict[str, Any]]:
    """Windows from the image's own values: nearly all, the darker half, the brighter half, and the whole range."""
    present = np.flatnonzero(counts)
    order = present[np.argsort(values[present], kind="stable")]
    reached = np.cumsum(counts[order])
    low, middle, high = values[order[np.searchsorted(reached, np.array([0.005, 0.5, 0.995]) * reached[-1])]]
    ends = {"wide": (low, high), "dark": (low, middle), "bright": (middle, high)}
    if inverted:
        ends["dark"], ends["bright"] = ends["bright"], ends["dark"]
    ends["full"] = (values[order[0]], values[order[-1]])
    return [_window(name, (a + b) / 2, max(1.0, b - a), "LINEAR_EXACT") for name, (a, b) in ends.items()]


def _window(name: str, center: float, width: float, function: str = "LINEAR_EXACT") -> dict[str, Any]:
    return {"name": name, "center": float(center), "width": float(width), "function": function}
