"""Mutations of real files, decoded as a screen decodes them: what becomes of each. Crashed, hung, wrong: the goal is 0.

    python -m tests.benchmarks.faults.mutated_files /path/to/radiographs --mutations 10000 --seed 0

    crashed  the decoder's process ended, twice
    hung     it took longer than a file may, twice
    foreign  another exception than a reason for the file came out
    wrong    a PNG, whose parts have checksums, is ok and shows other pixels than the file that it was made of
    other_pixels  the same of a JPEG or DICOM file: these formats have no checksum, nobody can tell
    same_pixels   ok, and nothing is changed that shows

Prints one JSON line with the outcomes by format.
"""

import argparse
import hashlib
import json
import random
import time
from collections import Counter
from pathlib import Path

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.load import Place, load_frame
from comit_ray.data.images.raster import PNG_SIGNATURE
from comit_ray.errors import OF_THE_DECODER, ComitError, DecodeError, Reason
from comit_ray.storage.file_reader import FileReader, FileRef

LIMITS, FRAME = DecodeLimits(max_seconds=20), FrameConfig()
LARGEST = 4 * 2**20
"""Larger files are left out: they say the same, and take longer."""


class Bytes(FileReader):
    """A storage that holds one file."""

    def __init__(self, data: bytes) -> None:
        super().__init__(LIMITS.max_bytes)
        self.data = data

    def read(self, ref: FileRef, at_most: int | None = None) -> bytes:
        """The file, whatever is asked for."""
        return self.data


def mutated(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """One of seven kinds of damage, half of the time near the beginning, where headers are."""
    end = len(data) if chance.random() < 0.5 else min(len(data), 2048)
    at = chance.randrange(end)
    length = chance.choice([1, 2, 4, 16, 256])
    kind = chance.randrange(7)
    if kind == 0:
        changed = bytearray(data)
        for _ in range(chance.choice([1, 1, 1, 8, 64])):
            bit = chance.randrange(8 * end)
            changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + chance.randbytes(length) + data[at + length :]
    if kind == 3:
        return data[:at] + bytes([chance.choice([0, 0xFF, 0x7F, 0x80])]) * length + data[at + length :]
    if kind == 4:
        return data[:at] + chance.randbytes(length) + data[at:]
    if kind == 5:
        return data[:at] + data[at + length :]
    other = chance.choice(others)
    return data[:at] + other[min(at, len(other)) :]


def outcome(data: bytes, sound: str) -> str:
    """What becomes of a file; `sound` is the digest of the pixels that it should show."""
    try:
        frame = load_frame(Place(FileRef("mutation")), Bytes(data), FRAME, LIMITS)
    except DecodeError as error:
        if error.reason in OF_THE_DECODER:
            return "crashed" if error.reason is Reason.CRASHED_DECODER else "hung"
        return str(error.reason)
    except ComitError as error:
        return f"foreign: {error}"
    if hashlib.sha256(frame.pixels_HW.tobytes()).hexdigest() == sound:
        return "same_pixels"
    return "wrong" if data.startswith(PNG_SIGNATURE) else "other_pixels"


def main() -> None:
    """Mutate, decode, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1500.0, help="stop then, and say how many were made")
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    sound: dict[str, list[tuple[bytes, str]]] = {}
    for path in sorted(Path(asked.folder).rglob("*")):
        kind = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".dcm": "dicom"}.get(path.suffix.lower())
        if kind is None or path.stat().st_size > LARGEST:
            continue
        data = path.read_bytes()
        try:
            frame = load_frame(Place(FileRef(str(path))), Bytes(data), FRAME, LIMITS)
        except DecodeError:
            continue
        sound.setdefault(kind, []).append((data, hashlib.sha256(frame.pixels_HW.tobytes()).hexdigest()))
    found: dict[str, Counter[str]] = {kind: Counter() for kind in sound}
    whole = dict(pair for some in sound.values() for pair in some)  # two files spliced may be one of them again
    began, made = time.monotonic(), 0
    while made < asked.mutations and time.monotonic() - began < asked.seconds:
        kind = sorted(sound)[made % len(sound)]
        data, digest = chance.choice(sound[kind])
        others = [one for one, _ in sound[chance.choice(sorted(sound))]]
        damaged = mutated(data, others, chance)
        found[kind][outcome(damaged, whole.get(damaged, digest))] += 1
        made += 1
    bad = {word: sum(one[word] for one in found.values()) for word in ("crashed", "hung", "wrong")}
    bad["foreign"] = sum(n for one in found.values() for word, n in one.items() if word.startswith("foreign"))
    files = {kind: len(some) for kind, some in sound.items()}
    outcomes = {kind: dict(one.most_common()) for kind, one in found.items()}
    print(json.dumps({"mutations": made, "seed": asked.seed, "files": files, **bad, "outcomes": outcomes}))


if __name__ == "__main__":
    main()
