"""Decodes the bytes of one file into a `Radiograph`, or raises a `DecodeError` with the reason.

The first bytes tell the format; a file's name is never asked. Nothing is repaired, and half a file is no radiograph.

One radiograph from where it lies to the model's frame: fetch, check, decode, resample. Every job shares it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.dicom_display import display
from comit_ray.data.images.dicom_file import looks_like_dicom
from comit_ray.data.images.dicom_radiograph import stored_dicom
from comit_ray.data.images.frame import FrameMap, frame_map, to_frame
from comit_ray.data.images.radiograph import Radiograph, StoredImage, check_bytes, decoder_guard
from comit_ray.data.images.raster import JPEG_SIGNATURE, PNG_SIGNATURE, stored_jpeg, stored_png
from comit_ray.data.images.sidecar import read_sidecar
from comit_ray.errors import DecodeError, Reason
from comit_ray.storage.archive import is_streamed
from comit_ray.storage.file_reader import FileReader, FileRef
from comit_ray.tables.vocabulary import View

__all__ = ["Radiograph", "StoredImage", "decode", "decode_with_values"]


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
    """The radiograph, and the stored values that it shows. Arguments and errors as in `decode`."""
    with decoder_guard("decode the file"), ExitStack() as held:
        check_bytes(data, limits)
        image = _dispatch(data, limits, sidecar, held)
        radiograph = show(image)
        if radiograph.pixels_HW.min() == radiograph.pixels_HW.max():
            raise DecodeError(Reason.BLANK, "all pixels show one value")
        return radiograph, image


def show(image: StoredImage) -> Radiograph:
    """The radiograph as it is screened, and as a reader sees it first.

    Raises:
        DecodeError: as `comit_ray.data.images.dicom_display.display_table`. For windows and tables of a sidecar the
            reason is BAD_SIDECAR, but BLANK if they show all pixels as one value.
    """
    height, width = image.values_HW.shape
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


PLACE_COLUMNS = ("uri", "member", "member_offset", "sidecar", "checksum")
"""Columns of the manifest that say where a radiograph is."""

_KNOWN = {
    Reason.UNREADABLE: "a link in an archive, or a name that is no text or leads out of the root",
    Reason.ENCRYPTED: "a member of a zip that needs a password: unpack it",
    Reason.CORRUPT: "an archive that cannot be listed to its end, or a name that it has twice",
    Reason.TRUNCATED: "an archive that ends too early: members behind its end are lost",
    Reason.FOR_PROCESSING: "PresentationIntentType or the SOP class says that the values are raw",
    Reason.NOT_FRONTAL: "the header says oblique, decubitus or cross-table",
}
"""What the manifest's reason means, where the source has looked at the file itself."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a radiograph's bytes, and what belongs to them.

    Attributes:
        file: reference to the image.
        sidecar: reference to the DICOM JSON with its tags, or None.
        checksum: `algorithm:hex` digest of the file at `file.uri`, or None.
    """

    file: FileRef
    sidecar: FileRef | None = None
    checksum: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The place in a row of the manifest (columns `PLACE_COLUMNS`)."""
        sidecar = row.get("sidecar")
        return cls(
            FileRef(row["uri"], row["member"], row.get("member_offset")),
            None if sidecar is None else FileRef.from_text(sidecar),
            row.get("checksum"),
        )

    @property
    def streamed(self) -> bool:
        """Whether it is a member of an archive that can only be read from its beginning."""
        return self.file.member is not None and is_streamed(self.file.uri)


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


def wanted(places: Iterable[Place]) -> Iterator[FileRef]:
    """All files that reading `places` needs, for `FileReader`."""
    for place in places:
        yield place.file
        if place.sidecar is not None:
            yield place.sidecar


def load_radiograph(place: Place, reader: FileReader, limits: DecodeLimits) -> Radiograph:
    """Fetches and decodes the radiograph at `place` for display.

    Raises:
        DecodeError: why it cannot, or must not, be scored: reasons of the reader and the decoder, or
            `checksum_mismatch`.
    """
    return load_with_values(place, reader, limits)[0]


def load_with_values(place: Place, reader: FileReader, limits: DecodeLimits) -> tuple[Radiograph, StoredImage]:
    """The radiograph at `place`, and the stored values that it shows. Errors as in `load_radiograph`."""
    data = reader.read(place.file)
    if place.checksum is not None and place.file.member is None:
        check(data, place.checksum)
    sidecar = None if place.sidecar is None else reader.read(place.sidecar)
    return decode_with_values(data, limits, sidecar)


def load_frame(place: Place, reader: FileReader, frame: FrameConfig, limits: DecodeLimits) -> Frame:
    """The radiograph at `place`, resampled to `frame`. Errors as in `load_radiograph`."""
    radiograph = load_radiograph(place, reader, limits)
    return Frame(
        pixels_HW=to_frame(radiograph.pixels_HW, frame),
        height=radiograph.height,
        width=radiograph.width,
        view=radiograph.view,
        view_source=radiograph.view_source,
        frame_map=frame_map(radiograph.height, radiograph.width, frame),
    )


def known_exclusion(row: Mapping[str, Any]) -> DecodeError | None:
    """Why the manifest says that a row must not be read (columns `excluded`, `view`), or None."""
    known = row["excluded"] or (Reason.LATERAL if row["view"] == View.LATERAL else None)
    if known is None:
        return None
    reason = Reason(known)
    source = row.get("view_source") or "none"
    more = f" ({_KNOWN[reason]})" if reason in _KNOWN else ""
    if reason is Reason.LATERAL and source != "none":
        more = f", {source} says so"
    return DecodeError(reason, f"known from the manifest: {reason}{more}")


def check(data: bytes, checksum: str) -> None:
    """Compares a whole file with its `algorithm:hex` digest.

    Raises:
        DecodeError: `checksum_mismatch`, also for an unknown algorithm.
    """
    algorithm, _, expected = checksum.partition(":")
    try:
        found = hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
    except ValueError:
        raise DecodeError(Reason.CHECKSUM_MISMATCH, f"the checksum is of an unknown kind, {algorithm[:20]}") from None
    if found != expected.lower():
        raise DecodeError(Reason.CHECKSUM_MISMATCH, f"the file's {algorithm} is not the one that its dataset states")
