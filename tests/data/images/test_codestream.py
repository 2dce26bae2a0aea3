from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comit_ray.data.images.codestream import MAX_SCANS, Codestream, inspect
from comit_ray.errors import DecodeError, Reason


def encoded(file_format: str, **options: Any) -> bytes:
    picture = np.random.default_rng(0).integers(0, 256, (40, 60)).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, file_format, **options)
    return buffer.getvalue()


STREAMS = {
    "jpeg": encoded("JPEG"),
    "progressive": encoded("JPEG", progressive=True),
    "restarts": encoded("JPEG", restart_marker_rows=1),
    "jp2": encoded("JPEG2000"),
    "j2k": encoded("JPEG2000", no_jp2=True),
    "tiles": encoded("JPEG2000", no_jp2=True, tile_size=(16, 16)),
}


@pytest.mark.parametrize("name", STREAMS)
def test_frame_header(name: str) -> None:
    coding = "JPEG 2000" if name in ("jp2", "j2k", "tiles") else "JPEG"
    assert inspect(STREAMS[name] + b"\0\0") == Codestream(40, 60, components=1, precision=8, coding=coding)


@pytest.mark.parametrize("name", STREAMS)
def test_no_beginning_of_a_stream_passes_for_whole(name: str) -> None:
    stream = STREAMS[name]
    for end in range(len(stream) - 1):
        with pytest.raises(DecodeError) as caught:
            inspect(stream[:end])
        assert caught.value.reason in (Reason.TRUNCATED, Reason.CORRUPT)
        if end > 120:
            assert caught.value.reason is Reason.TRUNCATED


def test_a_tail_of_zeros_is_no_picture() -> None:
    stream = STREAMS["jpeg"]
    with pytest.raises(DecodeError) as caught:
        inspect(stream[: len(stream) // 2] + b"\0" * (len(stream) // 2))
    assert caught.value.reason is Reason.TRUNCATED


def test_many_scans() -> None:
    stream = STREAMS["jpeg"]
    scan = stream[stream.rindex(b"\xff\xda") : -2]
    with pytest.raises(DecodeError, match="scans"):
        inspect(stream[:-2] + scan * MAX_SCANS + b"\xff\xd9")


@pytest.mark.parametrize(
    "bytes_", [b"", b"\0" * 100, b"\xff\xd8\xff\xd9", b"\xff\xd8junk", b"\x00\x00\x00\x0cjP  \r\n\x87\n"]
)
def test_no_stream(bytes_: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        inspect(bytes_)
    assert caught.value.reason is Reason.CORRUPT


@pytest.mark.parametrize("filler", [b"\xff\xd0" * 200_000, b"\xff\xfe\x00\x02" * 200_000])
def test_segments_without_end_are_refused(filler: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        inspect(b"\xff\xd8" + filler + STREAMS["jpeg"][2:])
    assert caught.value.reason is Reason.TOO_LARGE


def test_fill_bytes_are_no_segments() -> None:
    assert inspect(b"\xff\xd8" + b"\xff" * 1_000_000 + STREAMS["jpeg"][2:]).height == 40
