from typing import Any

import pyarrow as pa
import pytest

from comit_ray.data.manifest.paper_tables import (
    COVID_IMAGES,
    COVID_SOURCES,
    HEALTHY,
    SPLIT_COLUMNS,
    TEST,
    TOTAL,
    TRAIN,
    UNHEALTHY,
    compare,
    disagreements,
)
from comit_ray.tables.manifest_schema import MANIFEST
from tests.support import manifest_row


def compared(rows: list[dict[str, Any]], **options: Any) -> dict[str, list[list[str]]]:
    """`Table 1` ... -> its lines below the title, in words; several blanks divide words."""
    table = pa.Table.from_pylist([manifest_row(**row) for row in rows], schema=MANIFEST)
    return parsed(compare(table, **options))


def parsed(text: str) -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = {}
    for block in text.split("\n\n"):
        title, *lines = block.split("\n")
        found[title.split(":")[0]] = [[word.strip() for word in line.split("  ") if word.strip()] for line in lines]
    return found


def line(lines: list[list[str]], *beginning: str) -> list[str]:
    """What follows these words in the one line that begins with them."""
    (found,) = [words[len(beginning) :] for words in lines if tuple(words[: len(beginning)]) == beginning]
    return found


# --- the paper's numbers


def test_totals_of_the_paper_are_the_sums_of_their_lines() -> None:
    assert tuple(train + test for train, test in zip(TRAIN, TEST, strict=True)) == TOTAL
    assert len(TOTAL) == len(SPLIT_COLUMNS)
    assert sum(source.images for source in COVID_SOURCES) == COVID_IMAGES
    assert all(source.ap + (source.pa or 0) == source.images for source in COVID_SOURCES if source.ap is not None)


def test_the_subsets_of_the_text_are_those_of_table_1() -> None:
    """Section 3.1: 13,360 images of ChestX-ray14 and 18,078 of CheXpert."""
    sums = {name: sum(HEALTHY[name].values()) + sum(UNHEALTHY[name].values()) for name in HEALTHY}
    assert sums == {"ChestX-ray14": 13_360, "CheXpert": 18_078}


def test_disagreements_by_hand() -> None:
    text = " ".join(disagreements())
    for part in (
        "31,438 in Table 1 (10,270 healthy and 21,168 unhealthy)",
        "30,898 in Table 3 (10,250 normal and 20,648 others)",
        "2.06 times the healthy in Table 1 (0.97 in ChestX-ray14, 4.17 in CheXpert)",
        "Training images in Table 3: 26,464 by class, 26,851 by view",
        "Test images in Table 3: 8,397 by class (6,299 without BIMCV-COVID19+",
        "whose views Table 2 does not know), 6,432 by view",
        "AP images in Table 3: 20,658, of which Table 1 has 19,271; the other 1,387 are more than all 98",
        "would give, augmented (588)",
        "the 415 COVID-19 images of Table 2 without BIMCV-COVID19+ are, in Table 3, 290 in training (1,740 / 6)",
        "125 in the test set (2,223 - 2,098)",
    ):
        assert part in text


# --- ours beside them


def test_table_1() -> None:
    rows: list[dict[str, Any]] = [
        {"image_id": "nih/1", "unhealthy": 0},
        {"image_id": "nih/2", "unhealthy": 0, "view": "AP"},
        {"image_id": "nih/3", "unhealthy": 1, "view": "AP"},
        {"image_id": "nih/4", "unhealthy": 1, "view": "AP", "excluded": "not_in_protocol"},
        {"image_id": "nih/5", "unhealthy": None},
        {"image_id": "nih/6", "unhealthy": 1, "view": "frontal"},
        {"image_id": "chexpert/1", "unhealthy": 1},
        {"image_id": "other/1", "unhealthy": 1},
    ]
    lines = compared(rows)["Table 1"]
    assert lines[0] == ["database", "health", "view", "paper", "here"]
    assert lines[1:] == [
        ["ChestX-ray14", "healthy", "PA", "4,088", "1"],
        ["ChestX-ray14", "healthy", "AP", "2,688", "1"],
        ["ChestX-ray14", "unhealthy", "PA", "3,469", "0"],
        ["ChestX-ray14", "unhealthy", "AP", "3,115", "1"],
        ["CheXpert", "healthy", "PA", "1,331", "0"],
        ["CheXpert", "healthy", "AP", "2,163", "0"],
        ["CheXpert", "unhealthy", "PA", "3,279", "1"],
        ["CheXpert", "unhealthy", "AP", "11,305", "0"],
        ["all", "31,438", "4"],
    ]


def test_datasets_of_other_names() -> None:
    rows = [{"image_id": "a/1", "unhealthy": 0}, {"image_id": "b/1", "unhealthy": 0}]
    lines = compared(rows, datasets={"a": "ChestX-ray14", "b": "ChestX-ray14"})["Table 1"]
    assert line(lines, "ChestX-ray14", "healthy", "PA") == ["4,088", "2"]


