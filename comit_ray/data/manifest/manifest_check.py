"""What a dataset's tables name and storage lacks, and what storage has and no table names: a CSV for a person."""

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.errors import Reason
from comit_ray.storage import storage
from comit_ray.tables import parquet

FILE = "check.csv"
EXAMPLES = 3


def differences(table: pa.Table, listed: pa.Array) -> pa.Table:
    """One row a difference: `image_id`, `problem` (missing or unlisted), `uri`.

    Args:
        table: rows of one source, absent files marked `missing`.
        listed: whether a table of the source names each.
    """
    missing = pc.fill_null(pc.equal(table["excluded"], str(Reason.MISSING)), False)
    parts = []
    for problem, rows in (("missing", table.filter(missing)), ("unlisted", table.filter(pc.invert(listed)))):
        named = pa.array([problem] * len(rows), pa.string())
        parts.append(pa.table({"image_id": rows["image_id"], "problem": named, "uri": rows["uri"]}))
    return pa.concat_tables(parts)


def write(output: str, found: pa.Table) -> str:
    """Write the differences beside a manifest; their URI."""
    uri = storage.join(output, FILE)
    parquet.write_csv(uri, found)
    return uri


def describe_check(found: pa.Table) -> str:
    """How many of each, with the first few."""
    lines = []
    for problem, meaning in (("missing", "in a table, not in storage"), ("unlisted", "in storage, in no table")):
        ids = found.filter(pc.equal(found["problem"], problem))["image_id"]
        examples = ", ".join(ids[:EXAMPLES].to_pylist())
        lines.append(f"{len(ids):,} {problem} ({meaning}){': ' + examples if examples else ''}")
    return "\n".join(lines)
