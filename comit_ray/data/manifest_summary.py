"""What a manifest holds, counted: for the person who made it."""

import pandas as pd
import pyarrow as pa

_GROUPS = ["dataset", "view", "label", "masks", "excluded", "split"]


def counts(table: pa.Table) -> pd.DataFrame:
    """Images and patients by dataset, view, label, masks, exclusion and split, one row a group that is not empty."""
    frame = pd.DataFrame(
        {name: table.column(name).to_pylist() for name in ("dataset", "view", "excluded", "split", "patient_id")}
    )
    labels = zip(*(table.column(name).to_pylist() for name in ("unhealthy", "covid", "other")), strict=True)
    frame["label"] = [_label(*values) for values in labels]
    masks = zip(table.column("lung_mask").to_pylist(), table.column("disease_mask").to_pylist(), strict=True)
    frame["masks"] = [
        "+".join(name for name, mask in (("lung", lung), ("disease", disease)) if mask is not None) or "-"
        for lung, disease in masks
    ]
    frame[["excluded", "split"]] = frame[["excluded", "split"]].astype(object).fillna("-")
    grouped = frame.groupby(_GROUPS, sort=True)
    return grouped.agg(images=("dataset", "size"), patients=("patient_id", "nunique")).reset_index()


def describe(table: pa.Table) -> str:
    """The counts as text, and the totals by split under them."""
    excluded = len(table) - table.column("excluded").null_count
    patients = table.column("patient_id")
    known = len(patients.unique().drop_null())
    by_split = pd.Series(table.column("split").to_pylist(), dtype=object).value_counts()
    splits = ", ".join(f"{by_split.get(name, 0):,} {name}" for name in ("train", "val", "test"))
    return (
        f"{counts(table).to_string(index=False)}\n\n"
        f"{len(table):,} images of {known:,} patients ({patients.null_count:,} images without a patient): "
        f"{splits}, {excluded:,} excluded"
    )


def _label(unhealthy: int | None, covid: int | None, other: int | None) -> str:
    """The one word for three labels."""
    if covid == 1:
        return "covid"
    if other == 1:
        return "other disease"
    if unhealthy is None:
        return "unknown" if covid is None else "not covid"
    return "unhealthy" if unhealthy else "healthy"
