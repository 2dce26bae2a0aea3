"""Counts what a run has done, from its tables alone: which chunks are complete, and the outcome of every image.

After a run: the committed rows of an archive whose bytes turned out not to be what its dataset states.

The checksum of a tar.gz is known when its last member has been read. The rows of its last chunk then fail with
`checksum_mismatch`; here those of its other chunks follow, so that no table holds a score from such an archive.
"""

from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.chunks.ownership import SHA256, Owner, take_lease
from comit_ray.chunks.plan import ChunkPlan, Layout, PartPlan, Plan, chunk_file, commit
from comit_ray.data.images.load import KNOWN
from comit_ray.errors import AGAIN, OF_THE_STORAGE, NotFoundError, Reason, Status, StorageError
from comit_ray.storage import storage
from comit_ray.tables import parquet

NAMED = 20
"""Problems that are named one by one."""
COMMON, PLACE_DEPTH = 3, 3
"""Reasons and places of failed images that are named, and names of directories that make a place."""
THREADS = 8  # reading small files waits for storage most of the time
COLUMNS = ["image_id", "status", "reason", "detail"]


@dataclass(frozen=True)
class ChunkAccount:
    """What the files of one chunk hold."""

    problem: str | None
    """Why the chunk does not count as committed, in one sentence; None: it is whole."""
    by_reason: Counter[tuple[str, str]]
    """(status, reason or "") -> images."""
    flagged: int
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(reason, where: the archive or the directory, in the words of image ids) -> images that failed."""
    readable: frozenset[str] = frozenset()
    """Reasons of images that failed when they were read; the manifest's own exclusions read alike every time."""


