"""The bounds on one image, checked before anything is decompressed or allocated."""

from comit_ray.config.data_config import DecodeLimits
from comit_ray.errors import DecodeError, Reason


def check_bytes(data: bytes, limits: DecodeLimits) -> None:
    """Refuses an empty file and one of too many bytes.

    Raises:
        DecodeError: EMPTY or TOO_LARGE.
    """
    if not data:
        raise DecodeError(Reason.EMPTY, "the file has no bytes")
    if len(data) > limits.max_bytes:
        raise DecodeError(Reason.TOO_LARGE, f"expected at most {limits.max_bytes} bytes, got {len(data)}")


def check_size(height: int, width: int, bytes_per_pixel: int, limits: DecodeLimits) -> None:
    """Refuses what is too small for a radiograph or too large to decode; nothing is allocated before this.

    Raises:
        DecodeError: BAD_GEOMETRY, TOO_LARGE or TOO_SMALL.
    """
    if height < 1 or width < 1:
        raise DecodeError(Reason.BAD_GEOMETRY, f"expected rows and columns, got {height} x {width}")
    if height * width > limits.max_pixels:
        raise DecodeError(Reason.TOO_LARGE, f"expected at most {limits.max_pixels} pixels, got {height} x {width}")
    decoded = height * width * bytes_per_pixel
    if decoded > limits.max_decoded_bytes:
        raise DecodeError(Reason.TOO_LARGE, f"expected at most {limits.max_decoded_bytes} bytes decoded, got {decoded}")
    if min(height, width) < limits.min_side:
        raise DecodeError(
            Reason.TOO_SMALL, f"expected at least {limits.min_side} pixels a side, got {height} x {width}"
        )