@pytest.mark.parametrize(
    ("site", "dataset", "name"),
    [
        ("sirm", "covid-chestxray", "Italy (SIRM)"),
        ("sirm", "radiography", "Italy (SIRM)"),
        ("twitter.com", "covid-chestxray", "Spain"),
        ("threadreaderapp.com", "covid-chestxray", "Spain"),
        ("radiopaedia", "covid-chestxray", "RadioPaedia"),
        ("bsti", "covid-chestxray", "BSTI"),
        ("eurorad", "covid-chestxray", "EuroRad"),
        ("covid19_posi", "bimcv", "BIMCV-COVID19+"),
        ("nejm.org", "covid-chestxray", "GitHub"),
        (None, "covid-chestxray", "GitHub"),
        ("nejm.org", "figure1", "other"),
        (None, "figure1", "other"),
    ],
)
def test_lines_of_table_2(site: str | None, dataset: str, name: str) -> None:
    lines = compared([{"image_id": f"{dataset}/1", "site": site, "covid": 1, "view": "AP"}])["Table 2"]
    here = {words[0]: words[-1] for words in lines[1:]}
    assert {source for source, images in here.items() if images == "1"} == {name, "all"}
    assert line(lines, name)[1] == "1"


def test_table_2() -> None:
    rows: list[dict[str, Any]] = [
        {"image_id": "covid-chestxray/1", "covid": 1, "site": "sirm", "view": "AP"},
        {"image_id": "covid-chestxray/2", "covid": 1, "site": "sirm"},
        {"image_id": "covid-chestxray/3", "covid": 1, "site": "sirm", "view": "unknown"},
        {"image_id": "covid-chestxray/4", "covid": 0, "site": "sirm"},
        {"image_id": "covid-chestxray/5", "covid": None, "site": "sirm"},
        {"image_id": "covid-chestxray/6", "covid": 1, "site": "sirm", "excluded": "lateral"},
        {"image_id": "bimcv/1", "covid": 1, "site": "covid19_posi", "view": "frontal"},
    ]
    lines = compared(rows)["Table 2"]
    assert lines[0] == ["source", "AP paper", "AP here", "PA paper", "PA here", "? here", "all paper", "all here"]
    assert line(lines, "Italy (SIRM)") == ["30", "1", "39", "1", "1", "69", "3"]
    assert line(lines, "BIMCV-COVID19+") == ["-", "0", "-", "0", "1", "2,098", "1"]
    assert line(lines, "GitHub") == ["50", "0", "26", "0", "0", "76", "0"]
    assert line(lines, "other") == ["-", "0", "-", "0", "0", "-", "0"]
    assert line(lines, "all") == ["-", "1", "-", "1", "2", "2,513", "4"]


def test_table_3_counts_covid_in_training_six_times() -> None:
    covid = {"covid": 1, "unhealthy": 1, "other": 0}
    rows: list[dict[str, Any]] = [
        {"image_id": "a/1", "split": "train", "lung_mask": "m", "disease_mask": "m", **covid},
        {"image_id": "a/2", "split": "train", "view": "AP", **covid},
        {"image_id": "a/3", "split": "train", "lung_mask": "m", "unhealthy": 0, "covid": 0, "other": 0},
        {"image_id": "a/4", "split": "train", "view": "AP", "unhealthy": 1, "covid": 0, "other": 1},
        {"image_id": "a/5", "split": "val", "view": "frontal", **covid},
        {"image_id": "a/6", "split": "test", "covid": 1, "other": 1},
        {"image_id": "a/7", "split": None, "excluded": "lateral", **covid},
    ]
    lines = compared(rows)["Table 3"]
    assert lines[0] == ["lung mask", "disease mask", "normal", "covid", "others", "PA", "AP"]
    assert [words[0] for words in lines[1:]] == [
        "train, paper",
        "train x6, here",
        "train, here",
        "val, here",
        "test, paper",
        "test, here",
        "all, paper",
        "all x6, here",
    ]
    assert line(lines, "train, here") == ["2", "1", "1", "2", "1", "2", "2"]
    assert line(lines, "train x6, here") == ["7", "6", "1", "12", "1", "7", "7"]
    assert line(lines, "val, here") == ["0", "0", "0", "1", "0", "0", "0"]
    assert line(lines, "test, here") == ["0", "0", "0", "1", "0", "1", "0"]
    assert line(lines, "all x6, here") == ["7", "6", "1", "14", "1", "8", "7"]
    assert line(lines, "train, paper") == ["8,730", "1,456", "8,173", "1,740", "16,551", "10,161", "16,690"]


def test_an_empty_manifest_has_zeros() -> None:
    found = compared([])
    assert line(found["Table 1"], "all") == ["31,438", "0"]
    assert line(found["Table 2"], "all") == ["-", "0", "-", "0", "0", "2,513", "0"]
    assert line(found["Table 3"], "all x6, here") == ["0"] * 7


def test_lines_fit_a_terminal_and_columns_are_straight() -> None:
    rows = [manifest_row(f"nih/{n}", unhealthy=n % 2, covid=n % 3 % 2, split="train") for n in range(1200)]
    text = compare(pa.Table.from_pylist(rows, schema=MANIFEST))
    assert max(len(row) for row in text.split("\n")) <= 120
    for block in text.split("\n\n")[:3]:
        assert len({len(row) for row in block.split("\n")[1:]}) == 1
    assert "In the paper:\n- Images without COVID-19" in text
