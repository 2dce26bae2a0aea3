from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comit_ray.data.manifest.paper_tables import HEALTHY
from comit_ray.data.manifest.protocol import select_paper
from comit_ray.errors import ManifestError
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.vocabulary import View
from tests.support import manifest_row


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([manifest_row(**row) for row in rows], schema=MANIFEST)


def excluded(table: pa.Table) -> dict[str, str | None]:
    return dict(zip(table["image_id"].to_pylist(), table["excluded"].to_pylist(), strict=True))


def healthy(count: int, dataset: str = "nih", **changes: Any) -> list[dict[str, Any]]:
    return [{"image_id": f"{dataset}/h{n}", "unhealthy": 0} | changes for n in range(count)]


def ill(count: int, dataset: str = "nih", **changes: Any) -> list[dict[str, Any]]:
    return [{"image_id": f"{dataset}/i{n}", "unhealthy": 1, "findings": ["Mass"]} | changes for n in range(count)]


def taken(table: pa.Table) -> list[str]:
    return [name for name, reason in excluded(table).items() if reason is None]


def counted(table: pa.Table) -> Counter[tuple[str, int]]:
    used = table.filter(pc.is_null(table["excluded"]))
    return Counter(zip(used["view"].to_pylist(), used["unhealthy"].to_pylist(), strict=True))


def with_pneumonia(table: pa.Table) -> int:
    return sum("Pneumonia" in findings for findings in table["findings"].to_pylist())


def test_one_and_a_half_times_as_many_unhealthy_as_healthy() -> None:
    table = select_paper(table_of([*healthy(10), *ill(40)]), 0)
    assert counted(table) == {("PA", 0): 10, ("PA", 1): 15}


def test_half_an_image_is_none() -> None:
    assert counted(select_paper(table_of([*healthy(3), *ill(40)]), 0)) == {("PA", 0): 3, ("PA", 1): 4}


def test_too_few_unhealthy_are_all_taken() -> None:
    assert counted(select_paper(table_of([*healthy(10), *ill(7)]), 0)) == {("PA", 0): 10, ("PA", 1): 7}


def test_no_more_healthy_images_than_in_table_1() -> None:
    assert HEALTHY["CheXpert"][View.PA] == 1_331
    rows = [*healthy(1_400, "chexpert"), *ill(3_000, "chexpert")]
    assert counted(select_paper(table_of(rows), 0)) == {("PA", 0): 1_331, ("PA", 1): 1_996}


def test_views_are_chosen_apart() -> None:
    rows = [*healthy(4), *ill(9), *healthy(6, view="AP"), *ill(20, view="AP")]
    rows = [{**row, "image_id": f"{row['image_id']}{row.get('view', '')}"} for row in rows]
    table = select_paper(table_of(rows), 0)
    assert counted(table) == {("PA", 0): 4, ("PA", 1): 6, ("AP", 0): 6, ("AP", 1): 9}


@pytest.mark.parametrize(
    "wanted",
    [{"findings": ["Mass", "Pneumonia"]}, {"disease_mask": "boxes"}, {"covid": 1}],
    ids=["pneumonia", "boxes", "covid"],
)
def test_some_are_taken_whatever_their_number(wanted: dict[str, Any]) -> None:
    special = [{**row, "image_id": f"nih/s{n}", **wanted} for n, row in enumerate(ill(9))]
    table = select_paper(table_of([*healthy(2), *ill(30), *special]), 0)
    assert sorted(taken(table)) == sorted([row["image_id"] for row in [*healthy(2), *special]])


def test_they_count_towards_the_unhealthy() -> None:
    special = [{**row, "image_id": f"nih/s{n}", "findings": ["Pneumonia"]} for n, row in enumerate(ill(5))]
    assert counted(select_paper(table_of([*special, *ill(30), *healthy(10)]), 0)) == {("PA", 0): 10, ("PA", 1): 15}


def test_a_finding_named_otherwise_is_no_pneumonia() -> None:
    table = select_paper(table_of(ill(3, findings=["Pneumonia suspected"])), 0)
    assert taken(table) == []


