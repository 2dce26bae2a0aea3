from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comit_ray.config.manifest_config import SplitConfig
from comit_ray.data.manifest import duplicates
from comit_ray.data.manifest.duplicates import (
    PAIRS,
    NearDuplicates,
    Resolution,
    SimilarityThresholds,
    describe,
    resolve,
    write,
)
from comit_ray.data.manifest.fingerprint import fingerprint
from comit_ray.data.manifest.manifest_build import finish
from comit_ray.errors import ManifestError
from comit_ray.tables.manifest_schema import MANIFEST
from tests.data.pictures import Picture, cropped, gamma, random_picture, resized
from tests.support import manifest_row

ONE, OTHER = random_picture(1), random_picture(2)
COPY = gamma(resized(ONE, 299, 299), 0.8)
CROP = cropped(ONE, 0.04, 0, 0.03, 0)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([manifest_row(**row) for row in rows], schema=MANIFEST)


def resolved(rows: list[dict[str, Any]], pictures: list[Picture | None], **options: Any) -> Resolution:
    table = table_of(rows)
    values = [None if picture is None else fingerprint(picture) for picture in pictures]
    prints = pa.table({"image_id": table["image_id"], "fingerprint": pa.array(values, pa.binary())})
    return resolve(table, prints, **options)


def excluded(found: Resolution) -> list[str | None]:
    reasons: list[str | None] = found.table["excluded"].to_pylist()
    return reasons


def groups(found: Resolution) -> list[str | None]:
    names: list[str | None] = found.table["split_group"].to_pylist()
    return names


def row(image_id: str, **changes: Any) -> dict[str, Any]:
    """Patient and labels unknown."""
    return {"image_id": image_id, "patient_id": None} | changes


# --- one row per picture


def test_a_picture_of_two_datasets_is_kept_once() -> None:
    found = resolved([row("a/1"), row("b/1", covid=1), row("b/2", covid=1)], [ONE, COPY, OTHER])
    assert excluded(found) == ["duplicate", None, None]
    (pair,) = found.pairs.to_pylist()
    assert (pair["image_id_a"], pair["image_id_b"], pair["dataset_a"], pair["dataset_b"]) == ("a/1", "b/1", "a", "b")
    assert (pair["kind"], pair["kept"], pair["removed"], pair["labels_agree"]) == ("same", "b/1", "a/1", True)
    assert 0 <= pair["distance"] <= 32
    assert 0.93 <= pair["correlation"] <= 1
    assert found.pairs.schema == PAIRS
    assert found.compared == 3


def test_nothing_else_of_the_table_changes() -> None:
    rows = [row("a/1", findings=["x"], age=40.0), row("b/1", covid=1)]
    before, found = table_of(rows), resolved(rows, [ONE, COPY])
    rest = [name for name in MANIFEST.names if name not in ("excluded", "split_group")]
    assert found.table.select(rest).equals(before.select(rest))
    assert found.table.schema.equals(MANIFEST, check_metadata=True)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"covid": 0}, {"lung_mask": "m", "disease_mask": "m", "patient_id": "p"}),
        ({"covid": 0, "unhealthy": 0}, {"covid": 0, "lung_mask": "m"}),
        ({"lung_mask": "m"}, {}),
        ({"disease_mask": "m"}, {}),
        ({"patient_id": "p"}, {}),
        ({}, {"view": "unknown"}),
        ({"patient_id": "p", "lung_mask": "m"}, {"patient_id": "q"}),
    ],
)
def test_the_row_with_more_annotations_stays(better: dict[str, Any], worse: dict[str, Any]) -> None:
    assert excluded(resolved([row("a/1", **better), row("b/1", **worse)], [ONE, COPY])) == [None, "duplicate"]
    assert excluded(resolved([row("b/1", **worse), row("a/1", **better)], [COPY, ONE])) == ["duplicate", None]


def test_of_equals_the_dataset_given_first_stays() -> None:
    rows = [row("z/0"), row("a/1"), row("z/1"), row("b/1")]
    assert excluded(resolved(rows, [OTHER, ONE, ONE, ONE])) == [None, "duplicate", None, "duplicate"]


