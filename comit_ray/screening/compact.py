"""Finished chunks copied into larger files, for readers of many small ones; the chunk files stay the truth."""

from collections.abc import Iterator

from comit_ray.chunks.plan import ChunkPlan, Plan
from comit_ray.errors import ConfigError
from comit_ray.storage import storage
from comit_ray.tables import parquet

DIRECTORY = "compact"
ROWS = 65_536
"""Images in a file, at least, but for the last."""


def check(output: str) -> None:
    """Refuse an output in which a directory cannot appear as a whole.

    Raises:
        ConfigError: for S3.
    """
    if storage.is_s3(output):
        raise ConfigError(f"--compact needs a local --output (S3 has no rename), got {output}")


def write(plan: Plan, output: str, tables: tuple[str, ...], rows: int = ROWS) -> str:
    """Copy the chunks of each of `tables`, in the manifest's order, to `output`/compact; its URI.

    Raises:
        StorageError: if a chunk cannot be read or the directory not be written; an earlier one is then still there.
    """
    target = storage.join(output, DIRECTORY)
    with storage.replacing_directory(target) as fresh:
        for table in tables:
            for number, group in enumerate(_groups(plan.chunks, rows)):
                merged = parquet.read_parts(storage.join(output, table, chunk.file) for chunk in group)
                parquet.write_table(str(fresh / table / f"part-{number:05d}.parquet"), merged)
    return target


def _groups(chunks: list[ChunkPlan], rows: int) -> Iterator[list[ChunkPlan]]:
    """Consecutive chunks of at least `rows` images together."""
    group: list[ChunkPlan] = []
    held = 0
    for chunk in chunks:
        group.append(chunk)
        held += chunk.rows
        if held >= rows:
            yield group
            group, held = [], 0
    if group:
        yield group
