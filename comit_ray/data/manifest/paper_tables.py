"""Prints the paper's Tables 1 to 3 beside the same counts of a manifest.

An image of the manifest counts if nothing excludes it. The paper has no validation split, so its training images may
correspond to our training and validation images together.

The module holds the numbers of the paper's Tables 1 to 3 (section 3.1) and lists where they contradict each other and
the text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from comit_ray.tables.vocabulary import Split, View

HEALTHY: dict[str, dict[View, int]] = {
    "ChestX-ray14": {View.PA: 4_088, View.AP: 2_688},
    "CheXpert": {View.PA: 1_331, View.AP: 2_163},
}
"""Table 1: healthy images of each database by view."""

UNHEALTHY: dict[str, dict[View, int]] = {
    "ChestX-ray14": {View.PA: 3_469, View.AP: 3_115},
    "CheXpert": {View.PA: 3_279, View.AP: 11_305},
}
"""Table 1: unhealthy images of each database by view."""

DATASETS: dict[str, str] = {"nih": "ChestX-ray14", "chexpert": "CheXpert"}
"""Default: dataset in the manifest -> database in Table 1."""


@dataclass(frozen=True)
class CovidSource:
    """A line of Table 2, which has only COVID-19 images; `ap` and `pa` are None where the paper prints `NA`."""

    name: str
    ap: int | None
    pa: int | None
    images: int


COVID_SOURCES = (
    CovidSource("GitHub", 50, 26, 76),
    CovidSource("Italy (SIRM)", 30, 39, 69),
    CovidSource("Spain", 0, 110, 110),
    CovidSource("RadioPaedia", 9, 85, 94),
    CovidSource("BSTI", 3, 39, 42),
    CovidSource("EuroRad", 6, 18, 24),
    CovidSource("BIMCV-COVID19+", None, None, 2_098),
)
"""Table 2: COVID-19 images by source."""
COVID_IMAGES = 2_513
"""Table 2: total of COVID-19 images."""

SPLIT_COLUMNS = ("lung mask", "disease mask", "normal", "covid", "others", "PA", "AP")
"""Table 3: columns; images with either mask, of each class, of each view."""
TRAIN: tuple[int, ...] = (8_730, 1_456, 8_173, 1_740, 16_551, 10_161, 16_690)
"""Table 3: training images; those of COVID-19 are counted augmented (`AUGMENTED` for each)."""
TEST: tuple[int, ...] = (1_837, 251, 2_077, 2_223, 4_097, 2_464, 3_968)
"""Table 3: test images."""
TOTAL: tuple[int, ...] = (10_567, 1_707, 10_250, 3_963, 20_648, 12_625, 20_658)
"""Table 3: training and test images together."""

AUGMENTED = 6
"""Training images made from one COVID-19 image: the image itself, two rotations, three shifts."""


def disagreements() -> list[str]:
    """Returns one sentence for each sum of the paper that disagrees, computed from the tables above."""
    healthy, unhealthy = _sum(HEALTHY), _sum(UNHEALTHY)
    ratios = ", ".join(
        f"{sum(UNHEALTHY[name].values()) / sum(HEALTHY[name].values()):.2f} in {name}" for name in HEALTHY
    )
    normal, others, ap = (TOTAL[SPLIT_COLUMNS.index(name)] for name in ("normal", "others", "AP"))
    train_covid, test_covid = (images[SPLIT_COLUMNS.index("covid")] for images in (TRAIN, TEST))
    viewed = sum(source.images for source in COVID_SOURCES if source.ap is not None)
    unseen = COVID_IMAGES - viewed
    other_ap = sum(images[View.AP] for table in (HEALTHY, UNHEALTHY) for images in table.values())
    covid_ap = sum(source.ap or 0 for source in COVID_SOURCES)
    classes, views = slice(2, 5), slice(5, 7)
    return [
        (
            f"Images without COVID-19: {healthy + unhealthy:,} in Table 1 ({healthy:,} healthy and {unhealthy:,} "
            f"unhealthy), {normal + others:,} in Table 3 ({normal:,} normal and {others:,} others)."
        ),
        f"'About 50% more unhealthy' in the text: {unhealthy / healthy:.2f} times the healthy in Table 1 ({ratios}).",
        f"Training images in Table 3: {sum(TRAIN[classes]):,} by class, {sum(TRAIN[views]):,} by view.",
        (
            f"Test images in Table 3: {sum(TEST[classes]):,} by class ({sum(TEST[classes]) - unseen:,} without "
            f"BIMCV-COVID19+, whose views Table 2 does not know), {sum(TEST[views]):,} by view."
        ),
        (
            f"AP images in Table 3: {ap:,}, of which Table 1 has {other_ap:,}; the other {ap - other_ap:,} are more "
            f"than all {covid_ap:,} of COVID-19 in Table 2 would give, augmented ({covid_ap * AUGMENTED:,})."
        ),
        "Images with disease mask: 880 of ChestX-ray14 and 200 of COVID-19 in section 3.2, 700 and 290 in section 4.1.",
        (
            f"In agreement: the {viewed:,} COVID-19 images of Table 2 without BIMCV-COVID19+ are, in Table 3, "
            f"{train_covid // AUGMENTED:,} in training ({train_covid:,} / {AUGMENTED}) and {test_covid - unseen:,} in "
            f"the test set ({test_covid:,} - {unseen:,})."
        ),
    ]


def _sum(table: dict[str, dict[View, int]]) -> int:
    return sum(sum(images.values()) for images in table.values())


SITES: dict[str, str] = {
    "sirm": "Italy (SIRM)",
    "twitter.com": "Spain",
    "threadreaderapp.com": "Spain",
    "radiopaedia": "RadioPaedia",
    "bsti": "BSTI",
    "eurorad": "EuroRad",
    "covid19_posi": "BIMCV-COVID19+",
    "bimcv": "BIMCV-COVID19+",
}
"""`site` of a row -> line of Table 2. The paper's Spanish images come from one thread on Twitter."""
GITHUB = "covid-chestxray"
"""Dataset whose other COVID-19 images count as the paper's source GitHub."""