@dataclass(frozen=True)
class Accounts:
    """What the tables hold, against what the manifest asks for."""

    asked: int
    """Images of the manifest."""
    by_status: dict[str, int]
    by_reason: dict[tuple[str, str], int]
    """(status, reason or "") -> images."""
    flagged: int
    problems: tuple[str, ...]
    """One sentence for each chunk that is absent, foreign or not what its name says."""
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(reason, where) -> images that failed."""

    @property
    def refused(self) -> list[str]:
        """Lines that say how many images the next run reads again, and why; no line if there are none."""
        count = sum(self.by_reason.get((Status.FAILED, reason), 0) for reason in OF_THE_STORAGE)
        lines = [f"the storage refused {count:,} images: run the same command again to try them once more"]
        failed = self.by_reason.get((Status.FAILED, Reason.PROGRAM_FAILED), 0)
        told = [f"the program failed on {failed:,} images: run the same command again to try them once more"]
        return (lines if count else []) + (told if failed else [])

    @property
    def failed_share(self) -> float:
        """Share of the images with a row that failed, 0..1."""
        return self.by_status.get(Status.FAILED, 0) / max(1, sum(self.by_status.values()))

    def too_many_failed(self, most: float) -> list[str]:
        """What the failed images have in common, if their share is above `most` (0..1); else no line."""
        if self.failed_share <= most:
            return []
        count = self.by_status[Status.FAILED]
        share = f"{self.failed_share:.1%} of all: more than --max_failed_share {most:g} allows"
        lines = [f"{count:,} images failed, {share}. What they have in common:"]
        for word, index in (("reason", 0), ("place", 1)):
            found: Counter[str] = Counter()
            for key, images in self.failed.items():
                found[key[index]] += images
            lines += [f"{n:>13,} of them: {word} {name}" for name, n in found.most_common(COMMON)]
        lines.append("look at one of them; then run the same command again with --retry REASON to read them again")
        return lines

    @property
    def balanced(self) -> bool:
        """Whether manifest = ok + excluded + failed, and every file is what its name says."""
        return not self.problems and self.asked == sum(self.by_status.values())


def inspect(chunk: ChunkPlan, output: str, layout: Layout, owner: Owner | None = None) -> ChunkAccount:
    """Read a chunk's files back, and compare them with their sums.

    A chunk is whole if its main table is that of exactly its images, in order, and each side table has the rows
    of every one that is ok, and each is of `owner` (None: of anybody). What cannot be read is not whole: the chunk is
    done again, and the same names written over.
    """
    try:
        columns = [*COLUMNS, *layout.owned, *([layout.flag] if layout.flag else [])]
        where = storage.join(output, layout.main, chunk.file)
        try:
            rows = parquet.read_part(where, columns)
        except NotFoundError:
            return ChunkAccount(f"chunk {chunk.file} is absent", Counter(), 0)
        if storage.size(where) > parquet.WHOLE:
            parquet.check_part(where)
        if chunk_file(chunk.chunk, rows["image_id"].to_pylist()) != chunk.file:
            return ChunkAccount(f"{chunk.file} does not hold the {chunk.rows} images it stands for", Counter(), 0)
        other = foreign(rows, owner)
        if other:
            return ChunkAccount(f"{layout.main}/{chunk.file} is of another run ({other})", Counter(), 0)
        done = pc.sum(pc.equal(rows["status"], Status.OK)).as_py() or 0
        for table in layout.sides:
            side = parquet.check_part(storage.join(output, table, chunk.file))
            found = side.rows
            other = owner.difference(side.metadata) if owner is not None else None
            if other:
                return ChunkAccount(f"{table}/{chunk.file} is of another run ({other})", Counter(), 0)
            each = layout.several.get(table, 1)
            if found != done * each:
                wanted = "one each" if each == 1 else f"{each} each"
                problem = f"{table}/{chunk.file} has {found} rows for {done} images that are ok, {wanted}"
                return ChunkAccount(problem, Counter(), 0)
            committed_with = (rows.schema.metadata or {}).get(f"{SHA256}{table}".encode(), side.sha256.encode())
            if committed_with != side.sha256.encode():
                problem = f"{table}/{chunk.file} is not the file that its chunk was committed with (SHA-256)"
                return ChunkAccount(problem, Counter(), 0)
    except StorageError as error:
        return ChunkAccount(f"chunk {chunk.file} cannot be read: {error}", Counter(), 0)
    reasons = zip(rows["status"].to_pylist(), rows["reason"].to_pylist(), strict=True)
    by_reason = Counter((status, reason or "") for status, reason in reasons)
    flagged = int(pc.sum(rows[layout.flag]).as_py() or 0) if layout.flag else 0
    failed = rows.filter(pc.equal(rows["status"], Status.FAILED))
    pairs = zip(failed["reason"].to_pylist(), failed["image_id"].to_pylist(), strict=True)
    places = Counter((reason or "", _place(one)) for reason, one in pairs)
    by_manifest = pc.fill_null(pc.starts_with(failed["detail"], KNOWN), False)
    read = failed.filter(pc.invert(by_manifest))["reason"].unique().to_pylist()
    return ChunkAccount(None, by_reason, flagged, places, frozenset(reason or "" for reason in read))


def _place(image_id: str) -> str:
    """The archive or the directory of an image, at most `PLACE_DEPTH` names deep, so that there are few of them."""
    archive, member, _ = image_id.partition("!")
    return "/".join((archive if member else image_id.rpartition("/")[0]).split("/")[:PLACE_DEPTH]) or "the root"


def foreign(rows: pa.Table, owner: Owner | None) -> str | None:
    """Why a main table is not the owner's: its metadata says so, or its rows do, as those of older versions."""
    if owner is None:
        return None
    difference = owner.difference(rows.schema.metadata)
    known = {"run_id": {owner.run_id}, "model_id": owner.models}
    for name, expected in (("run_id", owner.run_id), ("model_id", owner.model_id)):
        others = set(rows[name].unique().to_pylist()) - known[name] if name in rows.column_names else set()
        if others and difference is None:
            difference = f"rows with {name} {min(map(str, others))!r}, expected {expected!r}"
    return difference