def test_a_picture_twice_in_one_dataset_stays_twice() -> None:
    found = resolved([row("a/1", patient_id="p"), row("a/2", patient_id="q")], [ONE, COPY])
    assert excluded(found) == [None, None]
    assert groups(found) == ["p", "p"]
    assert found.pairs.select(["kind", "kept", "removed"]).to_pylist() == [
        {"kind": "same", "kept": None, "removed": None}
    ]


def test_copies_inside_the_better_dataset_stay_and_those_of_the_other_go() -> None:
    rows = [row("a/1", covid=1), row("a/2", covid=1), row("b/1"), row("b/2")]
    found = resolved(rows, [ONE, ONE, COPY, COPY])
    assert excluded(found) == [None, None, "duplicate", "duplicate"]
    assert len(found.pairs) == 6


def test_a_crop_is_no_reason_to_remove() -> None:
    found = resolved([row("a/1", patient_id="p"), row("b/1", patient_id="q")], [ONE, CROP])
    assert excluded(found) == [None, None]
    assert found.pairs["kind"].to_pylist() == ["near"]
    assert groups(found) == ["p", "p"]


@pytest.mark.parametrize("label", ["unhealthy", "covid", "other"])
def test_contradicting_labels_keep_both_and_are_reported(label: str) -> None:
    found = resolved([row("a/1", **{label: 1}), row("b/1", **{label: 0})], [ONE, COPY])
    assert excluded(found) == [None, None]
    assert found.pairs.select(["kept", "removed", "labels_agree"]).to_pylist() == [
        {"kept": None, "removed": None, "labels_agree": False}
    ]
    assert groups(found) == ["a/1", "a/1"]
    assert "1 contradict each other in a label, both images stay: a/1 and b/1" in describe(found)


def test_an_unknown_label_contradicts_nothing() -> None:
    found = resolved([row("a/1", covid=1), row("b/1", unhealthy=0)], [ONE, COPY])
    assert excluded(found) == [None, "duplicate"]


def test_of_three_only_those_that_agree_replace_each_other() -> None:
    rows = [row("a/1", covid=1, unhealthy=1), row("b/1"), row("c/1", covid=0)]
    found = resolved(rows, [ONE, COPY, ONE])
    assert excluded(found) == [None, "duplicate", None]
    assert found.pairs["labels_agree"].to_pylist() == [True, False, True]


def test_an_excluded_row_stays_excluded_and_replaces_none() -> None:
    rows = [row("a/1", covid=1, excluded="lateral"), row("b/1"), row("c/1", covid=1, excluded="missing")]
    found = resolved(rows, [ONE, COPY, ONE])
    assert excluded(found) == ["lateral", None, "missing"]
    assert len(found.pairs) == 3


def test_if_all_are_excluded_all_stay_so() -> None:
    rows = [row("a/1", excluded="lateral"), row("b/1", excluded="duplicate")]
    assert excluded(resolved(rows, [ONE, COPY])) == ["lateral", "duplicate"]


def test_report_alone_excludes_nothing() -> None:
    found = resolved([row("a/1"), row("b/1", covid=1)], [ONE, COPY], exclude=False)
    assert excluded(found) == [None, None]
    assert groups(found) == ["a/1", "a/1"]
    assert found.pairs["removed"].to_pylist() == [None]


def test_a_second_time_changes_nothing() -> None:
    rows = [row("a/1"), row("b/1", covid=1), row("b/2"), row("c/1", patient_id="p")]
    once = resolved(rows, [ONE, COPY, OTHER, CROP])
    again = resolved(once.table.to_pylist(), [ONE, COPY, OTHER, CROP])
    assert again.table.equals(once.table)