_WIDTH = 120  # columns of the text


def compare(table: pa.Table, datasets: Mapping[str, str] = DATASETS) -> str:
    """Returns the three tables, the paper's numbers beside ours, and the sums of the paper that disagree.

    Args:
        table: manifest.
        datasets: `dataset` of the rows -> name of the database in Table 1.
    """
    used = table.filter(pc.is_null(table["excluded"]))
    return "\n\n".join(
        [_databases(used, datasets), _covid_sources(used), _splits(used), "In the paper:\n" + _listed(disagreements())]
    )


def _databases(used: pa.Table, datasets: Mapping[str, str]) -> str:
    """Returns Table 1 with our counts beside the paper's."""
    rows: list[tuple[str, ...]] = []
    totals = [0, 0]
    for database in HEALTHY:
        names = [name for name, heading in datasets.items() if heading == database]
        of_database = pc.is_in(used["dataset"], pa.array(names, pa.string())).to_numpy()
        for health, unhealthy, paper in (("healthy", 0, HEALTHY), ("unhealthy", 1, UNHEALTHY)):
            for view, images in paper[database].items():
                here = int((of_database & _is(used, "unhealthy", unhealthy) & _is(used, "view", str(view))).sum())
                rows.append((database, health, str(view), *_numbers([images, here])))
                totals = [totals[0] + images, totals[1] + here]
    rows.append(("all", "", "", *_numbers(totals)))
    known = ", ".join(f"{name} ({heading})" for name, heading in datasets.items())
    return f"Table 1: images by health and view; here: datasets {known}\n" + _columns(
        ("database", "health", "view", "paper", "here"), rows, text=3
    )


