"""Read a large tar.gz in one pass: `python -m tests.benchmarks.tar_memory [GB]`; what is held must not grow."""

import gzip
import hashlib
import io
import multiprocessing
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import pyarrow as pa

from comit_ray.chunks.reading import read_part
from comit_ray.data.images.load import Place
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileReader
from tests.benchmarks.measure import measured, peak_mb

MEMBER = 8_000_000  # bytes: a radiograph of 2,000 x 2,000 pixels and 16 bits
CHUNK = 64


def write(path: Path, gigabytes: float) -> list[str]:
    """A tar.gz of that many bytes, hardly compressed; the names of its members."""
    names = [f"d/{number:05d}.bin" for number in range(int(gigabytes * 1e9 / MEMBER))]
    with gzip.open(path, "wb", compresslevel=1) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = MEMBER
            tar.addfile(info, io.BytesIO(os.urandom(MEMBER)))
    return names


def read_through(path: Path, names: list[str], checksum: str) -> None:
    """The same reading as every job does."""
    rows = pa.table(
        {
            "uri": [str(path)] * len(names),
            "member": names,
            "checksum": [checksum] * len(names),
            "chunk": [f"d-{number // CHUNK:05d}" for number in range(len(names))],
            "excluded": pa.nulls(len(names), pa.string()),
            "view": ["PA"] * len(names),
        }
    )

    def read(row: dict[str, object], reader: FileReader) -> dict[str, object]:
        return {"bytes": len(reader.read(Place.of(row).file))}

    with measured("one pass, 2 threads, checksum verified"):
        chunks = read_part(rows, rows["chunk"].unique().to_pylist(), read, lambda row, _: {"bytes": -1}, 2, 2**28)
        for number, (_, results) in enumerate(chunks):
            assert all(result["bytes"] == MEMBER for result in results)
            print(f"  after {number * CHUNK + len(results):>5} members: peak {peak_mb():.0f} MB", flush=True)


def main(gigabytes: float) -> None:
    """Write the archive here, read it in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive.tgz"
        names = write(path, gigabytes)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha1").hexdigest()
        print(f"{storage.size(str(path)) / 1e9:.2f} GB of tar.gz, {len(names)} members of {MEMBER / 1e6:.0f} MB")
        arguments = (path, names, f"sha1:{digest}")
        process = multiprocessing.get_context("spawn").Process(target=read_through, args=arguments)
        process.start()
        process.join()
        sys.exit(process.exitcode)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
