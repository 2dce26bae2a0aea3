from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from comit_ray.config.manifest_config import SplitConfig
from comit_ray.data.manifest.split import assign
from comit_ray.tables.manifest_schema import MANIFEST

CONFIG = SplitConfig()


def table(rows: list[dict[str, Any]]) -> pa.Table:
    """A manifest of `rows`, whose keys are columns; the rest is null."""
    plain = {"dataset": "d", "view": "PA", "unhealthy": 0, "covid": 0}
    return pa.Table.from_pylist([plain | row for row in rows], schema=MANIFEST)


def splits(
    rows: list[dict[str, Any]], config: SplitConfig = CONFIG, own: Sequence[str | None] | None = None
) -> list[Any]:
    source_split = None if own is None else pa.array(own, pa.string())
    result: list[Any] = assign(table(rows), config, source_split).to_pylist()
    return result


image = st.fixed_dictionaries(
    {
        "dataset": st.sampled_from(["a", "b"]),
        "patient_id": st.one_of(st.none(), st.integers(0, 30).map(str)),
        "view": st.sampled_from(["PA", "AP", "unknown"]),
        "unhealthy": st.sampled_from([0, 1, None]),
        "covid": st.sampled_from([0, 1, None]),
        "lung_mask": st.sampled_from([None, "mask.png"]),
        "excluded": st.sampled_from([None, None, None, "lateral"]),
        "own": st.sampled_from([None, "train", "val", "test"]),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.lists(image, max_size=80), st.booleans(), st.integers(0, 3), st.randoms())
def test_properties(images: list[dict[str, Any]], keep: bool, seed: int, random: Any) -> None:
    images = [{**row, "number": number} for number, row in enumerate(images)]
    config = SplitConfig(seed=seed, keep_source=keep)

    def run(order: list[dict[str, Any]]) -> dict[int, str | None]:
        own = [row["own"] for row in order]
        given_rows = [{key: row[key] for key in row if key not in ("own", "number")} for row in order]
        return {row["number"]: split for row, split in zip(order, splits(given_rows, config, own), strict=True)}

    result = run(images)
    sides = defaultdict(set)
    for row in images:
        split = result[row["number"]]
        assert (split is None) == (row["excluded"] is not None)
        if split is not None and row["patient_id"] is not None:
            sides[row["patient_id"]].add(split)
        if split is not None and row["patient_id"] is None and not keep:
            assert split == "train"
    assert all(len(side) == 1 for side in sides.values())
    shuffled = list(images)
    random.shuffle(shuffled)
    assert run(shuffled) == result


def test_shares_hold_in_every_stratum() -> None:
    sizes = {("a", 1, "PA"): 100, ("a", 0, "AP"): 40, ("b", 0, "PA"): 10, ("b", 1, "AP"): 307}
    rows = [
        {"dataset": dataset, "covid": covid, "view": view, "patient_id": f"{dataset}{covid}{view}{number}"}
        for (dataset, covid, view), size in sizes.items()
        for number in range(size)
    ]
    found: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for row, split in zip(rows, splits(rows), strict=True):
        found[row["dataset"], row["covid"], row["view"]][split] += 1
    for stratum, size in sizes.items():
        for name, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
            assert abs(found[stratum][name] - share * size) <= 2, (stratum, name, found[stratum])


def test_small_strata_do_not_starve_the_test_split() -> None:
    """Forty strata of one patient each: the shares hold over all of them."""
    rows = [
        {"patient_id": f"{views}{unhealthy}{masks}", "view": view, "unhealthy": unhealthy, "covid": None}
        | {"lung_mask": "m" if masks & 1 else None, "disease_mask": "m" if masks & 2 else None}
        for views in (["PA"], ["AP"], ["unknown"], ["PA", "AP"], ["PA", "unknown"])
        for unhealthy in (0, 1)
        for masks in range(4)
        for view in views
    ]
    patients = {row["patient_id"]: split for row, split in zip(rows, splits(rows), strict=True)}
    assert Counter(patients.values()) == {"train": 28, "val": 4, "test": 8}


def test_a_merge_moves_no_patient() -> None:
    mine = [{"patient_id": f"d/{number}", "covid": number % 2} for number in range(33)]
    others = [{"dataset": "a", "patient_id": f"a/{number}", "view": "AP"} for number in range(7)]
    assert splits(others + mine)[7:] == splits(mine)


def test_masks_are_strata_too() -> None:
    rows = [{"patient_id": str(i), "lung_mask": "m" if i < 10 else None} for i in range(1000)]
    masked = splits(rows)[:10]
    assert 1 <= masked.count("test") <= 3


def test_the_seed_changes_the_split() -> None:
    rows = [{"patient_id": str(number)} for number in range(50)]
    assert splits(rows, SplitConfig(seed=1)) != splits(rows, SplitConfig(seed=2))
    assert splits(rows, SplitConfig(seed=1)) == splits(rows, SplitConfig(seed=1))


def test_one_share_of_one_takes_rows_without_a_patient_along() -> None:
    config = SplitConfig(train=0, val=0, test=1)
    assert splits([{}, {"patient_id": "p"}, {"excluded": "lateral"}], config) == ["test", "test", None]


def test_a_source_keeps_its_split_and_val_is_drawn_from_its_train_part() -> None:
    rows = [{"patient_id": str(number)} for number in range(100)]
    own = ["test"] * 25 + ["train"] * 75
    kept = splits(rows, SplitConfig(keep_source=True), own)
    assert kept[:25] == ["test"] * 25
    assert Counter(kept[25:]) == {"train": 66, "val": 9}  # 0.1 / 0.8 of 75
    assert Counter(splits(rows, SplitConfig(), own))["test"] == 20


def test_a_source_that_has_val_keeps_it() -> None:
    rows = [{"patient_id": str(number)} for number in range(10)]
    own = ["val"] + ["train"] * 9
    assert splits(rows, SplitConfig(keep_source=True), own) == own


def test_a_patient_on_both_sides_of_a_source_trains() -> None:
    rows = [{"patient_id": "p"}, {"patient_id": "p"}, {"patient_id": "q"}]
    assert splits(rows, SplitConfig(keep_source=True), ["train", "test", "test"]) == ["train", "train", "test"]


def test_rows_without_a_patient_enter_test_only_with_their_whole_source() -> None:
    config = SplitConfig(keep_source=True)
    whole = [{"dataset": "a"}, {"dataset": "a", "excluded": "lateral"}, {"dataset": "b"}, {"dataset": "b"}]
    assert splits(whole, config, ["test", "train", "test", "train"]) == ["test", None, "train", "train"]


def test_a_merge_moves_no_patient_even_where_rows_of_it_are_now_excluded() -> None:
    """Dealing again would: a patient fewer in a stratum shifts those behind it."""
    rows: list[dict[str, Any]] = [{"patient_id": f"p{number}"} for number in range(300)]
    first = splits(rows)
    later = [row | {"excluded": None if number % 7 else "duplicate"} for number, row in enumerate(rows)]
    kept = splits(later, SplitConfig(keep_source=True), first)
    assert [new for new in kept if new is not None] == [old for new, old in zip(kept, first, strict=True) if new]
    assert kept.count(None) == 43
    assert splits(later) != kept


def test_look_alikes_of_several_splits_train_and_new_images_follow_their_patient() -> None:
    rows = [
        {"patient_id": "p0", "split_group": "a"},
        {"patient_id": "p1", "split_group": "a"},
        {"patient_id": "p2"},
        {"patient_id": "p2"},
    ]
    found = splits(rows, SplitConfig(keep_source=True), ["test", "train", "test", None])
    assert found == ["train", "train", "test", "test"]


def test_a_group_that_holds_an_image_without_a_patient_trains() -> None:
    rows = [{"patient_id": f"p{number}", "split_group": "g"} for number in range(3)]
    for seed in range(5):
        assert len(set(splits(rows, SplitConfig(seed=seed)))) == 1
        assert set(splits([*rows, {"split_group": "g"}], SplitConfig(seed=seed))) == {"train"}
        linked = [*rows, {"patient_id": "p0"}, {"patient_id": "p3"}]  # a patient's other images belong to the group
        assert len(set(splits(linked, SplitConfig(seed=seed))[:4])) == 1
