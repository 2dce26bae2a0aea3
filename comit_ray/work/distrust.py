"""After a run: the committed rows of an archive whose bytes turned out not to be what its dataset states.

The checksum of a tar.gz is known when its last member has been read. The rows of its last chunk then fail with
`checksum_mismatch`; here those of its other chunks follow, so that no table holds a score from such an archive.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.chunks import accounts
from comit_ray.chunks.accounts import Accounts
from comit_ray.chunks.plan import ChunkPlan, PartPlan, Plan
from comit_ray.errors import Reason, Status, StorageError
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.work.chunk import Layout, commit

_COLUMNS = ["image_id", "status", "reason", "detail"]


def settle(plan: Plan, output: str, layout: Layout) -> Accounts:
    """The accounts of a run, after failing what is left of archives that are not what they should be.

    Running it again changes nothing.

    Raises:
        StorageError: if a chunk that has to be changed cannot be read or written.
    """
    taken = accounts.take(plan, output, layout)
    if not taken.by_reason.get((Status.FAILED, Reason.CHECKSUM_MISMATCH)):
        return taken
    changed = sum(_in_part(part, output, layout) for part in plan.parts)
    if not changed:
        return taken
    print(f"{changed:,} images failed after all: the bytes of their archive are not what they should be")
    return accounts.take(plan, output, layout)


def _in_part(part: PartPlan, output: str, layout: Layout) -> int:
    main: dict[ChunkPlan, pa.Table] = {}
    for chunk in part.chunks:
        try:
            main[chunk] = parquet.read_part(storage.join(output, layout.main, chunk.file), _COLUMNS)
        except StorageError:  # it is among the problems of the accounts, and will be read again
            continue
    reason = str(Reason.CHECKSUM_MISMATCH)
    if not any(pc.any(pc.equal(table["reason"], reason)).as_py() for table in main.values()):
        return 0
    rows = parquet.read_part(part.uri, ["image_id", "uri", "member"]).filter(pc.is_valid(pc.field("member")))
    archive_of = dict(zip(rows["image_id"].to_pylist(), rows["uri"].to_pylist(), strict=True))
    details: dict[str, str] = {}
    for table in main.values():
        for row in table.to_pylist():
            if row["reason"] == reason and row["image_id"] in archive_of:
                details[archive_of[row["image_id"]]] = row["detail"]
    return sum(_fail(chunk, table, archive_of, details, output, layout) for chunk, table in main.items())


def _fail(
    chunk: ChunkPlan,
    table: pa.Table,
    archive_of: dict[str, str],
    details: dict[str, str],
    output: str,
    layout: Layout,
) -> int:
    wrong = {
        row["image_id"]
        for row in table.to_pylist()
        if row["status"] == Status.OK and archive_of.get(row["image_id"]) in details
    }
    if not wrong:
        return 0
    whole = parquet.read_part(storage.join(output, layout.main, chunk.file))
    rows: list[dict[str, Any]] = whole.to_pylist()
    failed = [
        {name: row[name] for name in layout.facts}
        | {
            "status": str(Status.FAILED),
            "reason": str(Reason.CHECKSUM_MISMATCH),
            "detail": details[archive_of[row["image_id"]]],
        }
        if row["image_id"] in wrong
        else row
        for row in rows
    ]
    tables = {layout.main: pa.Table.from_pylist(failed, schema=whole.schema)}
    for side in layout.sides:
        old = parquet.read_part(storage.join(output, side, chunk.file))
        tables[side] = old.filter(pc.invert(pc.is_in(old["image_id"], pa.array(list(wrong)))))
    commit(output, chunk.file, tables, layout)
    return len(wrong)
