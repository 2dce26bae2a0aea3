"""Counts what a run has done, from its tables alone: which chunks are complete, and the outcome of every image.

The checksum of a tar.gz archive is known only when its last member has been read. By then, rows of earlier chunks may
be committed. The job itself fails the rows of the last chunk with `checksum_mismatch`. After the run, `settle` fails
the archive's rows in all other chunks, so that no table keeps a score from a damaged archive.
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
from comit_ray.tables.vocabulary import counted

NAMED = 20
"""Number of problems that are printed one by one; the rest are only counted."""
COMMON, PLACE_DEPTH = 3, 3
"""How many of the most frequent reasons (and places) of failures are printed, and how many names make up a place."""
THREADS = 8  # reading small files is mostly waiting for the storage
COLUMNS = ["image_id", "status", "reason", "detail"]


@dataclass(frozen=True)
class ChunkAccount:
    """The content of one chunk's files."""

    problem: str | None
    """One sentence that says why the chunk does not count as committed; None if it is complete."""
    by_reason: Counter[tuple[str, str]]
    """(status, reason or "") -> number of images."""
    flagged: int
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(reason, place) -> number of failed images. A place is the archive or directory, as image ids name it."""
    readable: frozenset[str] = frozenset()
    """Reasons of images that failed while they were read; failures that the manifest states would not change."""


@dataclass(frozen=True)
class Accounts:
    """The content of a run's tables, compared with what the manifest asks for."""

    asked: int
    """Number of images in the manifest."""
    by_status: dict[str, int]
    by_reason: dict[tuple[str, str], int]
    """(status, reason or "") -> number of images."""
    flagged: int
    problems: tuple[str, ...]
    """One sentence for each chunk whose file is missing, foreign, or does not hold what its name states."""
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(reason, place) -> number of failed images."""

    @property
    def refused(self) -> list[str]:
        """One line per reason: how many images the next run reads again, and why; empty if there are none."""
        count = sum(self.by_reason.get((Status.FAILED, reason), 0) for reason in OF_THE_STORAGE)
        failed = self.by_reason.get((Status.FAILED, Reason.PROGRAM_FAILED), 0)
        told = (("the storage refused", count), ("the program failed on", failed))
        return [f"{what} {counted(n, 'image')}: run the same command again to read them again" for what, n in told if n]

    @property
    def failed_share(self) -> float:
        """Share (0 to 1) of failed images among all images that have a row."""
        return self.by_status.get(Status.FAILED, 0) / max(1, sum(self.by_status.values()))

    def too_many_failed(self, most: float) -> list[str]:
        """Lists what failed images have in common, if their share is above `most` (0 to 1); else returns no line."""
        if self.failed_share <= most:
            return []
        count = self.by_status[Status.FAILED]
        share = f"{self.failed_share:.1%} of all: more than --max_failed_share {most:g} allows"
        lines = [f"{counted(count, 'image')} failed, {share}. What they have in common:"]
        for word, index in (("reason", 0), ("place", 1)):
            found: Counter[str] = Counter()
            for key, images in self.failed.items():
                found[key[index]] += images
            lines += [f"{n:>13,} of them: {word} {name}" for name, n in found.most_common(COMMON)]
        lines.append("look at one of them, then run the same command with --retry REASON to read them again")
        return lines

    @property
    def balanced(self) -> bool:
        """Whether ok + excluded + failed equals the images of the manifest, and no chunk has a problem."""
        return not self.problems and self.asked == sum(self.by_status.values())


def inspect(chunk: ChunkPlan, output: str, layout: Layout, owner: Owner | None = None) -> ChunkAccount:
    """Reads a chunk's files back and checks that they are complete.

    A chunk is complete if three things hold. Its main table holds exactly its images, in order. Each side table has the
    expected rows for every image that is ok, and is the file (SHA-256) with which the chunk was committed. Each file
    belongs to `owner`; None accepts any owner. A chunk that cannot be read is not complete: it is processed again, and
    its files are overwritten under the same names.
    """
    try:
        columns = [*COLUMNS, *layout.owned, *([layout.flag] if layout.flag else [])]
        where = storage.join(output, layout.main, chunk.file)
        try:
            rows = parquet.read_part(where, columns)
        except NotFoundError:
            return ChunkAccount(f"chunk {chunk.file} is missing", Counter(), 0)
        if storage.size(where) > parquet.WHOLE:
            parquet.check_part(where)
        if chunk_file(chunk.chunk, rows["image_id"].to_pylist()) != chunk.file:
            return ChunkAccount(f"{chunk.file} does not hold the {counted(chunk.rows, 'image')} it names", Counter(), 0)
        other = foreign(rows, owner)
        if other:
            return ChunkAccount(f"{layout.main}/{chunk.file} belongs to another run ({other})", Counter(), 0)
        done = pc.sum(pc.equal(rows["status"], Status.OK)).as_py() or 0
        for table in layout.sides:
            side = parquet.check_part(storage.join(output, table, chunk.file))
            found = side.rows
            other = owner.difference(side.metadata) if owner is not None else None
            if other:
                return ChunkAccount(f"{table}/{chunk.file} belongs to another run ({other})", Counter(), 0)
            each = layout.several.get(table, 1)
            if found != done * each:
                wanted = "one each" if each == 1 else f"{each} each"
                rows_for = f"{counted(found, 'row')} for {counted(done, 'image')} with status ok"
                problem = f"{table}/{chunk.file} has {rows_for}, expected {wanted}"
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
    """Returns the archive or directory of an image, cut to `PLACE_DEPTH` names so that few places differ."""
    archive, member, _ = image_id.partition("!")
    return "/".join((archive if member else image_id.rpartition("/")[0]).split("/")[:PLACE_DEPTH]) or "the root"


def foreign(rows: pa.Table, owner: Owner | None) -> str | None:
    """Says why a main table belongs to another owner, by its metadata or (older versions) its rows; else None."""
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
    """Returns the file names of the chunks that need not be processed again.

    Such a chunk is complete, and none of its images failed for a reason that may pass: the storage refused the image,
    or the program failed on it (`comit_ray.errors.AGAIN`). Chunks that have a file but are not complete are printed.

    Args:
        plan: the chunks that are asked for.
        output: URI of the results.
        layout: the tables of the output.
        owner: the run whose files count; None: files of any run count.
        retry: further reasons whose images are read again.
    """
    found = _files(output, layout)
    candidates = [chunk for chunk in plan.chunks if chunk.file in found]
    with ThreadPoolExecutor(THREADS) as pool:
        accounts = list(pool.map(lambda chunk: inspect(chunk, output, layout, owner), candidates))
    problems = [account.problem for account in accounts if account.problem]
    for problem in problems[:NAMED]:
        print(f"runs again: {problem}")
    if len(problems) > NAMED:
        print(f"runs again: {counted(len(problems) - NAMED, 'further chunk')}")
    again = {*map(str, AGAIN), *retry}
    return {
        chunk.file
        for chunk, account in zip(candidates, accounts, strict=True)
        if account.problem is None and not any(reason in again for reason in account.readable)
    }


def begun(plan: Plan, output: str, layout: Layout) -> frozenset[str]:
    """Returns the names of the plan's files that exist already, complete or not. Rows in them that are ok are kept."""
    return frozenset(_files(output, layout) & {chunk.file for chunk in plan.chunks})


