"""The table of the study of recipes against shortcuts, from the files that `tests.benchmarks.robust_study` left.

    python -m tests.benchmarks.robust_table OUTPUT [markdown]

By docs/design.md's rule: recipes are ranked on the development half of the collections outside, and reported on the
other half; `markdown` prints the rows of docs/design.md's table. Shares have Wilson's interval, of all seeds' images
together divided by the number of seeds; areas and means the bootstrap's by patient, of each seed's scores averaged.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from comit_ray.evaluation.shortcuts import source_probe_block
from comit_ray.statistics import roc
from comit_ray.statistics.intervals import bootstrap, wilson

POINT = "threshold specificity_0.90_every_source covid"
POOLED = "threshold specificity_0.90 covid"
WITHOUT = ("kermany normal", "kermany pneumonia", "figure1 without")
WITH = "figure1 with"
FEWEST = 10
"""Images that a group has at least, to take part in the score: of Figure 1 without COVID-19 one half has two."""


def read(folder: str) -> pd.DataFrame:
    """The rows of all trials, with the half and the group of each image."""
    table = pd.concat([pd.read_parquet(file) for file in sorted(Path(folder).glob("*.parquet"))], ignore_index=True)
    digests = {one: hashlib.sha256(str(one).encode()).digest()[-1] for one in table["patient_id"].unique()}
    table["development"] = table["patient_id"].map(digests) % 2 == 0
    kermany = table["unhealthy"].map({0: "kermany normal", 1: "kermany pneumonia"})
    figure1 = table["covid"].map({0: "figure1 without", 1: "figure1 with"})
    table["group"] = kermany.where(table["dataset"] == "kermany", figure1.where(table["dataset"] == "figure1"))
    table["flag"] = table["p_covid"] >= table[[POINT, POOLED]].max(axis=1)  # trials from before it was never below
    return table


def score(images: pd.DataFrame, fewest: int = FEWEST) -> float:
    """The least balanced accuracy over groups without COVID-19 of at least `fewest` images, a mean over seeds."""
    flagged = images.groupby(["seed", "group"])["flag"].mean().unstack()
    counts = images.groupby("group")["image_id"].nunique()
    balanced = [(flagged[WITH] + 1 - flagged[name]) / 2 for name in WITHOUT if counts[name] >= fewest]
    return float(pd.concat(balanced, axis=1).min(axis=1).mean())


def shares(images: pd.DataFrame) -> dict[str, str]:
    """Group -> share flagged, mean over seeds, with Wilson's interval for one seed's number of images."""
    found = {}
    for name in (*WITHOUT, WITH):
        rows = images[images["group"] == name]
        seeds = rows["seed"].nunique()
        hits, count = round(rows["flag"].sum() / seeds), len(rows) // seeds
        interval = wilson(hits, count)
        found[name] = f"{rows['flag'].mean():.2f} [{interval.low:.2f}, {interval.high:.2f}] n={count}"
    return found


def area(images: pd.DataFrame, score: str, label: str) -> str:
    """Mean over seeds of the AUROC, with the bootstrap's interval by patient."""
    known = images[images[label].notna()]
    wide = known.pivot_table(index=["image_id", "patient_id", label], columns="seed", values=score).reset_index()
    seeds = sorted(known["seed"].unique())

    def mean(rows: np.ndarray) -> dict[str, float | None]:
        drawn = wide.iloc[rows]
        values = [roc.auroc(drawn[seed].to_numpy(np.float32), drawn[label].to_numpy(int)) for seed in seeds]
        return {"auroc": None if None in values else float(np.mean([v for v in values if v is not None]))}

    value = mean(np.arange(len(wide)))["auroc"]
    interval = bootstrap(mean, wide["patient_id"], draws=500)["auroc"]
    positives = int((wide[label] == 1).sum())
    return f"{value:.3f} [{interval.low:.3f}, {interval.high:.3f}] n={positives}+{len(wide) - positives}"


def told(images: pd.DataFrame) -> str:
    """Balanced accuracy of a probe that names the source of an embedding, mean and range over seeds."""
    values = []
    for _, rows in images.groupby("seed"):
        rows = rows[rows["covid"] == 0].reset_index(drop=True)
        block = source_probe_block("told", rows, np.stack(rows["embedding"].tolist()).astype(np.float64))
        values.append(float(block.values(np.ones(len(rows), int))[0]))
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def lung_iou(images: pd.DataFrame) -> str:
    """Mean over images and seeds of the lungs' IoU, with the bootstrap's interval by patient."""
    known = images[images["lung_iou"].notna()].groupby(["image_id", "patient_id"])["lung_iou"].mean().reset_index()
    values = known["lung_iou"].to_numpy()
    interval = bootstrap(lambda rows: {"iou": float(values[rows].mean())}, known["patient_id"], draws=500)["iou"]
    return f"{values.mean():.3f} [{interval.low:.3f}, {interval.high:.3f}] n={len(values)}"


def row(images: pd.DataFrame) -> dict[str, str]:
    """Every figure of one recipe."""
    outside = images[images["group"].notna()]
    inside = images[images["dataset"] == "covid-chestxray"]
    nih = images[images["dataset"] == "nih"]
    other = outside[~outside["development"]]
    against = other[other["group"].isin([WITH, "kermany normal"])]
    return {
        "seeds": str(images["seed"].nunique()),
        "development score": f"{score(outside[outside['development']]):.3f}",
        "score on the other half": f"{score(other):.3f}",
        "development score by the first rule": f"{score(outside[outside['development']], 1):.3f}",
        **{f"flagged, {name}": text for name, text in shares(other).items()},
        "AUROC figure1 with against kermany normal": area(against, "p_covid", "covid"),
        "the same by p_unhealthy": area(against, "p_unhealthy", "covid"),
        "the same by disease in the lungs": area(against, "disease_in_lung", "covid"),
        "AUROC inside covid-chestxray": area(inside, "p_covid", "covid"),
        "the same, lungs removed": area(inside, "p_covid_lungs_removed", "covid"),
        "AUROC unhealthy inside NIH": area(nih, "p_unhealthy", "unhealthy"),
        "lung IoU": lung_iou(images),
        "source told (no COVID-19)": told(images[images["dataset"].isin(["nih", "covid-chestxray", "kermany"])]),
        "CPU seconds of training": f"{images.groupby('seed')['cpu_seconds'].first().mean():.0f}",
    }


SHORT = (
    "seeds",
    "development score",
    "score on the other half",
    "flagged, kermany normal",
    "flagged, kermany pneumonia",
    "flagged, figure1 with",
    "AUROC figure1 with against kermany normal",
    "AUROC inside covid-chestxray",
    "the same, lungs removed",
    "AUROC unhealthy inside NIH",
    "lung IoU",
)
"""Columns of the table in Markdown."""


def main(folder: str, form: str = "blocks") -> None:
    """Print a block, or a row of a table, a recipe, best development score first."""
    table = read(folder)
    found = {str(name): row(images) for name, images in table.groupby("recipe")}
    order: Callable[[str], float] = lambda name: -float(found[name]["development score"])  # noqa: E731
    for name in sorted(found, key=order):
        if form == "markdown":
            print(f"| {name} | {' | '.join(found[name][metric] for metric in SHORT)} |")
            continue
        print(f"\n{name}")
        for metric, text in found[name].items():
            print(f"  {metric:45} {text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
