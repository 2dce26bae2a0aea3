"""Whatever the bytes are: a radiograph or a DecodeError, within bounded memory."""

import subprocess
import sys
import threading
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import decode
from comit_ray.data.images.radiograph import Radiograph
from comit_ray.errors import DecodeError, Reason
from tests.conftest import REPOSITORY
from tests.data.bombs import BOMBS
from tests.data.dicom_files import dicom, ramp

LIMITS = DecodeLimits()
BUNDLED = Path(pydicom.__file__).parent / "data"
MIB = 2**20


def outcome(data: bytes) -> str:
    """`ok` or the reason; anything else raised fails the test."""
    try:
        found = decode(data, LIMITS)
    except DecodeError as error:
        return error.reason.value if error.detail else "no detail"
    assert isinstance(found, Radiograph)
    assert found.pixels_HW.dtype == np.uint8
    assert found.pixels_HW.shape == (found.height, found.width)
    return "ok"


def test_everything_bundled_with_pydicom() -> None:
    files = [path for folder in ("test_files", "charset_files") for path in (BUNDLED / folder).rglob("*")]
    outcomes = Counter(outcome(path.read_bytes()) for path in files if path.is_file())
    assert outcomes["wrong_modality"] > 100
    assert outcomes["not_a_chest"] == 3  # the three CR views of a cervical spine
    assert set(outcomes) <= {"wrong_modality", "not_a_chest", "not_an_image", "no_pixels", "truncated"}


@pytest.mark.parametrize("kind", ["dicom", "png", "jpeg"])
def test_damaged_real_files(kind: str, cxr: Path) -> None:
    folder, pattern = {
        "dicom": ("dicom", "[!R]*.dcm"),
        "png": ("nih_chestxray14/images", "*.png"),
        "jpeg": ("covid_chestxray/images", "*.j*"),
    }[kind]
    rng = np.random.default_rng(0)
    outcomes: Counter[str] = Counter()
    for path in sorted((cxr / folder).glob(pattern))[:2]:
        whole = path.read_bytes()
        assert outcome(whole) == "ok"
        for _ in range(30):
            data = bytearray(whole)
            reach = int(rng.choice([400, 2500, len(data)]))
            for place in rng.integers(0, min(reach, len(data)), 10):
                data[place] = rng.integers(256)
            outcomes[outcome(bytes(data))] += 1
            outcomes[outcome(whole[: rng.integers(len(whole) - 1000)])] += 1
    assert outcomes["truncated"] >= 20
    assert len(outcomes) > 2


def test_damaged_small_dicom() -> None:
    rng = np.random.default_rng(1)
    whole = dicom()
    outcomes: Counter[str] = Counter()
    for _ in range(500):
        data = bytearray(whole)
        for place in rng.integers(0, 1000, 3):
            data[place] = rng.integers(256)
        outcomes[outcome(bytes(data))] += 1
    assert len(outcomes) > 4


@dataclass(frozen=True)
class Bomb:
    """What became of one, and how far its process had grown at most by its end, in KiB."""

    size: int
    expected: str
    found: str
    growth: int


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bomb]:
    """All of them, decoded one after the other by a process of their own, whose memory is Python's and the decoders'.

    The bombs are made here, not there: making them takes more than they may.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux to ask for a program's own peak memory")
    root = tmp_path_factory.mktemp("bombs")
    expected = {}
    for name, make in BOMBS.items():
        data, expected[name] = make()
        (root / name).write_bytes(data)
    (root / "sound").write_bytes(dicom())
    program = """
import sys
from pathlib import Path
from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import decode
from comit_ray.errors import DecodeError

def outcome(name):
    try:
        decode((Path(sys.argv[1]) / name).read_bytes(), DecodeLimits())
    except DecodeError as error:
        return error.reason.value if error.detail else "no detail"
    return "ok"

def peak():  # of this program alone: ru_maxrss begins with the peak of the process that started it
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

outcome("sound")
before = peak()
for name in sys.argv[2:]:
    print(name, outcome(name), peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(root), *expected],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, *_ in lines] == list(expected)
    return {
        name: Bomb((root / name).stat().st_size, expected[name], found, int(growth)) for name, found, growth in lines
    }


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_stopped(name: str, bombs: dict[str, Bomb]) -> None:
    assert bombs[name].size < MIB
    assert bombs[name].found == bombs[name].expected
    assert bombs[name].growth < 64 * 1024  # KiB


def test_threads_share_the_decoders() -> None:
    """The fetching step decodes in threads, under warnings that are errors."""
    plain = dicom(ramp(200, 200))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(30):
                assert outcome(plain) == "ok"
                assert outcome(plain[:-900]) == "truncated"
        except BaseException as error:  # noqa: BLE001 a thread's failure is reported by the test
            failures.append(error)

    before = list(warnings.filters)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(warnings.filters) == before


def test_the_status_follows_the_reason() -> None:
    with pytest.raises(DecodeError) as caught:
        decode(dicom(ViewPosition="LL"), LIMITS)
    assert (caught.value.reason, caught.value.status) == (Reason.LATERAL, "excluded")
