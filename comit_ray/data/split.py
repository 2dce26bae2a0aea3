"""Who trains, who validates, who tests: by patient, stratified, the same for the same rows and seed.

All images of a patient go one way. The patients of a dataset are grouped into strata (label, views, masks), put in the
order of a hash of seed and name, which does not depend on the order of the rows, and dealt out stratum after stratum so
that each share holds within about one patient in every stratum and over the dataset. Datasets are dealt one by one:
merging a dataset with others moves none of its patients, so that a model never meets its training patients in a test.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

import pyarrow as pa

from comit_ray.config import SplitConfig
from comit_ray.schema import Split

_COLUMNS = ("dataset", "patient_id", "view", "unhealthy", "covid", "lung_mask", "disease_mask", "excluded")


@dataclass
class _Patient:
    """What the strata need to know of a patient: the union over all images that are used."""

    datasets: set[str] = field(default_factory=set)
    views: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    lung_mask: bool = False
    disease_mask: bool = False
    source_splits: set[Split | None] = field(default_factory=set)

    def stratum(self) -> tuple[str, ...]:
        """Dataset first, then label, views and masks; a patient of several labels counts as the rarest."""
        label = next(label for label in ("covid", "unhealthy", "healthy", "unknown") if label in self.labels)
        masks = f"{self.lung_mask:d}{self.disease_mask:d}"
        return ("+".join(sorted(self.datasets)), label, "+".join(sorted(self.views)), masks)


def assign(table: pa.Table, config: SplitConfig, source_split: pa.Array | None = None) -> pa.Array:
    """The split of every row of a manifest, as strings of `Split`; null for excluded rows.

    A row without a patient trains: nobody can tell whether its patient has other images. It follows its source into
    val or test only if the whole source lies there: by the source's own lists (`keep_source`), or as one share is 1.

    With `keep_source`, rows of a dataset that has its own split keep it, except that a patient whose images lie on
    several sides trains; if the source knows no val, val is drawn from the patients of its train part, with
    the share `val / (train + val)`. Datasets without a split of their own are divided as usual.

    Args:
        table: a manifest; its own `split` column is not looked at.
        config: shares, seed and whether to keep a source's split.
        source_split: the source's own split of each row, null where it has none.
    """
    columns = {name: table.column(name).to_pylist() for name in _COLUMNS}
    own: list[Split | None] = [None] * len(table)
    if config.keep_source and source_split is not None:
        own = [None if value is None else Split(value) for value in source_split.to_pylist()]
    used = [index for index, reason in enumerate(columns["excluded"]) if reason is None]
    patients = _patients(columns, own, used)
    decided = _decide(patients, config)
    everywhere = _whole_datasets(columns["dataset"], own, used, config)
    result: list[str | None] = [None] * len(table)
    for index in used:
        patient = columns["patient_id"][index]
        if patient is None:
            result[index] = everywhere.get(columns["dataset"][index], Split.TRAIN).value
        else:
            result[index] = decided[patient].value
    return pa.array(result, pa.string())


def _patients(columns: dict[str, list[object]], own: list[Split | None], used: list[int]) -> dict[str, _Patient]:
    patients: dict[str, _Patient] = {}
    for index in used:
        name = columns["patient_id"][index]
        if name is None:
            continue
        patient = patients.setdefault(str(name), _Patient())
        patient.datasets.add(str(columns["dataset"][index]))
        patient.views.add(str(columns["view"][index]))
        patient.labels.add(_label(columns["unhealthy"][index], columns["covid"][index]))
        patient.lung_mask |= columns["lung_mask"][index] is not None
        patient.disease_mask |= columns["disease_mask"][index] is not None
        patient.source_splits.add(own[index])
    return patients


def _label(unhealthy: object, covid: object) -> str:
    if covid == 1:
        return "covid"
    return {1: "unhealthy", 0: "healthy"}.get(unhealthy, "unknown") if isinstance(unhealthy, int) else "unknown"


def _decide(patients: dict[str, _Patient], config: SplitConfig) -> dict[str, Split]:
    with_val = {
        dataset for patient in patients.values() if Split.VAL in patient.source_splits for dataset in patient.datasets
    }
    decided: dict[str, Split] = {}
    free: list[str] = []
    train_part: list[str] = []
    for name, patient in patients.items():
        sides = patient.source_splits
        if sides == {None}:
            free.append(name)
        elif sides in ({Split.TEST}, {Split.VAL}):
            decided[name] = next(side for side in sides if side is not None)
        elif sides == {Split.TRAIN} and not patient.datasets & with_val:
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
    """Names of one dataset after another: stratum by stratum, inside one in the order of a hash of seed and name."""

    def key(name: str) -> tuple[tuple[str, ...], bytes]:
        return patients[name].stratum(), hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).digest()

    for _, group in groupby(sorted(names, key=key), lambda name: patients[name].stratum()[0]):
        yield list(group)


def _deal(names: list[str], shares: list[float]) -> dict[str, Split]:
    """Deal `names` out: each goes to the split (test, val, train) that lags furthest behind its share so far."""
    splits = (Split.TEST, Split.VAL, Split.TRAIN)
    dealt = [0, 0, 0]
    result: dict[str, Split] = {}
    for count, name in enumerate(names, start=1):
        lag = [share * count - have for share, have in zip(shares, dealt, strict=True)]
        chosen = max(range(3), key=lag.__getitem__)
        dealt[chosen] += 1
        result[name] = splits[chosen]
    return result


def _whole_datasets(
    datasets: list[object], own: list[Split | None], used: list[int], config: SplitConfig
) -> dict[object, Split]:
    """Datasets that lie in one split as a whole, and which."""
    sides: dict[object, set[Split | None]] = {}
    for index in used:
        sides.setdefault(datasets[index], set()).add(own[index])
    shares = {Split.TRAIN: config.train, Split.VAL: config.val, Split.TEST: config.test}
    only = next((split for split, share in shares.items() if share == 1), None)
    result: dict[object, Split] = {}
    for dataset, found in sides.items():
        split = found.pop() or only
        if not found and split:  # one side alone, by the source's lists or by the shares
            result[dataset] = split
    return result