def test_a_chain_removes_only_what_has_its_own_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 is like 2 and 2 like 3, but 1 is not like 3: the best removes 2, and nothing is left that shows what 3 does."""
    monkeypatch.setattr(duplicates, "find", lambda *_: look_alikes_of([(0, 1), (1, 2)]))
    found = resolved([row("a/1", covid=1, other=0), row("b/1", covid=1), row("c/1")], [None, None, None])
    assert excluded(found) == [None, "duplicate", None]
    assert found.pairs.select(["kept", "removed"]).to_pylist() == [
        {"kept": "a/1", "removed": "b/1"},
        {"kept": None, "removed": None},
    ]


# --- one split a patient


def look_alikes_of(pairs: list[tuple[int, int]], same: bool = True) -> NearDuplicates:
    count = len(pairs)
    first, second = (pa.array([pair[end] for pair in pairs], pa.int64()).to_numpy() for end in (0, 1))
    return NearDuplicates(
        first,
        second,
        pa.array([0] * count, pa.uint16()).to_numpy(),
        pa.array([1.0] * count, pa.float32()).to_numpy(),
        pa.array([same] * count, pa.bool_()).to_numpy(zero_copy_only=False),
    )


def test_all_images_of_joined_patients_share_the_smallest_name() -> None:
    rows = [
        row("a/1", patient_id="q"),
        row("a/2", patient_id="q"),
        row("b/1", patient_id="p"),
        row("b/2", patient_id="p", excluded="lateral"),
        row("b/3", patient_id="r"),
    ]
    found = resolved(rows, [ONE, OTHER, COPY, None, random_picture(3)])
    assert groups(found) == ["p", "p", "p", "p", None]


def test_a_patient_alone_has_no_group() -> None:
    found = resolved([row("a/1", patient_id="p"), row("a/2", patient_id="p")], [ONE, COPY])
    assert len(found.pairs) == 1
    assert groups(found) == [None, None]


def test_an_image_without_a_patient_joins_its_look_alike() -> None:
    rows = [row("a/1"), row("b/1", patient_id="p"), row("b/2", patient_id="p"), row("a/2")]
    assert groups(resolved(rows, [ONE, CROP, OTHER, random_picture(3)])) == ["p", "p", "p", None]


def test_without_any_patient_the_smallest_image_names_the_group() -> None:
    assert groups(resolved([row("b/1"), row("a/1")], [ONE, CROP])) == ["a/1", "a/1"]


def test_excluded_images_join_patients_too() -> None:
    """Two patients with one lateral are one patient."""
    rows = [row("a/1", patient_id="p", excluded="lateral"), row("b/1", patient_id="q", excluded="lateral")]
    assert groups(resolved([*rows, row("b/2", patient_id="q")], [ONE, COPY, OTHER])) == ["p", "p", "p"]


def test_groups_there_were_stay_together() -> None:
    """Their images may be unreadable by now."""
    rows = [
        row("a/1", patient_id="p", split_group="old"),
        row("b/1", patient_id="q", split_group="old"),
        row("c/1", patient_id="r"),
        row("d/1", patient_id="s"),
    ]
    assert groups(resolved(rows, [None, ONE, COPY, None])) == ["p", "p", "p", None]


def test_a_patient_named_like_an_image_is_not_that_image() -> None:
    rows = [row("a/1"), row("b/1", patient_id="a/1"), row("b/2"), row("a/2")]
    assert groups(resolved(rows, [OTHER, ONE, COPY, random_picture(3)])) == [None, "a/1", "a/1", None]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from([None, *"pqrstu"]), min_size=2, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=8),
    st.randoms(),
)
def test_groups_are_the_connected_patients_in_any_order(
    patients: list[str | None], links: list[tuple[int, int]], random: Any
) -> None:
    count = len(patients)
    links = [(one % count, other % count) for one, other in links if one % count != other % count]

    def run(order: list[int]) -> dict[int, str | None]:
        place = {number: position for position, number in enumerate(order)}
        pairs = sorted({(min(place[a], place[b]), max(place[a], place[b])) for a, b in links})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(duplicates, "find", lambda *_: look_alikes_of(pairs, same=False))
            rows = [row(f"d/{number:02d}", patient_id=patients[number]) for number in order]
            found = groups(resolved(rows, [None] * count))
        return dict(zip(order, found, strict=True))

    result = run(list(range(count)))
    # By hand: spread the smallest name until nothing changes.
    owner = [patient or f"row {number}" for number, patient in enumerate(patients)]
    reached = {number: {number} for number in range(count)}
    for _ in range(count):
        for one in range(count):
            for other in range(count):
                if owner[one] == owner[other] or (one, other) in links or (other, one) in links:
                    union = reached[one] | reached[other]
                    for member in union:
                        reached[member] = union
    for number in range(count):
        names = [name for member in reached[number] if (name := patients[member])]
        expected = min(names) if names else f"d/{min(reached[number]):02d}"
        several = len({owner[member] for member in reached[number]}) > 1
        assert result[number] == (expected if several else None)
    shuffled = list(range(count))
    random.shuffle(shuffled)
    assert run(shuffled) == result


def test_a_group_goes_into_one_split() -> None:
    rows = [row(f"a/{n}", patient_id=f"p{n}") for n in range(30)] + [
        row(f"b/{n}", patient_id=f"q{n}") for n in range(30)
    ]
    pictures = [random_picture(n, 60, 50) for n in range(30)]
    found = resolved(rows, [*pictures, *(cropped(picture, 0.03, 0.03, 0, 0) for picture in pictures)], exclude=False)
    assert len(found.pairs) >= 25
    finished = finish(found.table, SplitConfig(train=0.4, val=0.3, test=0.3), 512)
    split = dict(zip(finished["image_id"].to_pylist(), finished["split"].to_pylist(), strict=True))
    assert all(split[pair["image_id_a"]] == split[pair["image_id_b"]] for pair in found.pairs.to_pylist())
    assert len(set(split.values())) == 3


# --- the table of pairs, and the text


def test_the_same_pictures_come_first_in_the_order_of_the_rows() -> None:
    rows = [row("a/3"), row("a/2"), row("b/1"), row("b/0")]
    found = resolved(rows, [OTHER, ONE, CROP, resized(OTHER, 200, 200)])
    pairs = found.pairs.select(["image_id_a", "image_id_b", "kind"]).to_pylist()
    assert [tuple(pair.values()) for pair in pairs] == [("a/3", "b/0", "same"), ("a/2", "b/1", "near")]


def test_written_as_csv(tmp_path: Path) -> None:
    found = resolved([row("a/1"), row("b/1", covid=1), row("b/2")], [ONE, ONE, CROP])
    assert write(str(tmp_path), found.pairs) == str(tmp_path / "duplicates.csv")
    lines = (tmp_path / "duplicates.csv").read_text().splitlines()
    assert lines[0] == ",".join(f'"{name}"' for name in PAIRS.names)
    assert lines[1] == '"a/1","b/1","a","b",0,1,"same","b/1","a/1",true'
    assert len(lines) == 4


def test_no_pair_is_an_empty_table(tmp_path: Path) -> None:
    found = resolved([row("a/1"), row("b/1")], [ONE, OTHER])
    assert (len(found.pairs), found.pairs.schema) == (0, PAIRS)
    write(str(tmp_path), found.pairs)
    assert len((tmp_path / "duplicates.csv").read_text().splitlines()) == 1
    assert describe(found).splitlines()[0] == "2 of 2 images compared: 0 pairs look alike"


def test_no_row() -> None:
    found = resolved([], [])
    assert (len(found.table), len(found.pairs), found.compared) == (0, 0, 0)


def test_described() -> None:
    rows = [row("a/1"), row("b/1", covid=1), row("b/2"), row("b/3"), row("a/4", patient_id="p"), row("a/5")]
    found = resolved(rows, [OTHER, OTHER, ONE, None, random_picture(3), CROP])
    assert describe(found).splitlines() == [
        "5 of 6 images compared: 2 pairs look alike",
        "  1 images excluded as duplicates",
        "  4 images in 2 split groups",
        "  1 same (the same picture), 1 across datasets",
        "  1 near (nearly the same picture), 1 across datasets",
    ]


def test_thresholds_are_passed_on() -> None:
    strict = SimilarityThresholds(same_bits=0, near_bits=0)
    assert len(resolved([row("a/1"), row("b/1")], [ONE, CROP], thresholds=strict).pairs) == 0


@pytest.mark.parametrize("ids", [["a/1"], ["b/1", "a/1"], ["a/1", "b/2"]])
def test_fingerprints_of_other_rows_are_refused(ids: list[str]) -> None:
    prints = pa.table({"image_id": ids, "fingerprint": pa.array([None] * len(ids), pa.binary())})
    with pytest.raises(ManifestError, match="each of the manifest's 2 images, in their order"):
        resolve(table_of([row("a/1"), row("b/1")]), prints)