@pytest.mark.parametrize("view", ["frontal", "unknown", "lateral"])
def test_other_views_are_not_taken(view: str) -> None:
    rows = [*healthy(2), *healthy(1, image_id="nih/x", view=view), *ill(1, view=view, findings=["Pneumonia"])]
    assert taken(select_paper(table_of(rows), 0)) == ["nih/h0", "nih/h1"]


def test_unknown_health_is_not_taken() -> None:
    rows = [*healthy(2), *healthy(1, image_id="nih/x", unhealthy=None, disease_mask="boxes")]
    assert excluded(select_paper(table_of(rows), 0))["nih/x"] == "not_in_protocol"


def test_other_datasets_are_kept_whole() -> None:
    others: list[dict[str, Any]] = [
        {"image_id": "covid-chestxray/1", "view": "unknown", "covid": 1},
        {"image_id": "bimcv/1", "unhealthy": None},
        {"image_id": "bimcv/2", "excluded": "not_in_protocol"},
    ]
    table = select_paper(table_of([*healthy(1), *ill(4), *others]), 0)
    assert {name: reason for name, reason in excluded(table).items() if not name.startswith("nih")} == {
        "covid-chestxray/1": None,
        "bimcv/1": None,
        "bimcv/2": "not_in_protocol",
    }


def test_rows_excluded_for_another_reason_stay_so_and_do_not_count() -> None:
    rows = [*healthy(4), *ill(9)]
    rows[0]["excluded"], rows[1]["excluded"], rows[4]["excluded"] = "duplicate", "missing", "corrupt"
    table = select_paper(table_of(rows), 0)
    assert counted(table) == {("PA", 0): 2, ("PA", 1): 3}
    assert [excluded(table)[row["image_id"]] for row in (rows[0], rows[1], rows[4])] == [
        "duplicate",
        "missing",
        "corrupt",
    ]


def test_an_earlier_selection_is_forgotten() -> None:
    table = table_of([*healthy(10), *ill(40)])
    once = select_paper(table, 0)
    assert select_paper(once, 0).equals(once)
    assert select_paper(once, 7).equals(select_paper(table, 7))
    assert not select_paper(table, 7).equals(once)


def test_datasets_of_other_names_are_told() -> None:
    rows = table_of([*healthy(2, "chest14"), *ill(9, "chest14")])
    assert len(taken(select_paper(rows, 0, {"chest14": "ChestX-ray14"}))) == 5
    with pytest.raises(ManifestError, match="expected rows of nih or chexpert to select from, got datasets chest14"):
        select_paper(rows, 0)


def test_only_the_reasons_change() -> None:
    table = table_of([*healthy(3), *ill(40)])
    chosen = select_paper(table, 0)
    rest = [name for name in MANIFEST.names if name != "excluded"]
    assert chosen.select(rest).equals(table.select(rest))
    assert chosen.schema.equals(MANIFEST, check_metadata=True)


image = st.fixed_dictionaries(
    {
        "dataset": st.sampled_from(["nih", "chexpert", "other"]),
        "view": st.sampled_from(["PA", "AP", "unknown"]),
        "unhealthy": st.sampled_from([0, 1, 1, None]),
        "findings": st.sampled_from([[], ["Mass"], ["Pneumonia", "Mass"]]),
        "disease_mask": st.sampled_from([None, None, "boxes"]),
        "excluded": st.sampled_from([None, None, None, "lateral"]),
    }
)


@settings(max_examples=100, deadline=None)
@given(st.lists(image, min_size=1, max_size=60), st.integers(0, 3), st.randoms())
def test_the_draw_does_not_depend_on_the_order_of_the_rows(
    images: list[dict[str, Any]], seed: int, random: Any
) -> None:
    rows = [{"image_id": f"nih/{number}", **row} for number, row in enumerate(images)]
    rows.append({"image_id": "nih/last", "dataset": "nih", "unhealthy": 0})
    shuffled = list(rows)
    random.shuffle(shuffled)
    chosen = select_paper(table_of(rows), seed)
    assert excluded(select_paper(table_of(shuffled), seed)) == excluded(chosen)
    split = pa.concat_tables([table_of(rows[:1]), table_of(rows[1:])])
    assert excluded(select_paper(split, seed)) == excluded(chosen)