def committed(
    plan: Plan, output: str, layout: Layout, owner: Owner | None = None, retry: Collection[str] = ()
) -> set[str]:
    """File names of the plan's chunks that need not be done again: they are whole, and the storage gave all of them.

    An image that the storage refused, or the program failed on (`comit_ray.errors.AGAIN`), may be had the next time.
    Chunks that have a file and are not whole are named.

    Args:
        plan: what is asked.
        output: URI of the results.
        layout: of its tables.
        owner: whose files count; None: anybody's.
        retry: further reasons whose images are read again.
    """
    found = _files(output, layout)
    candidates = [chunk for chunk in plan.chunks if chunk.file in found]
    with ThreadPoolExecutor(THREADS) as pool:
        accounts = list(pool.map(lambda chunk: inspect(chunk, output, layout, owner), candidates))
    problems = [account.problem for account in accounts if account.problem]
    for problem in problems[:NAMED]:
        print(f"done again: {problem}")
    if len(problems) > NAMED:
        print(f"done again: {len(problems) - NAMED:,} further chunks")
    again = {*map(str, AGAIN), *retry}
    return {
        chunk.file
        for chunk, account in zip(candidates, accounts, strict=True)
        if account.problem is None and not any(reason in again for reason in account.readable)
    }


def begun(plan: Plan, output: str, layout: Layout) -> frozenset[str]:
    """Names of the plan's files that are there already, whole or not: rows of theirs that are ok are kept."""
    return frozenset(_files(output, layout) & {chunk.file for chunk in plan.chunks})


def keep_scored(
    output: str, file: str, tables: dict[str, pa.Table], layout: Layout, owner: Owner
) -> dict[str, pa.Table]:
    """A chunk's new tables, with the old rows of images that were ok and fail now: a failure replaces no score.

    Args:
        output: URI of the results.
        file: of the chunk, which may be there, and whole or not.
        tables: new, by name.
        layout: of the tables.
        owner: whose old rows count.
    """
    main = tables[layout.main]
    failed = main["image_id"].filter(pc.equal(main["status"], Status.FAILED))
    name = file.rpartition("-")[0]
    if not len(failed) or inspect(ChunkPlan(name, file, main.num_rows), output, layout, owner).problem:
        return tables
    old = {table: parquet.read_part(storage.join(output, table, file)) for table in (layout.main, *layout.sides)}
    scored = old[layout.main]["image_id"].filter(pc.equal(old[layout.main]["status"], Status.OK))
    kept = failed.filter(pc.is_in(failed, scored))
    if not len(kept):
        return tables
    found = {}
    for table, rows in tables.items():
        both = [rows.filter(pc.invert(pc.is_in(rows["image_id"], kept)))]
        both.append(old[table].filter(pc.is_in(old[table]["image_id"], kept)).cast(rows.schema))
        joined = pa.concat_tables(both)
        order = pc.index_in(joined["image_id"], main["image_id"].combine_chunks())
        found[table] = joined.take(pc.array_sort_indices(order.combine_chunks()))
    return found


def take(plan: Plan, output: str, layout: Layout, owner: Owner | None = None) -> Accounts:
    """The accounts of the whole run; files that are not of `owner` are problems (None: anybody's count)."""
    foreign = sorted(_files(output, layout) - {chunk.file for chunk in plan.chunks})
    problems = [f"file {file} belongs to no chunk of the manifest" for file in foreign]
    by_reason: Counter[tuple[str, str]] = Counter()
    flagged = 0
    failed: Counter[tuple[str, str]] = Counter()
    with ThreadPoolExecutor(THREADS) as pool:
        for account in pool.map(lambda chunk: inspect(chunk, output, layout, owner), plan.chunks):
            by_reason.update(account.by_reason)
            flagged += account.flagged
            failed.update(account.failed)
            problems += [account.problem] if account.problem else []
    by_status: Counter[str] = Counter()
    for (status, _), count in by_reason.items():
        by_status[status] += count
    return Accounts(plan.rows, dict(by_status), dict(by_reason), flagged, tuple(problems), failed)


