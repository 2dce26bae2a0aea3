"""Turns the bytes of one file into a `Radiograph`, or raises `DecodeError` with the reason; pixels come only from here.

The first bytes decide the format; the file's name is never used. Nothing is repaired, and half a file is refused.

`framed` and `shrunken` return what the jobs keep of a radiograph. A decoding process (`decoder_host`) runs these, so
this module imports only libraries that decoding needs.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.dicom_display import display
from comit_ray.data.images.dicom_file import looks_like_dicom
from comit_ray.data.images.dicom_radiograph import stored_dicom
from comit_ray.data.images.frame import FrameMap, frame_map, shrink, to_frame
from comit_ray.data.images.radiograph import Radiograph, StoredImage, check_bytes, decoder_guard
from comit_ray.data.images.raster import JPEG_SIGNATURE, PNG_SIGNATURE, stored_jpeg, stored_png
from comit_ray.data.images.sidecar import read_sidecar
from comit_ray.errors import DecodeError, Reason
from comit_ray.tables.vocabulary import View


@dataclass(frozen=True)
class Frame:
    """A radiograph in the frame of the model.

    Attributes:
        pixels_HW: uint8 (size, size), air dark and bone bright.
        height: rows of the original.
        width: columns of the original.
        view: view in the image's own header; `View.UNKNOWN` if it has none.
        view_source: evidence for `view`.
        frame_map: where the original lies in the frame.
    """

    pixels_HW: npt.NDArray[np.uint8]
    height: int
    width: int
    view: View
    view_source: str
    frame_map: FrameMap


def decode(data: bytes, limits: DecodeLimits, sidecar: bytes | None = None) -> Radiograph:
    """Decodes the radiograph in `data`.

    Args:
        data: a whole DICOM, PNG or JPEG file.
        limits: limits for file size, pixels and decoded bytes, checked before anything is decompressed.
        sidecar: DICOM JSON of the file that a PNG of stored values was made from; see `comit_ray.data.images.sidecar`.
            For a DICOM file, which has its own header, a sidecar is ignored.

    Raises:
        DecodeError: the only error, whatever the bytes are. Its `status` says failed or excluded.
    """
    return decode_with_values(data, limits, sidecar)[0]


def decode_with_values(
    data: bytes, limits: DecodeLimits, sidecar: bytes | None = None
) -> tuple[Radiograph, StoredImage]:
    """Returns the radiograph, and the stored values that it shows. Arguments and errors as in `decode`."""
    with decoder_guard("decode the file"), ExitStack() as held:
        check_bytes(data, limits)
        image = _dispatch(data, limits, sidecar, held)
        radiograph = show(image)
        if radiograph.pixels_HW.min() == radiograph.pixels_HW.max():
            raise DecodeError(Reason.BLANK, "all pixels show one value")
        return radiograph, image


def show(image: StoredImage) -> Radiograph:
    """Returns the radiograph as it is screened, and as a reader sees it first.

    Raises:
        DecodeError: as `comit_ray.data.images.dicom_display.display_table`. For windows and tables of a sidecar the
            reason is BAD_SIDECAR, but BLANK if they show all pixels as one value.
    """
    height, width = image.original or image.values_HW.shape
    if image.photometric is None:
        pixels_HW = image.values_HW.astype(np.uint8, copy=False)
        return Radiograph(pixels_HW, height, width, image.view, image.view_source, image.applied)
    try:
        pixels_HW, steps = display(image.values_HW, image.elements, image.photometric)
    except DecodeError as error:
        if not image.sidecar:
            raise
        detail = f"expected windows and tables that the standard allows in the sidecar: {error.detail}"
        raise DecodeError(error.reason if error.reason is Reason.BLANK else Reason.BAD_SIDECAR, detail) from None
    return Radiograph(pixels_HW, height, width, image.view, image.view_source, (*image.applied, *steps))


def _dispatch(data: bytes, limits: DecodeLimits, sidecar: bytes | None, held: ExitStack) -> StoredImage:
    if data.startswith(PNG_SIGNATURE):
        return stored_png(data, limits, held, None if sidecar is None else read_sidecar(sidecar))
    if data.startswith(JPEG_SIGNATURE):
        return stored_jpeg(data, limits, held, None if sidecar is None else read_sidecar(sidecar))
    if looks_like_dicom(data):
        return stored_dicom(data, limits, held)
    raise DecodeError(Reason.NOT_AN_IMAGE, "expected a DICOM, PNG or JPEG file, got bytes that begin as none of them")


def framed(data: bytes, limits: DecodeLimits, sidecar: bytes | None, frame: FrameConfig) -> Frame:
    """Returns the radiograph in `data`, resampled to `frame`; raises as `decode`."""
    radiograph = decode(data, limits, sidecar)
    return Frame(
        pixels_HW=to_frame(radiograph.pixels_HW, frame),
        height=radiograph.height,
        width=radiograph.width,
        view=radiograph.view,
        view_source=radiograph.view_source,
        frame_map=frame_map(radiograph.height, radiograph.width, frame),
    )


def shrunken(data: bytes, limits: DecodeLimits, sidecar: bytes | None) -> Radiograph:
    """Returns the radiograph in `data` with the pixels of `frame.shrink`; height and width are the original's."""
    radiograph = decode(data, limits, sidecar)
    return replace(radiograph, pixels_HW=shrink(radiograph.pixels_HW))
