"""Archives of known members, whole and damaged, for several tests."""

import gzip
import io
import random
import tarfile
import zipfile
from pathlib import Path

LONG = "x" * 120  # longer than a plain tar header holds


def members(count: int = 40, seed: int = 0) -> dict[str, bytes]:
    """Name -> bytes that do not compress; some empty, some names long."""
    made = random.Random(seed)
    return {
        f"d/{LONG if number % 3 == 0 else ''}{number:03d}.bin": made.randbytes(made.choice([0, 700, 5000]))
        for number in range(count)
    }


def write(path: Path, files: dict[str, bytes]) -> str:
    """An archive of the kind that the name says, with a folder entry; its path."""
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.mkdir("d")
            for name, data in files.items():
                packed.writestr(name, data)
        return str(path)
    with tarfile.open(path, "w:" if path.name.endswith(".tar") else "w:gz") as tar:
        folder = tarfile.TarInfo("d")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def gzip_twice(path: Path, files: dict[str, bytes]) -> str:
    """A tar.gz of two gzip members, as parallel compressors write it."""
    plain = path.with_suffix(".plain.tar")
    write(plain, files)
    data = plain.read_bytes()
    plain.unlink()
    path.write_bytes(gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]))
    return str(path)
