"""The accounts of a run, read back from its tables: every image of the manifest is exactly one row, with its status."""

from collections import Counter
from dataclasses import dataclass

import pyarrow.compute as pc

from comit_ray import storage
from comit_ray.errors import NotFoundError
from comit_ray.screening.chunk import PREDICTIONS, chunk_file
from comit_ray.screening.resume import ChunkPlan, Plan


@dataclass(frozen=True)
class Accounts:
    """What the tables hold, against what the manifest asks for."""

    asked: int
    """Images of the manifest."""
    by_status: dict[str, int]
    by_reason: dict[tuple[str, str], int]
    """(status, reason) -> images."""
    flagged: int
    problems: tuple[str, ...]
    """One sentence for each chunk that is absent, foreign or not what its name says."""

    @property
    def balanced(self) -> bool:
        """Whether manifest = ok + excluded + failed, and every file is what its name says."""
        return not self.problems and self.asked == sum(self.by_status.values())


def take(plan: Plan, output: str) -> Accounts:
    """Read every committed file's ids and reasons, one file at a time, and compare them with the plan."""
    directory = storage.join(output, PREDICTIONS)
    wanted = {chunk.file: chunk for chunk in plan.chunks}
    found = {entry.path for entry in storage.list_files(directory, ".parquet")}
    problems = [f"chunk file {file} is absent" for file in sorted(wanted.keys() - found)]
    problems += [f"file {file} belongs to no chunk of the manifest" for file in sorted(found - wanted.keys())]
    by_reason: Counter[tuple[str, str]] = Counter()
    flagged = 0
    for file in sorted(wanted.keys() & found):
        problem = _check(wanted[file], directory, by_reason)
        if isinstance(problem, str):
            problems.append(problem)
        else:
            flagged += problem
    by_status: Counter[str] = Counter()
    for (status, _), count in by_reason.items():
        by_status[status] += count
    return Accounts(plan.rows, dict(by_status), dict(by_reason), flagged, tuple(problems))


def _check(chunk: ChunkPlan, directory: str, by_reason: Counter[tuple[str, str]]) -> str | int:
    """Add one file's rows to the counts; the number flagged, or what is wrong with the file."""
    try:
        rows = storage.read_part(storage.join(directory, chunk.file), ["image_id", "status", "reason", "covid_flag"])
    except NotFoundError:
        return f"chunk file {chunk.file} vanished"
    if chunk_file(chunk.chunk, rows["image_id"].to_pylist()) != chunk.file:
        return f"file {chunk.file} does not hold the {chunk.rows} images its name stands for"
    by_reason.update(
        (status, reason or "")
        for status, reason in zip(rows["status"].to_pylist(), rows["reason"].to_pylist(), strict=True)
    )
    return pc.sum(rows["covid_flag"]).as_py() or 0
