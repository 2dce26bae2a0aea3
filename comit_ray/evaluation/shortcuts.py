"""The shortcut audit: evidence whether a score comes from the disease or from traits of the images' source.

In the paper COVID-19 and other images come from different sources, so that a network can score high by recognising
hospitals. The audit finds evidence of what a score can have used, not proof of what it used.

It uses a linear probe: logistic regression on standardised embeddings, with both classes weighted alike.

Leave one source out: the probe is fitted without any image of a source, and tested on that source. The network itself
may have been trained on the source. A fall in AUROC says that COVID-19 lies in different directions of the embedding in
different sources. The absence of a fall does not show that a network trained without the source would find the disease:
the study `leave_one_source_out` trains such networks.

Recognise the source: if the probe recognises the source of images without COVID-19, and COVID-19 comes from a source of
its own, then a score may recognise the source and look as if it recognised the disease.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from comit_ray.data.masks.masks import from_png
from comit_ray.errors import NotFoundError
from comit_ray.evaluation.classification import labelled
from comit_ray.evaluation.image_rows import AT_ONCE, ImageRows, batches
from comit_ray.evaluation.pictures import random_sheet
from comit_ray.evaluation.subgroups import area_block
from comit_ray.screening.screen_tables import EMBEDDINGS, GRADCAM, VARIANTS
from comit_ray.statistics.intervals import patient_codes
from comit_ray.statistics.measure import measure
from comit_ray.statistics.metric import (
    Block,
    BoolArray,
    FloatArray,
    IntArray,
    Metric,
    MetricEntry,
    mean,
    ratios,
    undefined,
)
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import counted

FOLDS = 5


def probe() -> Pipeline:
    """A linear probe that is not fitted yet."""
    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5_000))


def out_of_fold(
    x_NC: FloatArray,
    truth_N: npt.NDArray[Any],
    patients_N: IntArray,
    seed: int,
    method: Literal["predict", "decision_function"],
) -> npt.NDArray[Any]:
    """(N,) outputs of the probe for every image, fitted without its patient (scikit-learn, `StratifiedGroupKFold`).

    Args:
        x_NC: (N, C) finite embeddings.
        truth_N: class of each image.
        patients_N: a whole number for each patient.
        seed: seed of the 5 folds.
        method: `predict` gives the class, `decision_function` the decision value for two classes.
    """
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    found: npt.NDArray[Any] = cross_val_predict(probe(), x_NC, truth_N, groups=patients_N, cv=folds, method=method)
    return found


LEFT_OUT, KEPT = "auroc_left_out", "auroc_kept"
ENOUGH = FOLDS
"""The fewest patients of each class on which a probe is fitted and tested."""


def left_out_blocks(images: pd.DataFrame, x_NC: FloatArray, seed: int) -> dict[str, tuple[BoolArray, list[Block]]]:
    """Source -> its images (N,), and two AUROCs among them: of the probe fitted without the source, and with it.

    The probe with the source is fitted without the patient of the image that it scores (scikit-learn,
    `StratifiedGroupKFold`, 5 folds). The blocks cover all images and count those of the source. The bootstrap draws
    patients' scores and does not fit again.

    Args:
        images: N images, with dataset, patient_id and covid (0 or 1).
        x_NC: (N, C) their finite embeddings.
        seed: seed of the folds.
    """
    codes_N = patient_codes(images["patient_id"])
    covid_N = (images["covid"] == 1).to_numpy(bool)
    sources = images["dataset"].astype(str).to_numpy()
    names = sorted(set(sources))
    if len(names) < 2:
        return {}
    kept_N = _kept(x_NC, covid_N, codes_N, seed)
    found = {}
    for name in names:
        mine_N = sources == name
        rest_N = ~mine_N & ~np.isin(codes_N, codes_N[mine_N])
        alone = _lacks(covid_N[mine_N], codes_N[mine_N])
        others = _lacks(covid_N[rest_N], codes_N[rest_N])
        left_N = None
        if alone is None and others is None:
            left_N = np.zeros(len(images))
            left_N[mine_N] = probe().fit(x_NC[rest_N], covid_N[rest_N]).decision_function(x_NC[mine_N])
        why_left = f"the source has {alone}" if alone else f"the other sources have {others}"
        why_kept = f"the source has {alone}" if alone else "all sources together have too few patients for the folds"
        found[name] = (
            mine_N,
            [
                _auroc_left_out(LEFT_OUT, left_N, covid_N, mine_N, why_left),
                _auroc_left_out(KEPT, None if alone else kept_N, covid_N, mine_N, why_kept),
            ],
        )
    return found


def _lacks(covid_M: BoolArray, codes_M: npt.NDArray[np.int64]) -> str | None:
    """The words for a class with too few patients; None if both classes have enough."""
    for has, what in ((covid_M, "with COVID-19"), (~covid_M, "without COVID-19")):
        patients = len(np.unique(codes_M[has]))
        if patients < ENOUGH:
            return f"images {what} of {counted(patients, 'patient')}, at least {ENOUGH} are needed"
    return None


def _kept(x_NC: FloatArray, covid_N: BoolArray, codes_N: npt.NDArray[np.int64], seed: int) -> FloatArray | None:
    if _lacks(covid_N, codes_N) is not None:
        return None
    return out_of_fold(x_NC, covid_N, codes_N, seed, "decision_function")


def _auroc_left_out(metric: str, scores_N: FloatArray | None, covid_N: BoolArray, mine_N: BoolArray, why: str) -> Block:
    if scores_N is None:
        return undefined(metric, len(mine_N), why)
    return area_block(MetricEntry(metric, mine_N, undefined=why, positive_N=covid_N), scores_N)


ENOUGH_IMAGES, ENOUGH_PATIENTS = 10, FOLDS
"""The fewest images and patients of a source that the probe tries to recognise."""


def source_probe_block(metric: str, images: pd.DataFrame, x_NC: FloatArray, seed: int = 0) -> Block:
    """The balanced accuracy of the probe: the mean over sources of the share of their images that it recognises.

    Every image is classified by a probe that was fitted without its patient (scikit-learn, `StratifiedGroupKFold`, 5
    folds). Chance is 1 / number of sources. The bootstrap draws patients' classified images and does not fit again.

    Args:
        metric: name of the metric.
        images: N images, with dataset and patient_id.
        x_NC: (N, C) their finite embeddings.
        seed: seed of the folds.
    """
    codes_N = patient_codes(images["patient_id"])
    sources = sources_with_enough_images(images)
    used_N = images["dataset"].isin(sources).to_numpy(bool)
    if len(sources) < 2:
        why = (
            f"at least two sources with {ENOUGH_IMAGES} images of {ENOUGH_PATIENTS} patients each are needed, got "
            f"{len(sources)}"
        )
        return undefined(metric, len(images), why)
    truth_N = np.searchsorted(sources, images["dataset"].astype(str).to_numpy())
    named_N = np.zeros(len(images), np.int64)
    named_N[used_N] = out_of_fold(x_NC[used_N], truth_N[used_N], codes_N[used_N], seed, "predict")
    right_N = (named_N == truth_N) & used_N

    def values(weights_N: IntArray) -> FloatArray:
        count_S, right_S = (
            np.bincount(truth_N[used_N], part_N[used_N], len(sources)) for part_N in (weights_N, weights_N * right_N)
        )
        return np.array([np.nan if (count_S == 0).any() else float((right_S / count_S).mean())])

    return Block((MetricEntry(metric, used_N, all_or_none=True),), values)


def sources_with_enough_images(images: pd.DataFrame) -> list[str]:
    """The sources with enough images and patients for the probe, sorted."""
    counts = (
        images.assign(code=patient_codes(images["patient_id"])).groupby("dataset")["code"].agg(["count", "nunique"])
    )
    known = counts[(counts["count"] >= ENOUGH_IMAGES) & (counts["nunique"] >= ENOUGH_PATIENTS)]
    return sorted(str(name) for name in known.index)


WHOLE, REMOVED, ONLY, CROPPED = "auroc_full", "auroc_lungs_removed", "auroc_lungs_only", "auroc_borders_cropped"
SOURCE_ALONE = "auroc_source_alone"
TOLD, TOLD_WITHOUT = "source_told", "source_told_without_covid"
IN_LUNGS, LUNGS = "gradcam_in_lungs", "lungs_of_the_frame"


@dataclass(frozen=True)
class Audit:
    """The measurements of the audit; a screen that wrote no table for it has few or none.

    Args:
        metrics: metrics with their intervals; always those of the unaltered images.
        confounded: whether some source lacks a class, so that the source alone tells something about COVID-19.
        sources: number of sources in the probe, over all images and over images without COVID-19.
    """

    metrics: list[Metric]
    confounded: bool
    sources: tuple[int, int]


MOST_PROBED = 20_000
"""The most images on whose embeddings a probe is fitted; of more, so many are drawn at random."""
MAPS_AT_ONCE = 5_000
"""Heat maps that are read together."""


def audit(
    images: pd.DataFrame, results: str, split: str, draws: int, seed: int, rows: ImageRows = random_sheet.WHOLE
) -> Audit:
    """Audits the COVID-19 score of a screen.

    Args:
        images: result of `screen_metrics.join_tables`.
        results: URI of the screen; its folders variants/, embeddings/ and gradcam/ are read if they exist.
        split: name of the split.
        draws: number of bootstrap draws.
        seed: seed of the draws, of the probe's folds, and of the choice of at most `MOST_PROBED` images.
        rows: the rows behind `images`.

    Raises:
        StorageError: a table cannot be read.
    """
    known = images[labelled(images, "covid")]
    if known.empty:
        return Audit([], confounded=False, sources=(0, 0))
    classes = known.groupby("dataset")["covid"].nunique()
    metrics = _variants(known, results, split, draws, seed, rows)
    probed, sources = _probes(known, results, split, draws, seed, rows)
    metrics += [*probed, *_heat(known, results, split, draws, seed, rows)]
    return Audit(metrics, bool((classes < 2).any()), sources)


def _batches(results: str, name: str, at_once: int) -> Iterator[pa.Table]:
    """Yields a side table of a screen in batches; nothing if the screen wrote none."""
    try:
        yield from batches(storage.join(storage.normalise(results), name), at_once)
    except NotFoundError:
        return


def _variants(known: pd.DataFrame, results: str, split: str, draws: int, seed: int, rows: ImageRows) -> list[Metric]:
    scores: dict[str, npt.NDArray[np.float32]] = {}
    for batch in _batches(results, VARIANTS, AT_ONCE):
        places, p_covid = rows.places(known, batch["image_id"]), batch["p_covid"].to_numpy()
        names = batch["variant"].to_numpy()
        for name in sorted(set(names[places >= 0])):
            mine = (places >= 0) & (names == name)
            values_N = scores.setdefault(f"auroc_{name}", np.full(len(known), np.nan, np.float32))
            values_N[places[mine]] = p_covid[mine]
    columns = {WHOLE: known["p_covid"].to_numpy(np.float32), **dict(sorted(scores.items()))}
    classes = known.groupby("dataset")["covid"].nunique()
    inside = [str(name) for name in classes.index[classes == 2]] if len(classes) > 1 else []
    found = []
    for group, chosen_N in (
        ("all", np.ones(len(known), bool)),
        *((f"dataset={name}", (known["dataset"] == name).to_numpy(bool)) for name in inside),
    ):
        images = known.iloc[np.flatnonzero(chosen_N)]
        blocks = [_auroc(metric, images, values_N[chosen_N]) for metric, values_N in columns.items()]
        if group == "all" and len(classes) > 1:
            covid = images["covid"].astype(np.float64).groupby(images["dataset"])
            blocks.insert(1, _auroc(SOURCE_ALONE, images, covid.transform("mean").to_numpy(np.float32)))
        found += measure(blocks, images["patient_id"], split, group, draws, seed)
    return found


def _auroc(metric: str, images: pd.DataFrame, scores_N: npt.NDArray[np.float32]) -> Block:
    scored_N, positive_N = ~np.isnan(scores_N), (images["covid"] == 1).to_numpy(bool)
    why = "the images that could be altered and scored are all of one class"
    return area_block(MetricEntry(metric, scored_N, undefined=why, positive_N=positive_N), scores_N)


def _probes(
    known: pd.DataFrame, results: str, split: str, draws: int, seed: int, rows: ImageRows
) -> tuple[list[Metric], tuple[int, int]]:
    probed = known
    if len(known) > MOST_PROBED:
        probed = known.loc[np.sort(rows.first(known, MOST_PROBED, seed, masks=False).index.to_numpy())]
    vectors: dict[int, FloatArray] = {}
    for batch in _batches(results, EMBEDDINGS, AT_ONCE):
        places = rows.places(probed, batch["image_id"])
        mine = np.flatnonzero(places >= 0)
        chosen = batch["embedding"].take(pa.array(mine)).to_pylist()
        vectors |= {int(place): np.array(one, np.float64) for place, one in zip(places[mine], chosen, strict=True)}
    if not vectors:
        return [], (0, 0)
    x_NC = np.stack([vectors[place] for place in sorted(vectors)])
    finite_N = np.isfinite(x_NC).all(axis=1)
    of = probed.iloc[np.array(sorted(vectors))[finite_N]].reset_index(drop=True)
    x_NC = x_NC[finite_N]
    found, counts = [], []
    for metric, chosen_N in ((TOLD, np.ones(len(of), bool)), (TOLD_WITHOUT, (of["covid"] == 0).to_numpy(bool))):
        images = of.iloc[np.flatnonzero(chosen_N)].reset_index(drop=True)
        counts.append(len(sources_with_enough_images(images)))
        block = source_probe_block(metric, images, x_NC[chosen_N], seed)
        found += measure([block], images["patient_id"], split, "all", draws, seed)
    for source, (_, blocks) in left_out_blocks(of, x_NC, seed).items():
        found += measure(blocks, of["patient_id"], split, f"dataset={source}", draws, seed)
    return found, (counts[0], counts[1])


def _heat(known: pd.DataFrame, results: str, split: str, draws: int, seed: int, rows: ImageRows) -> list[Metric]:
    """The share of each COVID-19 heat map inside the predicted lungs, and the share of the frame that is lung."""
    share_N: FloatArray | None = None
    for batch in _batches(results, GRADCAM, MAPS_AT_ONCE):
        share_N = np.full(len(known), np.nan) if share_N is None else share_N
        places = rows.places(known, batch["image_id"])
        batch, places = batch.filter(pa.array(places >= 0)), places[places >= 0]
        lungs = rows.lungs(known, batch["image_id"])
        columns = (batch[name].to_pylist() for name in ("image_id", "covid_png"))
        for place, image_id, png in zip(places, *columns, strict=True):
            if png is not None and image_id in lungs:
                share_N[place] = _inside(png, from_png(lungs[image_id]))
    if share_N is None:
        return []
    area_N = np.where(np.isnan(share_N), np.nan, known["lung_area"].to_numpy(np.float64, na_value=np.nan))
    none = "no image has both a map of the COVID-19 score and predicted lungs"
    blocks: Sequence[Block] = [ratios([mean(IN_LUNGS, share_N, undefined=none), mean(LUNGS, area_N, undefined=none)])]
    return measure(blocks, known["patient_id"], split, "all", draws, seed)


def _inside(png: bytes, lung_HW: npt.NDArray[np.bool_]) -> float:
    """The share of a heat map that lies in the lungs; NaN if the map is positive nowhere."""
    with Image.open(io.BytesIO(png)) as image:
        map_HW = np.asarray(image, np.float64)
    whole = map_HW.sum()
    return float(map_HW[lung_HW].sum() / whole) if whole else float("nan")
