"""Lists files that tables name but storage lacks, and files that no table names, as a CSV.

It also counts what a manifest holds, as a text for its author.
"""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.errors import Reason
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.vocabulary import counted

FILE = "check.csv"
EXAMPLES = 3


def differences(table: pa.Table, listed: pa.Array) -> pa.Table:
    """Returns one row per difference: `image_id`, `problem` (missing or unlisted), `uri`.

    Args:
        table: rows of one source, absent files marked `missing`.
        listed: whether a table of the source names each row.
    """
    missing = pc.fill_null(pc.equal(table["excluded"], str(Reason.MISSING)), False)
    parts = []
    for problem, rows in (("missing", table.filter(missing)), ("unlisted", table.filter(pc.invert(listed)))):
        named = pa.array([problem] * len(rows), pa.string())
        parts.append(pa.table({"image_id": rows["image_id"], "problem": named, "uri": rows["uri"]}))
    return pa.concat_tables(parts)


def write(output: str, found: pa.Table) -> str:
    """Writes the differences beside a manifest, and returns the URI."""
    uri = storage.join(output, FILE)
    parquet.write_csv(uri, found)
    return uri


def describe_check(found: pa.Table) -> str:
    """Returns the number of differences of each kind, with the first few as examples."""
    lines = []
    for problem, meaning in (("missing", "in a table, not in storage"), ("unlisted", "in storage, in no table")):
        ids = found.filter(pc.equal(found["problem"], problem))["image_id"]
        examples = ", ".join(ids[:EXAMPLES].to_pylist())
        lines.append(f"{len(ids):,} {problem} ({meaning}){': ' + examples if examples else ''}")
    return "\n".join(lines)


_GROUPS = ["dataset", "view", "label", "masks", "excluded", "split"]
_LABELS = ["unknown", "not covid", "healthy", "unhealthy", "other disease", "covid"]


def counts(table: pa.Table) -> pd.DataFrame:
    """Counts images and patients by dataset, view, label, masks, exclusion and split; one row per non-empty group."""
    code = pa.array(_LABELS, pa.string())
    rows = pa.table(
        {
            "dataset": table["dataset"],
            "view": table["view"],
            "label": code.take(_label(table)),
            "masks": pa.array(["-", "lung", "disease", "lung+disease"]).take(_masks(table)),
            "excluded": pc.fill_null(table["excluded"], "-"),
            "split": pc.fill_null(table["split"], "-"),
            "patient_id": table["patient_id"],
        }
    )
    grouped = rows.group_by(_GROUPS).aggregate([("dataset", "count"), ("patient_id", "count_distinct")])
    frame: pd.DataFrame = grouped.to_pandas()
    frame = frame.rename(columns={"dataset_count": "images", "patient_id_count_distinct": "patients"})
    return frame[[*_GROUPS, "images", "patients"]].sort_values(_GROUPS).reset_index(drop=True)


def describe_manifest(table: pa.Table) -> str:
    """Returns the counts as text, followed by the totals by split."""
    excluded = len(table) - table.column("excluded").null_count
    patients = table.column("patient_id")
    known = len(patients.unique().drop_null())
    by_split = {item["values"]: item["counts"] for item in pc.value_counts(table.column("split")).to_pylist()}
    splits = ", ".join(f"{by_split.get(name, 0):,} {name}" for name in ("train", "val", "test"))
    if not known:  # a user who only screens needs neither split nor patients
        merged = counts(table).groupby([name for name in _GROUPS if name != "split"], sort=False)["images"].sum()
        return (
            f"{merged.reset_index().to_string(index=False)}\n\n"
            f"{counted(len(table), 'image')}, {excluded:,} excluded; it is not known which patients they belong to. A "
            "screen needs no patients. A training would never validate or test on such images"
        )
    return (
        f"{counts(table).to_string(index=False)}\n\n"
        f"{counted(len(table), 'image')} of {counted(known, 'patient')} "
        f"({counted(patients.null_count, 'image')} without a patient): {splits}, {excluded:,} excluded"
    )


def _label(table: pa.Table) -> pa.ChunkedArray:
    """Returns for each row the index into `_LABELS` of the one word that sums up its three labels."""
    unhealthy, covid, other = (table[name] for name in ("unhealthy", "covid", "other"))
    code = pc.if_else(pc.is_null(covid), 0, 1)
    code = pc.if_else(pc.fill_null(pc.equal(unhealthy, 0), False), 2, code)
    code = pc.if_else(pc.fill_null(pc.equal(unhealthy, 1), False), 3, code)
    code = pc.if_else(pc.fill_null(pc.equal(other, 1), False), 4, code)
    return pc.if_else(pc.fill_null(pc.equal(covid, 1), False), 5, code)


def _masks(table: pa.Table) -> pa.ChunkedArray:
    lung, disease = (pc.cast(pc.is_valid(table[name]), pa.int8()) for name in ("lung_mask", "disease_mask"))
    return pc.add(lung, pc.multiply(disease, pa.scalar(2, pa.int8())))
