"""Bytes of one file -> `Radiograph`, or a `DecodeError` that says why not: the only door to pixels.

The first bytes tell the format; a file's name is never asked. Nothing is repaired, and half a file is no radiograph.
"""

from comit_ray.config.data_config import DecodeLimits
from comit_ray.data.edge import library_edge
from comit_ray.data.images.dicom_file import looks_like_dicom
from comit_ray.data.images.dicom_radiograph import decode_dicom
from comit_ray.data.images.radiograph import Radiograph
from comit_ray.data.images.raster import JPEG_SIGNATURE, PNG_SIGNATURE, decode_jpeg, decode_png
from comit_ray.data.images.sidecar import read_sidecar
from comit_ray.data.limits import check_bytes
from comit_ray.errors import DecodeError, Reason

__all__ = ["Radiograph", "decode"]


def decode(data: bytes, limits: DecodeLimits, sidecar: bytes | None = None) -> Radiograph:
    """The radiograph in `data`.

    Args:
        data: a whole DICOM, PNG or JPEG file.
        limits: bounds on bytes in, pixels, and bytes out, checked before anything is decompressed.
        sidecar: the DICOM JSON of the file that a PNG of stored values was made of; see `comit_ray.data.images.sidecar`. A
            DICOM file has its own header, and any sidecar of it is ignored.

    Raises:
        DecodeError: whatever the bytes are, nothing else is raised. Its `status` says failed or excluded.
    """
    with library_edge():
        check_bytes(data, limits)
        radiograph = _dispatch(data, limits, sidecar)
        if radiograph.pixels_HW.min() == radiograph.pixels_HW.max():
            raise DecodeError(Reason.BLANK, "all pixels show one value")
        return radiograph


def _dispatch(data: bytes, limits: DecodeLimits, sidecar: bytes | None) -> Radiograph:
    if data.startswith(PNG_SIGNATURE):
        return decode_png(data, limits, None if sidecar is None else read_sidecar(sidecar))
    if data.startswith(JPEG_SIGNATURE):
        return decode_jpeg(data, limits, None if sidecar is None else read_sidecar(sidecar))
    if looks_like_dicom(data):
        return decode_dicom(data, limits)
    raise DecodeError(Reason.NOT_AN_IMAGE, "expected a DICOM, PNG or JPEG file, got bytes that begin as none of them")
