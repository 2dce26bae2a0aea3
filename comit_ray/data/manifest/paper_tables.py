"""The paper's Tables 1 to 3 beside the same counts of a manifest, as text of at most 120 columns.

An image of the manifest counts if nothing excludes it. The paper has no validation split, so its training images may be
our training and validation images together.
"""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from comit_ray.data.paper_numbers import (
    AUGMENTED,
    COVID_IMAGES,
    COVID_SOURCES,
    DATASETS,
    HEALTHY,
    SPLIT_COLUMNS,
    TEST,
    TOTAL,
    TRAIN,
    UNHEALTHY,
    disagreements,
)
from comit_ray.tables.vocabulary import Split, View

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
"""`site` of a row -> line of Table 2. The paper's Spanish images are one thread of Twitter."""
GITHUB = "covid-chestxray"
"""`dataset` whose other COVID-19 images count as the paper's GitHub."""

_WIDTH = 120  # columns of the text


def compare(table: pa.Table, datasets: Mapping[str, str] = DATASETS) -> str:
    """The three tables, the paper's figures beside ours, and the sums of the paper that do not come out.

    Args:
        table: a manifest.
        datasets: `dataset` of the rows -> name of the database in Table 1.
    """
    used = table.filter(pc.is_null(table["excluded"]))
    return "\n\n".join(
        [_databases(used, datasets), _covid_sources(used), _splits(used), "In the paper:\n" + _listed(disagreements())]
    )


def _databases(used: pa.Table, datasets: Mapping[str, str]) -> str:
    """Table 1."""
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
    """Table 2."""
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
    """The line of Table 2 that an image of COVID-19 belongs to."""
    return SITES.get(site or "", "GitHub" if dataset == GITHUB else "other")


def _splits(used: pa.Table) -> str:
    """Table 3."""
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
    """Lines of a table: the first `text` columns to the left, numbers to the right."""
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
