"""Selects images from manifests of whole datasets by the paper's rules (section 3.1).

The text asks for frontal PA and AP images; all images of pneumonia, and all with a marked disease; about 50% more
unhealthy than healthy images; views in balance as far as possible, more AP from CheXpert; all COVID-19 images. Table 1
gives the number of healthy images of each database and view, which are the targets here. The rest of Table 1
contradicts the text (2.06 times as many unhealthy as healthy) and Table 3, and is not a target.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from comit_ray.data.manifest.paper_tables import DATASETS, HEALTHY
from comit_ray.errors import ManifestError, Reason
from comit_ray.tables.manifest_schema import MANIFEST

PNEUMONIA = "Pneumonia"
"""The finding's name in ChestX-ray14 and CheXpert."""
UNHEALTHY_PER_HEALTHY = 1.5


def select_paper(table: pa.Table, seed: int, datasets: Mapping[str, str] = DATASETS) -> pa.Table:
    """Marks the rows that the paper's protocol does not take: `excluded` = `not_in_protocol`, where nothing else is.

    For each of `datasets` and each of PA and AP it takes as many healthy images as Table 1 has, or all if there are
    fewer; all unhealthy ones with pneumonia, a disease mask or COVID-19; and other unhealthy ones until there are one
    and a half times as many as chosen healthy ones. The draw depends on the seed and the image's id alone. Rows of
    unknown health and of other views are not taken. Other datasets are kept whole. Marks of an earlier selection are
    cleared; rows that are excluded for another reason stay so and count as absent, so resolve duplicates first.

    Args:
        table: manifest.
        seed: seed of the draw.
        datasets: `dataset` of the rows -> name of the database in Table 1.

    Raises:
        ManifestError: if the table has none of the datasets, so nothing would be selected.
    """
    present = table["dataset"].unique().to_pylist()
    if not set(datasets) & set(present):
        raise ManifestError(
            f"expected rows of {' or '.join(datasets)} to select from, got datasets {', '.join(present)}; the protocol "
            "knows them by these names (--name)"
        )
    concerned = pc.is_in(table["dataset"], pa.array(list(datasets), pa.string())).to_numpy()
    again = concerned & pc.fill_null(pc.equal(table["excluded"], str(Reason.NOT_IN_PROTOCOL)), False).to_numpy()
    usable = pc.is_null(table["excluded"]).to_numpy() | again
    wanted = _wanted(table)
    chosen = ~concerned
    for dataset, database in datasets.items():
        for view, target in HEALTHY[database].items():
            rows = pc.and_(pc.equal(table["dataset"], dataset), pc.equal(table["view"], str(view))).to_numpy() & usable
            healthy = _drawn(table, np.flatnonzero(rows & _is(table, "unhealthy", 0)), target, seed)
            ill = rows & _is(table, "unhealthy", 1)
            missing = int(len(healthy) * UNHEALTHY_PER_HEALTHY) - int((ill & wanted).sum())
            chosen[healthy] = True
            chosen |= ill & wanted
            chosen[_drawn(table, np.flatnonzero(ill & ~wanted), missing, seed)] = True
    reasons = pc.if_else(pa.array(again), pa.scalar(None, pa.string()), table["excluded"])
    reasons = pc.if_else(pa.array(usable & ~chosen), str(Reason.NOT_IN_PROTOCOL), reasons)
    index = MANIFEST.get_field_index("excluded")
    return table.set_column(index, MANIFEST.field(index), reasons)


def _wanted(table: pa.Table) -> NDArray[np.bool_]:
    """Returns the rows that are taken if they are unhealthy, whatever their number."""
    wanted: NDArray[np.bool_] = pc.is_valid(table["disease_mask"]).to_numpy() | _is(table, "covid", 1)
    findings = table["findings"].combine_chunks()
    named = pc.equal(pc.list_flatten(findings), PNEUMONIA)
    wanted[pc.list_parent_indices(findings).filter(named).to_numpy()] = True
    return wanted


def _is(table: pa.Table, label: str, value: int) -> NDArray[np.bool_]:
    rows: NDArray[np.bool_] = pc.fill_null(pc.equal(table[label], value), False).to_numpy()
    return rows


def _drawn(table: pa.Table, rows: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Returns `count` of the rows, or all if there are fewer, the first in the order of a hash of seed and id."""
    names = table["image_id"].take(pa.array(rows)).to_pylist()
    keys = [hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).digest() for name in names]
    order = sorted(range(len(rows)), key=keys.__getitem__)
    return rows[order[: max(count, 0)]]
