"""What decoding may take, of one picture and of all threads together."""

import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest

from comit_ray.data.images import radiograph
from comit_ray.data.images.radiograph import decoding_room
from comit_ray.errors import DecodeError, Reason

MIB = 2**20


def test_a_picture_without_room_is_too_large() -> None:
    with pytest.raises(DecodeError) as caught, decoding_room(2**30, 2.0, 0, 1):
        raise AssertionError("there is no room")
    assert caught.value.reason is Reason.TOO_LARGE


def test_threads_wait_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(radiograph, "ROOM", 100)
    inside, most, lock = 0, 0, threading.Lock()

    def decode() -> None:
        nonlocal inside, most
        with decoding_room(40, 1.0, 0, 0):
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.01)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=decode) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to ask for a program's own peak memory")
@pytest.mark.parametrize(("colour", "channels"), [(4, 2), (6, 4)])
def test_a_small_file_of_many_transparent_pixels_stays_in_its_room(tmp_path: Path, colour: int, channels: int) -> None:
    side = 4096
    row, packer = b"\0" + b"\x40\x80" * (side * channels // 2), zlib.compressobj(9)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, colour, 0, 0, 0)), (b"IDAT", body), (b"IEND", b""))
    data = b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    program = """
import sys
from pathlib import Path
from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import decode
from comit_ray.errors import DecodeError

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

before = peak()
try:
    decode(Path(sys.argv[1]).read_bytes(), DecodeLimits())
except DecodeError:
    pass
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x.png")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) * 1024 < 9 * side * side
