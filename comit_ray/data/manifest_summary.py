"""What a manifest holds, counted: for the person who made it."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_GROUPS = ["dataset", "view", "label", "masks", "excluded", "split"]
_LABELS = ["unknown", "not covid", "healthy", "unhealthy", "other disease", "covid"]


def counts(table: pa.Table) -> pd.DataFrame:
    """Images and patients by dataset, view, label, masks, exclusion and split, one row a group that is not empty."""
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


def describe(table: pa.Table) -> str:
    """The counts as text, and the totals by split under them."""
    excluded = len(table) - table.column("excluded").null_count
    patients = table.column("patient_id")
    known = len(patients.unique().drop_null())
    by_split = {item["values"]: item["counts"] for item in pc.value_counts(table.column("split")).to_pylist()}
    splits = ", ".join(f"{by_split.get(name, 0):,} {name}" for name in ("train", "val", "test"))
    return (
        f"{counts(table).to_string(index=False)}\n\n"
        f"{len(table):,} images of {known:,} patients ({patients.null_count:,} images without a patient): "
        f"{splits}, {excluded:,} excluded"
    )


def _label(table: pa.Table) -> pa.ChunkedArray:
    """Index into `_LABELS` of each row: the one word for three labels."""
    unhealthy, covid, other = (table[name] for name in ("unhealthy", "covid", "other"))
    code = pc.if_else(pc.is_null(covid), 0, 1)
    code = pc.if_else(pc.fill_null(pc.equal(unhealthy, 0), False), 2, code)
    code = pc.if_else(pc.fill_null(pc.equal(unhealthy, 1), False), 3, code)
    code = pc.if_else(pc.fill_null(pc.equal(other, 1), False), 4, code)
    return pc.if_else(pc.fill_null(pc.equal(covid, 1), False), 5, code)


def _masks(table: pa.Table) -> pa.ChunkedArray:
    lung, disease = (pc.cast(pc.is_valid(table[name]), pa.int8()) for name in ("lung_mask", "disease_mask"))
    return pc.add(lung, pc.multiply(disease, pa.scalar(2, pa.int8())))