def _covid_sources(used: pa.Table) -> str:
    """Returns Table 2 with our counts beside the paper's."""
    covid = used.filter(pa.array(_is(used, "covid", 1)))
    lines = np.array([_line(*row) for row in zip(covid["site"].to_pylist(), covid["dataset"].to_pylist(), strict=True)])
    ap, pa_ = _is(covid, "view", str(View.AP)), _is(covid, "view", str(View.PA))
    printed = {source.name: [source.ap, source.pa, None, source.images] for source in COVID_SOURCES}
    rows = []
    for name in [*printed, "other", "all"]:
        of_line = np.ones(len(covid), np.bool_) if name == "all" else lines == name
        here = [int((of_line & view).sum()) for view in (ap, pa_, ~ap & ~pa_)] + [int(of_line.sum())]
        paper: Sequence[int | None] = printed.get(name, [None, None, None, COVID_IMAGES if name == "all" else None])
        both = [number for pair in zip(paper, here, strict=True) for number in pair]
        rows.append((name, *_numbers(both[:4]), *_numbers(both[5:])))
    return (
        "Table 2: COVID-19 images by source (our column site) and view; view ?: frontal, projection unknown\n"
        + _columns(("source", "AP paper", "AP here", "PA paper", "PA here", "? here", "all paper", "all here"), rows)
    )


def _line(site: str | None, dataset: str) -> str:
    """Returns the line of Table 2 that a COVID-19 image belongs to."""
    return SITES.get(site or "", "GitHub" if dataset == GITHUB else "other")


def _splits(used: pa.Table) -> str:
    """Returns Table 3 with our counts beside the paper's."""
    covid = _is(used, "covid", 1)
    columns = [
        pc.is_valid(used["lung_mask"]).to_numpy(),
        pc.is_valid(used["disease_mask"]).to_numpy(),
        _is(used, "unhealthy", 0),
        covid,
        _is(used, "other", 1) & ~covid,
        _is(used, "view", str(View.PA)),
        _is(used, "view", str(View.AP)),
    ]

    def counted(split: Split, times: int = 1) -> list[int]:
        weight = _is(used, "split", str(split)) * np.where(covid, times, 1)
        return [int(weight[column].sum()) for column in columns]

    augmented, val, test = counted(Split.TRAIN, AUGMENTED), counted(Split.VAL), counted(Split.TEST)
    sums = [sum(numbers) for numbers in zip(augmented, val, test, strict=True)]
    rows = [
        ("train, paper", *_numbers(TRAIN)),
        (f"train x{AUGMENTED}, here", *_numbers(augmented)),
        ("train, here", *_numbers(counted(Split.TRAIN))),
        ("val, here", *_numbers(val)),
        ("test, paper", *_numbers(TEST)),
        ("test, here", *_numbers(test)),
        ("all, paper", *_numbers(TOTAL)),
        (f"all x{AUGMENTED}, here", *_numbers(sums)),
    ]
    return (
        f"Table 3: images by split; x{AUGMENTED}: every training image of COVID-19 counts {AUGMENTED} times, as "
        "augmented\n" + _columns(("", *SPLIT_COLUMNS), rows)
    )


def _is(table: pa.Table, column: str, value: int | str) -> NDArray[np.bool_]:
    rows: NDArray[np.bool_] = pc.fill_null(pc.equal(table[column], value), False).to_numpy()
    return rows


def _numbers(numbers: Iterable[int | None]) -> list[str]:
    return ["-" if number is None else f"{number:,}" for number in numbers]


def _columns(header: tuple[str, ...], rows: list[tuple[str, ...]], text: int = 1) -> str:
    """Returns the lines of a table: the first `text` columns left-aligned, the numbers right-aligned."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [
            cell.ljust(width) if column < text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _listed(sentences: list[str]) -> str:
    return "\n".join(fill(f"- {sentence}", _WIDTH, subsequent_indent="  ") for sentence in sentences)
