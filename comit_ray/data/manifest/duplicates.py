"""Handles near-duplicates in a manifest: keeps one row per picture, and one split per patient.

The same picture in **different datasets** is kept once, so that a patient is not counted twice. The row with most
annotations stays; nothing of the other row is carried over. Where two such rows contradict each other in a label both
stay, since nobody can tell here which is right: the table of pairs says so. The same picture twice **inside one
dataset** stays too: what its rows mean is the source's business.

Whoever shares a picture, the same or nearly, shares a `split_group`, inside a dataset as well, so that no model is
tested on a picture it was trained on.

Which images show the same picture, and which nearly the same: candidates by hash, decided by thumbnails.

`same` is the picture itself, resized, recompressed or in another brightness; `near` one that was cropped or turned a
little as well, or another film of the same patient in the same position.

The thresholds were chosen on 1,260 public radiographs and altered copies of 187. Of their 792,330 pairs of different
patients none is taken for alike; 18 have hashes within `near_bits` (2 in 100,000), none within `same_bits`. Found are
all copies at JPEG quality 20, resized to 224 px, of gamma 0.6 to 1.6, with text burned in, letterboxed, or cropped by
2% on every side; 99% of those cropped by 3% on every side, 94% of the equalised, 89% of those too bright in places;
but only 38% of those cropped by 5% on every side. A negative or a mirror image is never found.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from comit_ray.data.manifest.fingerprint import Pictures, unpack
from comit_ray.data.manifest.matching import aligned, find_pairs, in_place
from comit_ray.errors import ManifestError, Reason
from comit_ray.storage import storage
from comit_ray.storage.threads import map_ahead
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.vocabulary import View

_BATCH = 256  # pairs of thumbnails that one thread compares at a time
_THREADS = os.cpu_count() or 1


@dataclass(frozen=True)
class SimilarityThresholds:
    """When two pictures count as alike.

    Args:
        same_bits: of 256, in which the hashes of the same picture may differ.
        same_correlation: its thumbnails have at least, as they lie.
        near_bits: as `same_bits`, of nearly the same pictures.
        near_correlation: their thumbnails have at least, after alignment.
    """

    same_bits: int = 32
    same_correlation: float = 0.93
    near_bits: int = 54
    near_correlation: float = 0.90


CHOSEN = SimilarityThresholds()
"""Chosen on public radiographs; `tests/data/manifest/test_look_alikes.py` holds them to it."""


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of rows, first < second, in this order, each once.

    Args:
        first: int64 (P,).
        second: int64 (P,).
        distance: uint16 (P,), bits of 256 in which the hashes differ.
        correlation: float32 (P,) of the thumbnails: of the same picture as they lie, else after alignment.
        same: bool (P,): the same picture, else nearly the same.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.uint16]
    correlation: NDArray[np.float32]
    same: NDArray[np.bool_]


def find(fingerprints: pa.ChunkedArray, thresholds: SimilarityThresholds) -> NearDuplicates:
    """All pairs of rows whose pictures are the same or nearly the same; a null fingerprint is like nothing.

    Raises:
        ManifestError: if a value is no fingerprint, or there are more pairs than `hash_search.MAX_PAIRS`.
    """
    pictures = unpack(fingerprints)
    one, other, distance = find_pairs(pictures.hashes, max(thresholds.same_bits, thresholds.near_bits), _THREADS)
    apart = pictures.row[one] != pictures.row[other]  # not the whole and the trimmed picture of one image
    one, other, distance = one[apart], other[apart], distance[apart]
    correlation = _compare(pictures, one, other, in_place)
    same = (distance <= thresholds.same_bits) & (correlation >= thresholds.same_correlation)
    rest = np.flatnonzero(~same)
    correlation[rest] = _compare(pictures, one[rest], other[rest], aligned)
    near = (distance <= thresholds.near_bits) & (correlation >= thresholds.near_correlation)
    alike = np.flatnonzero(same | near)
    found = NearDuplicates(
        pictures.row[one[alike]], pictures.row[other[alike]], distance[alike], correlation[alike], same[alike]
    )
    return _best(found)


def _compare(
    pictures: Pictures,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    correlate: Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.floating]],
) -> NDArray[np.float32]:
    """Correlation of each pair of records; which of the two is moved depends on their hashes, not on their order."""
    keys = pictures.hashes.view(f"S{pictures.hashes.itemsize * pictures.hashes.shape[1]}")[:, 0]

    def batch(start: int) -> NDArray[np.floating]:
        part = slice(start, start + _BATCH)
        swapped = keys[other[part]] < keys[one[part]]
        moved = np.where(swapped, other[part], one[part])
        fixed = np.where(swapped, one[part], other[part])
        return correlate(pictures.thumbnails[moved], pictures.thumbnails[fixed])

    with ThreadPoolExecutor(_THREADS) as pool:
        compared = map_ahead(pool, batch, range(0, len(one), _BATCH), 2 * _THREADS)
        return np.concatenate([np.empty(0, np.float32), *compared])


def _best(found: NearDuplicates) -> NearDuplicates:
    """Of the pairs of records of two rows, the one that is most alike."""
    order = np.lexsort((found.distance, -found.correlation, ~found.same, found.second, found.first))
    first, second = found.first[order], found.second[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    kept = order[new]
    return NearDuplicates(
        found.first[kept], found.second[kept], found.distance[kept], found.correlation[kept], found.same[kept]
    )


FILE = "duplicates.csv"
PAIRS = pa.schema(
    [
        pa.field("image_id_a", pa.string(), nullable=False),
        pa.field("image_id_b", pa.string(), nullable=False),
        pa.field("dataset_a", pa.string(), nullable=False),
        pa.field("dataset_b", pa.string(), nullable=False),
        pa.field("distance", pa.uint16(), nullable=False),
        pa.field("correlation", pa.float32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("kept", pa.string()),
        pa.field("removed", pa.string()),
        pa.field("labels_agree", pa.bool_(), nullable=False),
    ]
)
"""One row a pair, the same picture first: bits of 256 in which the hashes differ, correlation of the thumbnails, `same`
or `near`, the image that is kept and the one that is excluded because of it (null: both stay, or another is kept for
it), and whether no label contradicts (unknown contradicts nothing)."""

_LABELS = ("unhealthy", "covid", "other")
_KNOWN = ("lung_mask", "disease_mask", "patient_id")


@dataclass(frozen=True)
class Resolution:
    """A manifest and the images in it that look alike.

    Args:
        table: the manifest with `excluded` and `split_group` brought up to date, its rows in their order.
        pairs: of the schema `PAIRS`.
        compared: images that had a picture to compare.
    """

    table: pa.Table
    pairs: pa.Table
    compared: int


def resolve(
    table: pa.Table, fingerprints: pa.Table, thresholds: SimilarityThresholds = CHOSEN, exclude: bool = True
) -> Resolution:
    """Find images that look alike, keep one row of a picture that several datasets have, and group patients.

    A row is excluded (`duplicate`) only because of a row of another dataset that shows the same picture itself, is
    used and stays. It is the one with fewer known labels; then with fewer masks, patient and view known; then that of
    the dataset that comes later in the table. Rows that are excluded already stay as they are and replace none.

    `split_group` is the smallest patient of the group, or the smallest image if it has no patient; all rows of the
    group's patients bear it. Groups the table has already stay together.

    Args:
        table: a manifest.
        fingerprints: `image_id` and `fingerprint` of the same rows in the same order, null where there is no picture.
        thresholds: when two pictures count as alike.
        exclude: whether to exclude anything; groups are made all the same.

    Raises:
        ManifestError: if the fingerprints are not those of the table's rows, or too many images look alike.
    """
    if not fingerprints["image_id"].equals(table["image_id"]):
        raise ManifestError(
            f"expected one fingerprint for each of the manifest's {len(table):,} images, in their order, got "
            f"{len(fingerprints):,} that are not theirs"
        )
    found = find(fingerprints["fingerprint"], thresholds)
    agree = _labels_agree(table, found)
    kept_for = _kept_for(table, found, agree) if exclude else np.full(len(table), -1)
    reasons = pc.if_else(pa.array(kept_for >= 0), str(Reason.DUPLICATE), table["excluded"])
    resolved = _replaced(_replaced(table, "split_group", _split_groups(table, found)), "excluded", reasons)
    compared = len(table) - fingerprints["fingerprint"].null_count
    return Resolution(resolved, _pairs(table, found, agree, kept_for), compared)


def write(output: str, pairs: pa.Table) -> str:
    """Write the pairs beside a manifest, as CSV; their URI."""
    uri = storage.join(output, FILE)
    parquet.write_csv(uri, pairs)
    return uri


def describe(found: Resolution) -> str:
    """What was found and done, in a few lines."""
    pairs, table = found.pairs, found.table
    apart = pc.not_equal(pairs["dataset_a"], pairs["dataset_b"])
    contradicting = pairs.filter(pc.invert(pairs["labels_agree"]))
    groups = table["split_group"].drop_null()
    lines = [
        f"{found.compared:,} of {len(table):,} images compared: {len(pairs):,} pairs look alike",
        f"  {len(pairs['removed'].drop_null().unique()):,} images excluded as duplicates",
        f"  {len(groups):,} images in {len(groups.unique()):,} split groups",
    ]
    for kind, meaning in (("same", "the same picture"), ("near", "nearly the same picture")):
        of_kind = pc.equal(pairs["kind"], kind)
        across = pc.sum(pc.and_(of_kind, apart), min_count=0).as_py()
        lines.append(f"  {pc.sum(of_kind, min_count=0).as_py():,} {kind} ({meaning}), {across:,} across datasets")
    if len(contradicting):
        first = contradicting.slice(0, 1).to_pylist()[0]
        lines.append(
            f"  {len(contradicting):,} contradict each other in a label, both images stay: "
            f"{first['image_id_a']} and {first['image_id_b']}" + (" ..." if len(contradicting) > 1 else "")
        )
    return "\n".join(lines)


def _labels_agree(table: pa.Table, found: NearDuplicates) -> NDArray[np.bool_]:
    """Whether no label is 1 in one row of a pair and 0 in the other."""
    agree = np.ones(len(found.first), np.bool_)
    for name in _LABELS:
        values = pc.fill_null(table[name], -1).to_numpy()
        one, other = values[found.first], values[found.second]
        agree &= (one == other) | (one < 0) | (other < 0)
    return agree


def _kept_for(table: pa.Table, found: NearDuplicates, agree: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each row the row that is kept instead of it, or -1.

    Best rows first, each that is still there removes those it makes superfluous. So a removed row always shows the same
    picture as the row kept for it, not only as one that shows the same picture as that one.
    """
    dataset, used = _codes(table["dataset"]), pc.is_null(table["excluded"]).to_numpy()
    counts = found.same & agree & used[found.first] & used[found.second]
    counts &= dataset[found.first] != dataset[found.second]
    rank = _rank(table, dataset)
    others: dict[int, list[int]] = {}
    for one, other in zip(found.first[counts].tolist(), found.second[counts].tolist(), strict=True):
        others.setdefault(one, []).append(other)
        others.setdefault(other, []).append(one)
    kept_for = np.full(len(table), -1)
    for row in sorted(others, key=rank.__getitem__):
        if kept_for[row] < 0:
            for other in others[row]:
                if kept_for[other] < 0:
                    kept_for[other] = row
    return kept_for


