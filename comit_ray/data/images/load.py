"""Loads one radiograph for a job: fetches, checks, decodes and resamples it. Every job uses this module.

A file is decoded in a separate process (`decoder_processes`), so a file that kills or stalls its decoder costs one row.
Such a file is fetched and tried once more, because bytes may have changed on the way.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images import decoder_processes
from comit_ray.data.images.decode import Frame, decode, decode_with_values, framed, shrunken
from comit_ray.data.images.radiograph import Radiograph, StoredImage
from comit_ray.errors import OF_THE_DECODER, DecodeError, Reason
from comit_ray.storage.archive import is_streamed
from comit_ray.storage.file_reader import FileReader, FileRef
from comit_ray.tables.vocabulary import View

__all__ = ["Frame", "Radiograph", "StoredImage", "decode", "decode_with_values"]

More = ParamSpec("More")
Made = TypeVar("Made")

PLACE_COLUMNS = ("uri", "member", "member_offset", "sidecar", "checksum")
"""Columns of the manifest that give the place of a radiograph."""

KNOWN = "known from the manifest: "
"""Start of the sentence for a row that the manifest itself excludes."""
_KNOWN = {
    Reason.UNREADABLE: "a link in an archive, or a name that is no text or leads out of the root",
    Reason.ENCRYPTED: "a member of a zip that needs a password: unpack it",
    Reason.CORRUPT: "an archive that cannot be listed to its end, or a name that it has twice",
    Reason.TRUNCATED: "an archive that ends too early: members behind its end are lost",
    Reason.FOR_PROCESSING: "PresentationIntentType or the SOP class says that the values are raw",
    Reason.NOT_FRONTAL: "the header says oblique, decubitus or cross-table",
}
"""Meaning of the manifest's reasons, for those that come from looking at the file itself."""


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
        """Returns the place in a row of the manifest (columns `PLACE_COLUMNS`)."""
        sidecar = row.get("sidecar")
        return cls(
            FileRef(row["uri"], row["member"], row.get("member_offset")),
            None if sidecar is None else FileRef.from_text(sidecar),
            row.get("checksum"),
        )

    @property
    def streamed(self) -> bool:
        """Whether the file is a member of an archive that can only be read from its beginning."""
        return self.file.member is not None and is_streamed(self.file.uri)


def wanted(places: Iterable[Place]) -> Iterator[FileRef]:
    """Yields all files that reading `places` needs, for `FileReader`."""
    for place in places:
        yield place.file
        if place.sidecar is not None:
            yield place.sidecar


def load_radiograph(place: Place, reader: FileReader, limits: DecodeLimits) -> Radiograph:
    """Returns the radiograph at `place`, in the display sense.

    Raises:
        DecodeError: the reason why it cannot, or must not, be scored: the reader's or the decoder's reason, or
            `checksum_mismatch`.
    """
    return _apart(place, reader, limits, decode)


def load_shrunken(place: Place, reader: FileReader, limits: DecodeLimits) -> Radiograph:
    """Returns the radiograph at `place` with the pixels of `frame.shrink`; raises as `load_radiograph`."""
    return _apart(place, reader, limits, shrunken)


def load_frame(place: Place, reader: FileReader, frame: FrameConfig, limits: DecodeLimits) -> Frame:
    """Returns the radiograph at `place`, resampled to `frame`; raises as `load_radiograph`."""
    return _apart(place, reader, limits, framed, frame)


def load_with_values(place: Place, reader: FileReader, limits: DecodeLimits) -> tuple[Radiograph, StoredImage]:
    """Returns the radiograph at `place`, and the stored values that it shows, decoded in this process.

    It serves a reader who looks at one image; an earlier screen decoded it separately. Raises as `load_radiograph`.
    """
    data, sidecar = _fetch(place, reader)
    return decode_with_values(data, limits, sidecar)


def _fetch(place: Place, reader: FileReader) -> tuple[bytes, bytes | None]:
    """Returns the bytes of the file and of its sidecar."""
    data = reader.read(place.file)
    if place.checksum is not None and place.file.member is None:
        check(data, place.checksum)
    return data, None if place.sidecar is None else reader.read(place.sidecar)


def decode_apart(data: bytes, limits: DecodeLimits, sidecar: bytes | None = None) -> Radiograph:
    """Returns the radiograph in the bytes of a file; raises as `load_radiograph`."""
    return _twice(lambda: (data, sidecar), limits, decode)


def _apart(
    place: Place,
    reader: FileReader,
    limits: DecodeLimits,
    work: Callable[Concatenate[bytes, DecodeLimits, bytes | None, More], Made],
    *more: More.args,
    **named: More.kwargs,
) -> Made:
    """Runs `work` on the file at `place`, and returns the result."""
    held: list[tuple[bytes, bytes | None]] = []

    def fetch() -> tuple[bytes, bytes | None]:
        if not held or not place.streamed:  # a tar.gz yields the bytes once, and has its own checksums
            held[:] = [_fetch(place, reader)]
        return held[0]

    return _twice(fetch, limits, work, *more, **named)


def _twice(
    fetch: Callable[[], tuple[bytes, bytes | None]],
    limits: DecodeLimits,
    work: Callable[Concatenate[bytes, DecodeLimits, bytes | None, More], Made],
    *more: More.args,
    **named: More.kwargs,
) -> Made:
    """Runs `work` on a file in a separate process; a file that ends the process twice has failed."""
    data, sidecar = fetch()
    if not limits.processes:
        return work(data, limits, sidecar, *more, **named)
    try:
        return decoder_processes.run(work, data, limits, sidecar, *more, **named)
    except DecodeError as error:
        if error.reason not in OF_THE_DECODER:
            raise
    data, sidecar = fetch()
    try:
        return decoder_processes.run(work, data, limits, sidecar, *more, **named)
    except DecodeError as error:
        if error.reason not in OF_THE_DECODER:
            raise
        raise DecodeError(error.reason, f"{error.detail}, twice") from None


def known_exclusion(row: Mapping[str, Any]) -> DecodeError | None:
    """Returns why the manifest says that a row must not be read (columns `excluded`, `view`), or None."""
    known = row["excluded"] or (Reason.LATERAL if row["view"] == View.LATERAL else None)
    if known is None:
        return None
    reason = Reason(known)
    source = row.get("view_source") or "none"
    more = f" ({_KNOWN[reason]})" if reason in _KNOWN else ""
    if reason is Reason.LATERAL and source != "none":
        more = f", {source} says so"
    return DecodeError(reason, f"{KNOWN}{reason}{more}")


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