def keep_scored(
    output: str, file: str, tables: dict[str, pa.Table], layout: Layout, owner: Owner
) -> dict[str, pa.Table]:
    """Returns a chunk's new tables, but keeps old rows that were ok and would fail now: no failure replaces a score.

    Args:
        output: URI of the results.
        file: file name of the chunk; the file may be missing or incomplete.
        tables: table name -> the chunk's new rows.
        layout: the tables of the output.
        owner: the run whose old rows count.
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
    """Counts the results of the whole run. Files that do not belong to `owner` are problems; None accepts any owner."""
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


_OF_ARCHIVES = [str(Reason.CHECKSUM_MISMATCH), str(Reason.STORAGE_CHANGED)]
"""Reasons that hold for every image of an archive as soon as they hold for one."""


def settle(plan: Plan, output: str, layout: Layout, owner: Owner | None = None) -> Accounts:
    """Fails the remaining rows of damaged or changed archives, then counts the results of the run.

    A second call changes nothing.

    Raises:
        StorageError: a chunk that has to be changed cannot be read or written.
    """
    taken = take(plan, output, layout, owner)
    if not any(taken.by_reason.get((Status.FAILED, reason)) for reason in _OF_ARCHIVES):
        return taken
    if owner is not None and owner.lease is None:
        owner = take_lease(output, owner)
    changed = sum(_in_part(part, output, layout, owner) for part in plan.parts)
    if not changed:
        return taken
    print(f"{counted(changed, 'image')} failed afterwards: the bytes of their archive are wrong")
    return take(plan, output, layout, owner)


def _in_part(part: PartPlan, output: str, layout: Layout, owner: Owner | None) -> int:
    main: dict[ChunkPlan, pa.Table] = {}
    for chunk in part.chunks:
        try:
            main[chunk] = parquet.read_part(storage.join(output, layout.main, chunk.file), COLUMNS)
        except StorageError:  # the accounts report it, and the next run processes the chunk again
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
    """Whether a row failed for another reason than `storage_changed`; damaged transfer may be the true cause."""
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
