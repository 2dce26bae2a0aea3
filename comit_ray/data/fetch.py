"""One radiograph from where it lies to the model's frame: fetch, decode, resample. Training and screening share it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comit_ray import storage
from comit_ray.config import DecodeLimits, FrameConfig
from comit_ray.data.decode import decode
from comit_ray.data.resize import FrameMap, frame_map, to_frame
from comit_ray.errors import DecodeError, NotFoundError, Reason, StorageError
from comit_ray.schema import View


@dataclass(frozen=True)
class Frame:
    """A radiograph as the model sees it.

    Attributes:
        pixels_HW: uint8 (size, size), air dark and bone bright.
        height: rows of the original.
        width: columns of the original.
        view: of the image's own header; `View.UNKNOWN` where it has none.
        view_source: the evidence for `view`.
        frame_map: where the original lies in the frame.
    """

    pixels_HW: npt.NDArray[np.uint8]
    height: int
    width: int
    view: View
    view_source: str
    frame_map: FrameMap


def load_frame(uri: str, member: str | None, frame: FrameConfig, limits: DecodeLimits) -> Frame:
    """The radiograph at `uri`, resampled to `frame`.

    Raises:
        DecodeError: with the reason it cannot, or must not, be scored: `missing` and `unreadable` for the storage's
            errors, the decoder's reasons otherwise.
    """
    if member is not None:
        raise DecodeError(Reason.UNREADABLE, f"members of archives are not read yet, got member {member!r}")
    try:
        data = storage.read_bytes(uri, at_most=limits.max_bytes + 1)
    except NotFoundError:
        raise DecodeError(Reason.MISSING, "no file where the manifest says") from None
    except StorageError as error:
        cause = type(error.__cause__).__name__
        raise DecodeError(Reason.UNREADABLE, f"the storage refused the file: {cause}") from error
    radiograph = decode(data, limits)
    return Frame(
        pixels_HW=to_frame(radiograph.pixels_HW, frame),
        height=radiograph.height,
        width=radiograph.width,
        view=radiograph.view,
        view_source=radiograph.view_source,
        frame_map=frame_map(radiograph.height, radiograph.width, frame),
    )