def _rank(table: pa.Table, dataset: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each row, 0 the best: by known labels, by what else is known, by dataset, by order."""
    labels = sum(pc.is_valid(table[name]).to_numpy().astype(np.int64) for name in _LABELS)
    known = sum(pc.is_valid(table[name]).to_numpy().astype(np.int64) for name in _KNOWN)
    known += pc.not_equal(table["view"], str(View.UNKNOWN)).to_numpy()
    rank = np.empty(len(table), np.int64)
    rank[np.lexsort((dataset, -known, -labels))] = np.arange(len(table))
    return rank


def _pairs(table: pa.Table, found: NearDuplicates, agree: NDArray[np.bool_], kept_for: NDArray[np.int64]) -> pa.Table:
    order = np.lexsort((found.second, found.first, ~found.same))
    first, second = found.first[order], found.second[order]
    removed = np.where(kept_for[second] == first, second, np.where(kept_for[first] == second, first, -1))
    kept = np.where(removed == second, first, second)
    names, datasets = table["image_id"], table["dataset"]
    columns = {
        "image_id_a": names.take(pa.array(first)),
        "image_id_b": names.take(pa.array(second)),
        "dataset_a": datasets.take(pa.array(first)),
        "dataset_b": datasets.take(pa.array(second)),
        "distance": found.distance[order],
        "correlation": found.correlation[order],
        "kind": np.where(found.same[order], "same", "near"),
        "kept": names.take(pa.array(kept, mask=removed < 0)),
        "removed": names.take(pa.array(removed, mask=removed < 0)),
        "labels_agree": agree[order],
    }
    return pa.table(columns).cast(PAIRS)


def _split_groups(table: pa.Table, found: NearDuplicates) -> pa.Array:
    """The group of every row; null where a patient shares no picture with another."""
    patient, group = _codes(table["patient_id"]), _codes(table["split_group"])
    count = len(table)
    # Nodes: the patients, the rows (for those without a patient), the groups there were.
    node = np.where(patient >= 0, patient, patient.max(initial=-1) + 1 + np.arange(count))
    grouped = np.flatnonzero(group >= 0)
    group_node = patient.max(initial=-1) + 1 + count + group[grouped]
    ends = np.concatenate([node[found.first], node[grouped]]), np.concatenate([node[found.second], group_node])
    nodes = int(max(node.max(initial=-1), group_node.max(initial=-1))) + 1
    _, component = connected_components(
        coo_array((np.ones(len(ends[0]), np.int8), ends), (nodes, nodes)), directed=False
    )
    members = np.bincount(component[np.unique(np.concatenate([node, group_node]))], minlength=nodes)
    together = pa.array(members[component[node]] > 1)
    rows = pa.table({"component": component[node], "patient": table["patient_id"], "image": table["image_id"]})
    smallest = rows.filter(together).group_by("component").aggregate([("patient", "min"), ("image", "min")])
    names = pc.coalesce(smallest["patient_min"], smallest["image_min"]).combine_chunks()
    index = pc.index_in(rows["component"], smallest["component"].combine_chunks())
    return names.take(index.combine_chunks())


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A number for every value, in order of appearance; -1 for null."""
    codes = pc.index_in(column, column.unique().drop_null(), skip_nulls=True)
    numbers: NDArray[np.int64] = pc.fill_null(codes, -1).to_numpy().astype(np.int64)
    return numbers


def _replaced(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    index = MANIFEST.get_field_index(name)
    return table.set_column(index, MANIFEST.field(index), values.cast(pa.string()))
