"""Does a score come from the disease, or from a shortcut? Altered images, sources, and where heat maps lie.

In the paper COVID-19 and other images come from different sources; a network can score high by telling hospitals apart.
What is found here is evidence of what a score can have used, not proof of what it used.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from comit_ray.data.masks.masks import from_png
from comit_ray.errors import NotFoundError
from comit_ray.evaluation import left_out_source, source_probe
from comit_ray.evaluation.classification import labelled
from comit_ray.screening.screen_tables import EMBEDDINGS, GRADCAM, VARIANTS
from comit_ray.statistics.metric import Block, Entry, Figure, FloatArray, IntArray, mean, measure, ratios
from comit_ray.statistics.weighted import RankedScores
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.parquet import read_rows

WHOLE, REMOVED, ONLY, CROPPED = "auroc_full", "auroc_lungs_removed", "auroc_lungs_only", "auroc_borders_cropped"
SOURCE_ALONE = "auroc_source_alone"
TOLD, TOLD_WITHOUT = "source_told", "source_told_without_covid"
IN_LUNGS, LUNGS = "gradcam_in_lungs", "lungs_of_the_frame"


@dataclass(frozen=True)
class Audit:
    """What was measured; nothing where the screen wrote none of its tables.

    Args:
        figures: with their intervals; of the unaltered images always.
        confounded: whether some source lacks a class, so that the source alone tells something of COVID-19.
        sources: that the probe told apart, with and without COVID-19.
    """

    figures: list[Figure]
    confounded: bool
    sources: tuple[int, int]


def audit(images: pd.DataFrame, results: str, split: str, draws: int, seed: int) -> Audit:
    """Audit the COVID-19 score of a screen.

    Args:
        images: of `scores.join_tables`.
        results: URI of the screen; its variants/, embeddings/ and gradcam/ are read where it has them.
        split: that is scored.
        draws: of the bootstrap.
        seed: of the draws and of the probe's folds.

    Raises:
        StorageError: a table cannot be read.
    """
    known = images[labelled(images, "covid")].reset_index(drop=True)
    if known.empty:
        return Audit([], confounded=False, sources=(0, 0))
    classes = known.groupby("dataset")["covid"].nunique()
    figures = _variants(known, results, split, draws, seed)
    probed, sources = _probes(known, results, split, draws, seed)
    return Audit([*figures, *probed, *_heat(known, results, split, draws, seed)], bool((classes < 2).any()), sources)


def _variants(known: pd.DataFrame, results: str, split: str, draws: int, seed: int) -> list[Figure]:
    try:
        rows = read_rows(storage.join(storage.normalise(results), VARIANTS), known["image_id"]).to_pandas()
        scores = rows.pivot(index="image_id", columns="variant", values="p_covid").reindex(known["image_id"])
    except NotFoundError:
        scores = pd.DataFrame(index=known["image_id"])
    altered = {f"auroc_{name}": scores[name].to_numpy(np.float32) for name in scores.columns}
    columns = {WHOLE: known["p_covid"].to_numpy(np.float32), **altered}
    classes = known.groupby("dataset")["covid"].nunique()
    inside = [str(name) for name in classes.index[classes == 2]] if len(classes) > 1 else []
    found = []
    for group, chosen_N in (
        ("all", np.ones(len(known), bool)),
        *((f"dataset={name}", (known["dataset"] == name).to_numpy(bool)) for name in inside),
    ):
        mine = known.iloc[np.flatnonzero(chosen_N)]
        blocks = [_auroc(metric, mine, values_N[chosen_N]) for metric, values_N in columns.items()]
        if group == "all" and len(classes) > 1:
            share = mine.groupby("dataset")["covid"].transform("mean").to_numpy(np.float32)
            blocks.insert(1, _auroc(SOURCE_ALONE, mine, share))
        found += measure(blocks, mine["patient_id"], split, group, draws, seed)
    return found


def _auroc(metric: str, images: pd.DataFrame, scores_N: npt.NDArray[np.float32]) -> Block:
    scored_N, positive_N = ~np.isnan(scores_N), (images["covid"] == 1).to_numpy(bool)
    ranked = RankedScores(scores_N[None], positive_N)

    def values(weights_N: IntArray) -> FloatArray:
        return ranked.rates(weights_N).auroc()

    why = "the images that could be altered and scored have one class alone"
    return Block((Entry(metric, scored_N, undefined=why, positive_N=positive_N),), values)


def _probes(
    known: pd.DataFrame, results: str, split: str, draws: int, seed: int
) -> tuple[list[Figure], tuple[int, int]]:
    try:
        rows = read_rows(storage.join(storage.normalise(results), EMBEDDINGS), known["image_id"]).to_pandas()
    except NotFoundError:
        return [], (0, 0)
    vectors = rows.set_index("image_id")["embedding"]
    mine = known.loc[known["image_id"].isin(vectors.index)]
    x_NC = np.stack([np.asarray(vectors[one], np.float64) for one in mine["image_id"]])
    finite_N = np.isfinite(x_NC).all(axis=1)
    mine, x_NC = mine.iloc[np.flatnonzero(finite_N)].reset_index(drop=True), x_NC[finite_N]
    found, counts = [], []
    for metric, chosen_N in ((TOLD, np.ones(len(mine), bool)), (TOLD_WITHOUT, (mine["covid"] == 0).to_numpy(bool))):
        images = mine.iloc[np.flatnonzero(chosen_N)].reset_index(drop=True)
        counts.append(len(source_probe.enough(images)))
        block = source_probe.block(metric, images, x_NC[chosen_N], seed)
        found += measure([block], images["patient_id"], split, "all", draws, seed)
    for source, (_, blocks) in left_out_source.blocks(mine, x_NC, seed).items():
        found += measure(blocks, mine["patient_id"], split, f"dataset={source}", draws, seed)
    return found, (counts[0], counts[1])


def _heat(known: pd.DataFrame, results: str, split: str, draws: int, seed: int) -> list[Figure]:
    """The share of each COVID-19 map inside the predicted lungs, and that of the frame."""
    where = storage.join(storage.normalise(results), GRADCAM)
    shares: dict[str, float] = {}
    lungs = dict(zip(known["image_id"], known["lung_png"], strict=True))
    try:
        for part in parquet.parts(where):
            for row in parquet.read_part(part).to_pylist():
                png, lung = row["covid_png"], lungs.get(row["image_id"])
                if isinstance(png, bytes) and isinstance(lung, bytes):
                    shares[row["image_id"]] = _inside(png, from_png(lung))
    except NotFoundError:
        return []
    share_N = known["image_id"].map(shares).to_numpy(np.float64)
    area_N = np.where(np.isnan(share_N), np.nan, known["lung_area"].to_numpy(np.float64, na_value=np.nan))
    none = "no image has a map of the COVID-19 score and predicted lungs"
    blocks: Sequence[Block] = [ratios([mean(IN_LUNGS, share_N, undefined=none), mean(LUNGS, area_N, undefined=none)])]
    return measure(blocks, known["patient_id"], split, "all", draws, seed)


def _inside(png: bytes, lung_HW: npt.NDArray[np.bool_]) -> float:
    """The share of a map that lies in the lungs; NaN where the map is nowhere positive."""
    with Image.open(io.BytesIO(png)) as image:
        map_HW = np.asarray(image, np.float64)
    whole = map_HW.sum()
    return float(map_HW[lung_HW].sum() / whole) if whole else float("nan")
