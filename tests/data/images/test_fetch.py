import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.frame import frame_map, to_frame
from comit_ray.data.images.load import Place, decode, load_frame
from comit_ray.errors import DecodeError, Reason, StorageError
from comit_ray.storage.file_reader import FileReader, FileRef

FRAME, LIMITS = FrameConfig(size=96, fit="letterbox"), DecodeLimits()


def test_a_real_radiograph_goes_through_decode_and_the_one_resampling_chain(cxr):
    file = sorted((cxr / "covid_chestxray" / "images").iterdir())[0]
    with FileReader(LIMITS.max_bytes) as reader:
        loaded = load_frame(Place(FileRef(str(file))), reader, FRAME, LIMITS)
    radiograph = decode(file.read_bytes(), LIMITS)
    assert np.array_equal(loaded.pixels_HW, to_frame(radiograph.pixels_HW, FRAME))
    assert (loaded.height, loaded.width) == radiograph.pixels_HW.shape
    assert loaded.frame_map == frame_map(loaded.height, loaded.width, FRAME)


def reason(uri, limits=LIMITS, checksum=None) -> Reason:
    with FileReader(limits.max_bytes) as reader, pytest.raises(DecodeError) as caught:
        load_frame(Place(FileRef(str(uri)), checksum=checksum), reader, FRAME, limits)
    return caught.value.reason


def test_storage_errors_have_reasons(tmp_path, monkeypatch):
    assert reason(tmp_path / "absent.png") is Reason.STORAGE_ABSENT
    (tmp_path / "sibling.png").write_bytes(b"")
    assert reason(tmp_path / "absent.png") is Reason.MISSING

    def refuse(uri, at_most=None):
        raise StorageError("denied")

    monkeypatch.setattr("comit_ray.storage.storage.read_bytes", refuse)
    assert reason(tmp_path / "denied.png") is Reason.UNREADABLE


def test_no_more_than_the_bound_is_read(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)).save(buffer, "PNG")
    (tmp_path / "large.png").write_bytes(buffer.getvalue())
    assert reason(tmp_path / "large.png", DecodeLimits(max_bytes=1000)) is Reason.TOO_LARGE


def test_a_file_that_is_not_the_one_its_checksum_says_is_not_scored(cxr):
    file = sorted((cxr / "covid_chestxray" / "images").iterdir())[0]
    digest = hashlib.sha1(file.read_bytes()).hexdigest()
    with FileReader(LIMITS.max_bytes) as reader:
        load_frame(Place(FileRef(str(file)), checksum=f"sha1:{digest.upper()}"), reader, FRAME, LIMITS)
    assert reason(file, checksum=f"sha1:{'0' * 40}") is Reason.CHECKSUM_MISMATCH
    assert reason(file, checksum=f"crc7:{digest}") is Reason.CHECKSUM_MISMATCH
