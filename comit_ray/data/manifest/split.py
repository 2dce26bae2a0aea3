"""Divides patients into train, val and test: stratified, and reproducible from the same rows and seed.

All images of a patient go into one split. The patients of a dataset are grouped into strata (label, views, masks) and
sorted by a hash of seed and name, which does not depend on the order of the rows. They are dealt out stratum by
stratum, so each share holds within about one patient in every stratum and over the dataset. Datasets are dealt one by
one. Adding or excluding a patient of a dataset moves others; so a merge keeps the split of its inputs (`keep_source`),
and a model never meets its training patients in a test.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.config.manifest_config import SplitConfig
from comit_ray.tables.vocabulary import Split

_BATCH = 65_536  # patients held twice, by Arrow and as Python objects


_LABELS = ("covid", "unhealthy", "healthy", "unknown")
"""Labels, the rarest first: a patient with several labels counts as the first of them."""
_SIDES: list[Split | None] = [None, *Split]


@dataclass(frozen=True, slots=True)
class _Patient:
    """What the strata need of a patient or of a group of patients, over all used images."""

    datasets: tuple[str, ...]
    stratum: tuple[str, ...]
    sides: frozenset[Split | None]


def assign(table: pa.Table, config: SplitConfig, source_split: pa.Array | None = None) -> pa.Array:
    """Returns the split of every row of a manifest, as strings of `Split`; null for excluded rows.

    A row without a patient trains, since nobody can tell whether its patient has other images. It joins val or test
    only if its whole source lies there: by the source's own lists (`keep_source`), or because one share is 1. Patients
    of one `split_group` go into one split; a group that has rows without a patient trains.

    With `keep_source`, rows of a dataset with its own split keep that split, and new rows of a patient or a group
    join it; patients or groups whose images lie in several splits train. If the source has no val, val is drawn from
    the patients of its train part, with the share `val / (train + val)`. Datasets without a split of their own are
    divided as usual.

    Args:
        table: manifest; its own `split` column is ignored.
        config: shares, seed and whether to keep a source's split.
        source_split: the source's own split of each row, null where it has none.
    """
    kept = source_split if config.keep_source and source_split is not None else pa.nulls(len(table), pa.string())
    rows = pa.table(
        {
            "key": _keys(table),
            "without_patient": pc.is_null(table["patient_id"]),
            "dataset": table["dataset"],
            "view": table["view"],
            "label": _labels(table),
            "lung": pc.is_valid(table["lung_mask"]),
            "disease": pc.is_valid(table["disease_mask"]),
            "side": pc.fill_null(pc.index_in(kept, pa.array([str(side) for side in Split])), -1),
        }
    )
    used = pc.is_null(table["excluded"])
    counted = _kept(rows, used)
    decided = _decide(_patients(counted), config)
    for name in counted.filter(pc.and_(counted["without_patient"], pc.is_valid(counted["key"])))["key"].unique():
        decided[name.as_py()] = Split.TRAIN
    # Two look-ups serve all rows: the split of each key, and of each dataset for the rows without a key.
    by_key = _look_up(rows["key"], decided)
    alone = pc.fill_null(_look_up(rows["dataset"], _whole_datasets(counted, config)), str(Split.TRAIN))
    split = pc.if_else(pc.is_null(rows["key"]), alone, by_key)
    result = pc.if_else(used, split, pa.scalar(None, pa.string()))
    return result.combine_chunks() if isinstance(result, pa.ChunkedArray) else result


def _kept(rows: pa.Table, mask: pa.ChunkedArray) -> pa.Table:
    """Returns the rows of `mask`, without a copy if it keeps all."""
    return rows if pc.all(mask).as_py() else rows.filter(mask)


def _keys(table: pa.Table) -> pa.ChunkedArray:
    """Returns each row's unit: its group, else its patient's group, else its patient; null if all are unknown."""
    patients, groups = table["patient_id"], table["split_group"]
    if groups.null_count == len(groups):
        return patients
    both = table.select(["patient_id", "split_group"]).filter(pc.is_valid(groups))
    pairs = both.group_by(["patient_id", "split_group"], use_threads=False).aggregate([])
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    for patient, group in zip(pairs["patient_id"].to_pylist(), pairs["split_group"].to_pylist(), strict=True):
        known = [find(f"group {group}")] + ([find(f"patient {patient}")] if patient is not None else [])
        for name in known:
            leader[name] = min(known)
    of_group = _look_up(groups, {n[6:]: find(n) for n in list(leader) if n.startswith("group ")})
    of_patient = _look_up(patients, {n[8:]: find(n) for n in list(leader) if n.startswith("patient ")})
    return pc.coalesce(of_group, of_patient, patients)


def _labels(table: pa.Table) -> pa.ChunkedArray:
    """Returns for each row the index into `_LABELS`."""
    healthy = pc.fill_null(pc.subtract(pa.scalar(2, pa.int8()), table["unhealthy"]), 3)
    return pc.if_else(pc.fill_null(pc.equal(table["covid"], 1), False), pa.scalar(0, pa.int8()), healthy)


def _look_up(keys: pa.ChunkedArray, values: Mapping[str, str]) -> pa.ChunkedArray:
    """Returns `values` at every key; null where there is none."""
    index = pc.index_in(keys, pa.array(list(values), pa.string()), skip_nulls=True)
    return pc.take(pa.array(list(values.values()), pa.string()), index)


def _patients(counted: pa.Table) -> dict[str, _Patient]:
    known = _kept(counted, pc.is_valid(counted["key"]))
    columns = [("dataset", "distinct"), ("view", "distinct"), ("label", "min"), ("lung", "any"), ("disease", "any")]
    found = known.group_by("key", use_threads=False).aggregate([*columns, ("side", "distinct")])
    patients: dict[str, _Patient] = {}
    alike: dict[_Patient, _Patient] = {}  # equal patients share one object
    for batch in found.to_batches(max_chunksize=_BATCH):
        for row in batch.to_pylist():
            datasets = tuple(sorted(row["dataset_distinct"]))
            patient = _Patient(
                datasets,
                (
                    "+".join(datasets),
                    _LABELS[row["label_min"]],
                    "+".join(sorted(row["view_distinct"])),
                    f"{row['lung_any']:d}{row['disease_any']:d}",
                ),
                frozenset(_SIDES[side + 1] for side in row["side_distinct"]),
            )
            patients[row["key"]] = alike.setdefault(patient, patient)
    return patients


def _decide(patients: dict[str, _Patient], config: SplitConfig) -> dict[str, Split]:
    with_val = {dataset for patient in patients.values() if Split.VAL in patient.sides for dataset in patient.datasets}
    decided: dict[str, Split] = {}
    free: list[str] = []
    train_part: list[str] = []
    for name, patient in patients.items():
        sides = patient.sides - {None} or patient.sides  # an image without a split joins the patient's others
        if sides == {None}:
            free.append(name)
        elif sides in ({Split.TEST}, {Split.VAL}):
            decided[name] = next(side for side in sides if side is not None)
        elif sides == {Split.TRAIN} and not with_val & set(patient.datasets):
            train_part.append(name)
        else:
            decided[name] = Split.TRAIN
    learning = config.train + config.val
    val_share = config.val / learning if learning else 0.0
    for names in _by_dataset(free, patients, config.seed):
        decided |= _deal(names, [config.test, config.val, config.train])
    for names in _by_dataset(train_part, patients, config.seed):
        decided |= _deal(names, [0.0, val_share, 1 - val_share])
    return decided


def _by_dataset(names: Iterable[str], patients: dict[str, _Patient], seed: int) -> Iterator[list[str]]:
    """Yields the names of one dataset after another, by stratum and then by a hash of seed and name."""

    def key(name: str) -> tuple[tuple[str, ...], bytes]:
        return patients[name].stratum, hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).digest()

    for _, group in groupby(sorted(names, key=key), lambda name: patients[name].stratum[0]):
        yield list(group)


def _deal(names: list[str], shares: list[float]) -> dict[str, Split]:
    """Deals `names` out: each goes to the split (test, val, train) that lags furthest behind its share so far."""
    splits = (Split.TEST, Split.VAL, Split.TRAIN)
    dealt = [0, 0, 0]
    result: dict[str, Split] = {}
    for count, name in enumerate(names, start=1):
        lag = [share * count - have for share, have in zip(shares, dealt, strict=True)]
        chosen = max(range(3), key=lag.__getitem__)
        dealt[chosen] += 1
        result[name] = splits[chosen]
    return result


def _whole_datasets(counted: pa.Table, config: SplitConfig) -> dict[str, Split]:
    """Returns the datasets that lie in one split as a whole -> that split."""
    shares = {Split.TRAIN: config.train, Split.VAL: config.val, Split.TEST: config.test}
    only = next((split for split, share in shares.items() if share == 1), None)
    result: dict[str, Split] = {}
    for row in counted.group_by("dataset").aggregate([("side", "distinct")]).to_pylist():
        sides = [_SIDES[side + 1] for side in row["side_distinct"]]
        split = sides[0] or only
        if len(sides) == 1 and split:  # one split alone, by the source's lists or by the shares
            result[row["dataset"]] = split
    return result
