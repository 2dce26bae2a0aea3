"""Handles near-duplicates in a manifest: keeps one row per picture, and one split per patient.

A picture in **different datasets** is kept once, so that a patient is not counted twice. The row with most annotations
stays; it takes nothing over from the other row. If two such rows contradict each other in a label, both stay, since
nothing here tells which one is right; the table of pairs says so. A picture that occurs twice **inside one dataset**
stays twice: what its rows mean is the source's business.

Patients who share a picture, the same or nearly the same, share a `split_group`, also inside a dataset. So no model is
tested on a picture that it was trained on.

Hashes find the candidates; thumbnails decide which images show the same picture and which nearly the same.

`same` is the picture itself, resized, recompressed or at another brightness. `near` is a picture that was also cropped
or turned a little, or another radiograph of the same patient in the same position.

The thresholds were chosen on 1,260 public radiographs and altered copies of 187 of them. None of their 792,330 pairs of
different patients is taken for alike; 18 have hashes within `near_bits` (2 in 100,000), none within `same_bits`. All
copies are found at JPEG quality 20, resized to 224 px, of gamma 0.6 to 1.6, with text burned in, letterboxed, or
cropped by 2% on every side; 99% of those cropped by 3% on every side, 94% of the equalised, 89% of those too bright in
places; but only 38% of those cropped by 5% on every side. A negative or a mirror image is never found.
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
    """The thresholds at which two pictures count as alike.

    Attributes:
        same_bits: most bits of 256 in which the hashes of the same picture may differ.
        same_correlation: least correlation (-1..1) of the thumbnails of the same picture, not aligned.
        near_bits: most bits of 256 in which the hashes of nearly the same pictures may differ.
        near_correlation: least correlation (-1..1) of the thumbnails of nearly the same pictures, after alignment.
    """

    same_bits: int = 32
    same_correlation: float = 0.93
    near_bits: int = 54
    near_correlation: float = 0.90


CHOSEN = SimilarityThresholds()
"""Thresholds chosen on public radiographs; `tests/data/manifest/test_look_alikes.py` checks what they find."""


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of rows that look alike, each pair once, sorted by first and second row; first < second.

    Attributes:
        first: int64 (P,), first row of each pair.
        second: int64 (P,), second row of each pair.
        distance: uint16 (P,), bits of 256 in which the hashes differ.
        correlation: float32 (P,), correlation of the thumbnails; not aligned for `same` pairs, aligned for the others.
        same: bool (P,), True for the same picture, False for nearly the same.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.uint16]
    correlation: NDArray[np.float32]
    same: NDArray[np.bool_]


def find(fingerprints: pa.ChunkedArray, thresholds: SimilarityThresholds) -> NearDuplicates:
    """Returns all pairs of rows whose pictures are the same or nearly the same; a null fingerprint matches nothing.

    Raises:
        ManifestError: if a value is not a fingerprint, or there are more pairs than `matching.MAX_PAIRS`.
    """
    pictures = unpack(fingerprints)
    one, other, distance = find_pairs(pictures.hashes, max(thresholds.same_bits, thresholds.near_bits), _THREADS)
    apart = pictures.row[one] != pictures.row[other]  # leaves out the whole and the trimmed picture of one image
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
    """Returns the correlation of each pair of records; the hashes, not the order, decide which record is moved."""
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
    """Returns for each pair of rows the pair of records that is most alike."""
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
"""One row per pair, the same pictures first: bits of 256 in which the hashes differ, correlation of the thumbnails,
`same` or `near`, the image that is kept and the one that is excluded because of it (null: both stay, or a third image
replaces one of them), and whether no label contradicts (an unknown label contradicts nothing)."""

_LABELS = ("unhealthy", "covid", "other")
_KNOWN = ("lung_mask", "disease_mask", "patient_id")


@dataclass(frozen=True)
class Resolution:
    """A manifest and the images in it that look alike.

    Attributes:
        table: the manifest with new `excluded` and `split_group`, its rows in their old order.
        pairs: table of the schema `PAIRS`.
        compared: number of images that had a picture to compare.
    """

    table: pa.Table
    pairs: pa.Table
    compared: int


def resolve(
    table: pa.Table, fingerprints: pa.Table, thresholds: SimilarityThresholds = CHOSEN, exclude: bool = True
) -> Resolution:
    """Finds images that look alike, keeps one row of a picture that several datasets have, and groups patients.

    A row is excluded (`duplicate`) only because of a row of another dataset that shows the same picture, is used and
    stays. The excluded row is the one with fewer known labels; then with fewer masks, patient and view known; then of
    the dataset that comes later in the table. Rows that were excluded before stay excluded and replace none.

    `split_group` is the smallest patient id of the group, or the smallest image id if it has no patient; all rows of
    the group's patients carry it. Groups that the table already has stay together.

    Args:
        table: manifest.
        fingerprints: `image_id` and `fingerprint` of the same rows in the same order, null where there is no picture.
        thresholds: when two pictures count as alike.
        exclude: whether to exclude duplicates; groups are made in any case.

    Raises:
        ManifestError: if the fingerprints do not belong to the table's rows, or too many images look alike.
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
    """Writes the pairs beside a manifest as CSV, and returns the URI."""
    uri = storage.join(output, FILE)
    parquet.write_csv(uri, pairs)
    return uri


def describe(found: Resolution) -> str:
    """Returns a few lines that say what was found and done."""
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
    """Returns for each pair whether no label is 1 in one row and 0 in the other."""
    agree = np.ones(len(found.first), np.bool_)
    for name in _LABELS:
        values = pc.fill_null(table[name], -1).to_numpy()
        one, other = values[found.first], values[found.second]
        agree &= (one == other) | (one < 0) | (other < 0)
    return agree


def _kept_for(table: pa.Table, found: NearDuplicates, agree: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns for each row the row that is kept instead of it, or -1.

    The best rows go first; each that is still there removes the rows that show its picture. So a removed row always
    shows the same picture as the row kept for it, and is never linked to it only through a third row.
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
    """Returns each row's rank, 0 the best: by known labels, by what else is known, by dataset, by order."""
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
    """Returns the group of every row; null where a patient shares no picture with another."""
    patient, group = _codes(table["patient_id"]), _codes(table["split_group"])
    count = len(table)
    # Nodes: the patients, the rows (for those without a patient), the earlier groups.
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
    """Returns a number for every value, in order of appearance; -1 for null."""
    codes = pc.index_in(column, column.unique().drop_null(), skip_nulls=True)
    numbers: NDArray[np.int64] = pc.fill_null(codes, -1).to_numpy().astype(np.int64)
    return numbers


def _replaced(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    index = MANIFEST.get_field_index(name)
    return table.set_column(index, MANIFEST.field(index), values.cast(pa.string()))
