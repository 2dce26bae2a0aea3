"""Draws the pictures of a report (not calibration): curves, images, heat maps, map of embeddings, a random sheet."""

from dataclasses import dataclass, field

import pandas as pd

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.errors import Status
from comit_ray.evaluation import archive_report
from comit_ray.evaluation.classification import labelled
from comit_ray.evaluation.labelled_images import LabelledImages
from comit_ray.evaluation.pictures import case_pictures, curve_pictures, embedding_pictures, mask_pictures, random_sheet
from comit_ray.evaluation.pictures.picture import Picture
from comit_ray.evaluation.screen_metrics import absent_heads, by_dataset
from comit_ray.screening.results_folder import QUEUE_FILE
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.vocabulary import counted

ALL = "all images"


@dataclass
class Drawn:
    """The pictures of each chapter."""

    curves: list[Picture] = field(default_factory=list)
    galleries: list[Picture] = field(default_factory=list)
    heat: list[Picture] = field(default_factory=list)
    maps: list[Picture] = field(default_factory=list)


def draw(
    config: EvaluateConfig, source: LabelledImages, verdicts: pd.DataFrame | None, split: str, output: str
) -> Drawn:
    """Draws figures 9 to 14 of the paper as far as the screen has data, falsely called images, and a sheet.

    Args:
        config: options of the job.
        source: the images of the split.
        verdicts: result of `external.consensus`; None if nobody read the archive.
        split: name of the split.
        output: URI of the report.

    Raises:
        StorageError: a table cannot be read, or a picture cannot be written.
    """
    drawn, images = Drawn(), source.frame
    absent = absent_heads(images)
    limits, seed = config.decode, config.seed
    like: case_pictures.Like = {"seed": seed, "lungs": config.masks.lungs, "rows_of": source}
    if "covid" not in absent:
        panels = {f"{split} split": _curves(images)}
        drawn.curves += [curve_pictures.rocs(panels, output), curve_pictures.precision_recalls(panels, output)]
        name = "figure_14_missed" if config.external else "missed"
        if config.external:
            drawn.galleries.append(case_pictures.found(images, output, limits, **like))
        drawn.galleries.append(case_pictures.missed(images, verdicts, output, limits, name=name, **like))
        drawn.galleries.append(case_pictures.falsely_called(images, output, limits, **like))
        if not config.external and "unhealthy" not in absent:
            drawn.galleries.append(case_pictures.misclassified(images, output, limits, **like))
    drawn.galleries += _sheet(config, source, split, output)
    if config.results is not None and config.sheet_images:
        drawn.galleries += _queue(config, source, output)
    if config.results is not None:
        results = storage.normalise(config.results)
        if storage.exists(storage.join(results, "embeddings")):
            drawn.maps.append(embedding_pictures.embedding_map(images, results, output, seed, source))
        if storage.exists(storage.join(results, "gradcam")):
            drawn.heat.append(mask_pictures.gradcam(images, results, output, limits, seed=seed, rows_of=source))
    return drawn


def _curves(images: pd.DataFrame) -> dict[str, list[pd.DataFrame]]:
    """All images, and if there are several datasets, each that has both classes."""
    scored = images[["status", "dataset", "covid", "p_covid"]][labelled(images, "covid")]
    datasets = {group: [rows] for group, rows in by_dataset(scored, alone=False) if rows["covid"].nunique() == 2}
    return {ALL: [scored], **{group: rows for group, rows in datasets.items() if group != "all"}}


def _sheet(config: EvaluateConfig, source: LabelledImages, split: str, output: str) -> list[Picture]:
    if not config.sheet_images:
        return []
    scored = source.frame[["covid"]][source.frame["status"] == Status.OK]
    if scored.empty:
        return []
    chosen = random_sheet.choose(scored, config.sheet_images, config.sheet_seed, source)
    caption = (
        f"{len(chosen):,} of {counted(len(scored), 'scored image')}, drawn at random by their ids and labels and never "
        f"by scores; labelled COVID-19: {int((chosen['covid'] == 1).sum())}. Predicted masks have solid lines, "
        "annotated masks dashed lines; without dashed lines nothing is annotated, or there is nothing to outline."
    )
    title = f"{split} split, drawn at random"
    return [random_sheet.written(output, "sheet", caption, chosen, title, config.decode, config.masks.lungs)]


def _queue(config: EvaluateConfig, source: LabelledImages, output: str) -> list[Picture]:
    """The first images of the queue, among the images of this split; nothing if the results have no queue."""
    uri = storage.join(storage.normalise(config.results or ""), QUEUE_FILE)
    if not storage.exists(uri):
        return []
    queue = parquet.read_part(uri, ["image_id", "rank"])
    ranked = source.first_of_queue(queue, config.sheet_images)
    shown = archive_report.queue_sheet(config, ranked, queue.num_rows, output)
    return [] if shown is None else [shown]