def _files(output: str, layout: Layout) -> set[str]:
    try:
        return {entry.path for entry in storage.list_files(storage.join(output, layout.main), ".parquet")}
    except NotFoundError:
        return set()


_COLUMNS = ["image_id", "status", "reason", "detail"]
_OF_ARCHIVES = [str(Reason.CHECKSUM_MISMATCH), str(Reason.STORAGE_CHANGED)]
"""Reasons that hold for every image of an archive, once they hold for one."""


def settle(plan: Plan, output: str, layout: Layout, owner: Owner | None = None) -> Accounts:
    """The accounts of a run, after failing what is left of archives that are not what they should be.

    Running it again changes nothing.

    Raises:
        StorageError: if a chunk that has to be changed cannot be read or written.
    """
    taken = take(plan, output, layout, owner)
    if not any(taken.by_reason.get((Status.FAILED, reason)) for reason in _OF_ARCHIVES):
        return taken
    if owner is not None and owner.lease is None:
        owner = take_lease(output, owner)
    changed = sum(_in_part(part, output, layout, owner) for part in plan.parts)
    if not changed:
        return taken
    print(f"{changed:,} images failed after all: the bytes of their archive are not what they should be")
    return take(plan, output, layout, owner)


def _in_part(part: PartPlan, output: str, layout: Layout, owner: Owner | None) -> int:
    main: dict[ChunkPlan, pa.Table] = {}
    for chunk in part.chunks:
        try:
            main[chunk] = parquet.read_part(storage.join(output, layout.main, chunk.file), _COLUMNS)
        except StorageError:  # it is among the problems of the accounts, and will be read again
            continue
    if not any(pc.any(pc.is_in(table["reason"], pa.array(_OF_ARCHIVES))).as_py() for table in main.values()):
        return 0
    rows = parquet.read_part(part.uri, ["image_id", "uri", "member"]).filter(pc.is_valid(pc.field("member")))
    archive_of = dict(zip(rows["image_id"].to_pylist(), rows["uri"].to_pylist(), strict=True))
    details: dict[str, tuple[str, str]] = {}
    for table in main.values():
        for row in table.to_pylist():
            if row["reason"] in _OF_ARCHIVES and row["image_id"] in archive_of:
                details[archive_of[row["image_id"]]] = (row["reason"], row["detail"])
    return sum(_fail(chunk, table, archive_of, details, output, layout, owner) for chunk, table in main.items())


def _is_in_doubt(row: dict[str, Any]) -> bool:
    """Whether a failed row may be the fault of bytes that changed on the way, and does not say so yet."""
    return bool(row["status"] == Status.FAILED and row["reason"] != Reason.STORAGE_CHANGED)


def _fail(
    chunk: ChunkPlan,
    table: pa.Table,
    archive_of: dict[str, str],
    details: dict[str, tuple[str, str]],
    output: str,
    layout: Layout,
    owner: Owner | None,
) -> int:
    wrong = {
        row["image_id"]
        for row in table.to_pylist()
        if (found := details.get(archive_of.get(row["image_id"], ""))) is not None
        and (row["status"] == Status.OK or (found[0] == Reason.STORAGE_CHANGED and _is_in_doubt(row)))
    }
    if not wrong:
        return 0
    whole = parquet.read_part(storage.join(output, layout.main, chunk.file))
    rows: list[dict[str, Any]] = whole.to_pylist()
    failed = [
        {name: row[name] for name in layout.facts}
        | {
            "status": str(Status.FAILED),
            "reason": details[archive_of[row["image_id"]]][0],
            "detail": details[archive_of[row["image_id"]]][1],
        }
        if row["image_id"] in wrong
        else row
        for row in rows
    ]
    tables = {layout.main: pa.Table.from_pylist(failed, schema=whole.schema)}
    for side in layout.sides:
        old = parquet.read_part(storage.join(output, side, chunk.file))
        tables[side] = old.filter(pc.invert(pc.is_in(old["image_id"], pa.array(list(wrong)))))
    commit(output, chunk.file, tables, layout, owner)
    return len(wrong)
