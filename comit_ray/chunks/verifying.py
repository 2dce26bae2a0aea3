"""Reads back every file that a job wrote, lists what is damaged, and says which chunks run again.

It changes nothing. Each run makes the same comparisons before it counts a chunk as done.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from comit_ray.chunks import run_record
from comit_ray.chunks.ownership import SHA256, Owner
from comit_ray.errors import NotFoundError, StorageError
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.seal import CheckedFile
from comit_ray.tables.vocabulary import counted

THREADS = 8


@dataclass(frozen=True)
class Verified:
    """The result of verifying an output.

    Attributes:
        files: table -> number of Parquet files.
        size: bytes of all files.
        unsealed: number of files of older versions, which have no checksum to compare with.
        damaged: one sentence for each file that differs from what was written, or belongs to another run.
    """

    files: Counter[str]
    size: int
    unsealed: int
    damaged: Sequence[str]

    def lines(self) -> list[str]:
        """Returns the lines to print."""
        told = [
            f"{count:>9,} {'file' if count == 1 else 'files'} of {table}" for table, count in sorted(self.files.items())
        ]
        told.append(f"{self.size:>9,} bytes were read back")
        if self.unsealed:
            told.append(
                f"{self.unsealed:>9,} of these without a checksum (older versions): their bytes cannot be compared"
            )
        told += [f"DAMAGED: {problem}" for problem in self.damaged]
        if self.damaged:
            told.append(f"damaged: {counted(len(self.damaged), 'file')}; run the same job again to write them again")
        else:
            told.append("every file is unchanged since it was written")
        return told


def verify(results: str) -> Verified:
    """Reads every Parquet file under `results`, and compares it with its seal, its commit and the record of the run.

    Raises:
        NotFoundError: there is no such directory, or no Parquet file in it.
        StorageError: the directory cannot be listed, or its record is not that of a run.
    """
    root = storage.normalise(results)
    paths = [entry.path for entry in storage.list_files(root, ".parquet")]
    if not paths:
        raise NotFoundError(f"no .parquet file below {root}: expected the output directory of a job")
    try:
        owner = Owner.of(run_record.read(root))
    except NotFoundError:
        owner = None
    with ThreadPoolExecutor(THREADS) as pool:
        found = dict(zip(paths, pool.map(lambda path: _check(root, path), paths), strict=True))
    damaged = [problem for problem in found.values() if isinstance(problem, str)]
    sound = {path: file for path, file in found.items() if isinstance(file, CheckedFile)}
    for path, file in sound.items():
        other = None if owner is None else owner.difference(file.metadata)
        if other:
            damaged.append(f"{path} belongs to another run ({other})")
        damaged += _sides(path, file, found)
    return Verified(
        Counter(path.rpartition("/")[0] or "." for path in paths),
        sum(file.size for file in sound.values()),
        sum(not file.sealed for file in sound.values()),
        damaged,
    )


def _check(root: str, path: str) -> CheckedFile | str:
    try:
        return parquet.check_part(storage.join(root, path))
    except StorageError as error:
        return str(error)


def _sides(path: str, commit: CheckedFile, found: dict[str, CheckedFile | str]) -> list[str]:
    """Returns a sentence for each side table's file that is missing or differs from the one that the commit names."""
    problems = []
    parent, _, file = path.rpartition("/")
    base = parent.rpartition("/")[0]
    for key, value in commit.metadata.items():
        if key.startswith(SHA256.encode()):
            side = storage.join(base, key.decode().removeprefix(SHA256), file).lstrip("/")
            there = found.get(side)
            if there is None:
                problems.append(f"{side} is missing, but {path} was committed with it")
            elif isinstance(there, CheckedFile) and there.sha256 != value.decode():
                problems.append(f"{side} is not the file that {path} was committed with (SHA-256)")
    return problems
