"""The report of one screen, or of a bare predictions table, written from tables: figures, pictures and words."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from comit_ray import storage
from comit_ray.config import EvaluateConfig
from comit_ray.errors import Status
from comit_ray.evaluation import (
    audit,
    audit_words,
    confusion,
    document,
    external,
    external_tables,
    paper,
    pictures,
    report,
    scores,
    sheet,
    trust,
    two_screens,
)
from comit_ray.evaluation.classification import operating_points
from comit_ray.evaluation.document import Document
from comit_ray.evaluation.picture import DIRECTORY, Picture
from comit_ray.evaluation.tables import Table

ALL = "all images"
OF_THE_PAPER = (
    "The paper's values are of other data (its test split: {covid:,} images with COVID-19 and {others:,} others): a "
    "difference from ours says nothing about either."
)


def write(config: EvaluateConfig) -> str:
    """Write report.md, report.html, metrics.json, tables/ and figures/ below `config.output`.

    Where two screens are compared, comparison.json too.

    Args:
        config: of the job, with `results` or `predictions`.

    Returns:
        The report's Markdown.

    Raises:
        ComitError: of `scores.join_tables` and `external.read_reviews`; or the report cannot be written.
    """
    split = config.split or ("all" if config.external else "test")
    images = _images(config, split, config.results or config.predictions)
    readings = external.read_reviews(config.reviews, config.manifest) if config.reviews else None
    verdicts = None if readings is None else external.consensus(readings)
    figures = scores.figures(
        images,
        split,
        config.masks.lungs,
        config.specificities,
        config.draws,
        config.seed,
        sensitivities=config.sensitivities,
        more=external.figures_of(operating_points(images)["covid"], verdicts) if config.external else None,
    )
    output = storage.normalise(config.output)
    trusted = trust.judge(config, images, split, output)
    said = [*report.sentences(images, figures, config), *trusted.said]
    tables = report.tables(figures, images, config.external) | confusion.tables(images) | trusted.tables
    figures = trust.together(figures, trusted.figures)
    if config.results is not None and "covid" not in scores.absent_heads(images):
        audited = audit.audit(images, config.results, split, config.draws, config.seed)
        said = [*audit_words.sentences(audited), *said]
        shown = audit_words.table(audited)
        tables = ({"audit": shown} if shown else {}) | tables
        figures += audited.figures
    if config.external:
        said = [*external_tables.sentences(images, figures, verdicts), *said]
        tables = external_tables.tables(images, verdicts, readings) | tables
    if config.compare is not None:
        others = _images(config, split, config.compare)
        differences = two_screens.compare(images, others, config.draws, config.seed)
        said = [*two_screens.sentences(differences, images, others), *said]
        tables["comparison"] = two_screens.table(differences)
        records = json.dumps([asdict(one) for one in differences], indent=1)
        storage.write_bytes(storage.join(output, "comparison.json"), records.encode())
    drawn = [*_pictures(config, images, verdicts, split, output), *trusted.pictures]

    metrics = json.dumps([figure.to_json() for figure in figures], indent=1)
    storage.write_bytes(storage.join(output, "metrics.json"), metrics.encode())
    return document.write(_document(images, split, said, tables, drawn, config), output)


def _images(config: EvaluateConfig, split: str, uri: str | None) -> pd.DataFrame:
    assert uri is not None, "the configuration asks for results or predictions"
    join = scores.join_tables if config.results is not None else scores.join_predictions
    return join(uri, config.manifest, split)


def _pictures(
    config: EvaluateConfig, images: pd.DataFrame, verdicts: pd.DataFrame | None, split: str, output: str
) -> list[Picture]:
    """Figures 9 to 14 of the paper, where the screen has what they show, and a sheet drawn at random."""
    found: list[Picture] = []
    absent = scores.absent_heads(images)
    if "covid" not in absent:
        panels = {f"{split} split": _curves(images)}
        points = {} if config.external else {ALL: _paper_points()}
        found += [pictures.rocs(panels, output, points), pictures.precision_recalls(panels, output)]
        limits, seed, lungs = config.decode, config.seed, config.masks.lungs
        if config.external:
            found.append(pictures.found(images, output, limits, seed=seed, lungs=lungs))
            found.append(pictures.missed(images, verdicts, output, limits, seed=seed, lungs=lungs))
        elif "unhealthy" not in absent:
            found.append(pictures.misclassified(images, output, limits, seed=seed, lungs=lungs))
    if config.results is not None:
        results = storage.normalise(config.results)
        if storage.exists(storage.join(results, "embeddings")):
            found.append(pictures.embedding_map(images, results, output, config.seed))
        if storage.exists(storage.join(results, "gradcam")):
            found.append(pictures.gradcam(images, results, output, config.decode, seed=config.seed))
    found += _sheet(config, images, split, output)
    return sorted(found, key=lambda picture: picture.name)


def _curves(images: pd.DataFrame) -> dict[str, list[pd.DataFrame]]:
    """All images, and where there are several datasets each alone that has both classes."""
    scored = images[(images["status"] == Status.OK) & images["p_covid"].notna() & images["covid"].notna()]
    datasets = list(scored.groupby("dataset"))
    alone = {f"dataset={name}": [rows] for name, rows in datasets if len(datasets) > 1 and rows["covid"].nunique() == 2}
    return {ALL: [scored], **alone}


def _paper_points() -> list[tuple[float, float]]:
    theirs = paper.TABLE_4["COMiT-Net"]
    return [(0.01, theirs.at_99), (0.10, theirs.at_90)]


def _sheet(config: EvaluateConfig, images: pd.DataFrame, split: str, output: str) -> list[Picture]:
    scored = images[images["status"] == Status.OK]
    if not config.sheet_images or scored.empty:
        return []
    chosen = sheet.choose(scored, config.sheet_images, config.sheet_seed)
    png = sheet.draw(chosen, f"{split} split, drawn at random", config.decode, config.masks.lungs)
    file = f"{DIRECTORY}/sheet.png"
    storage.write_bytes(storage.join(output, file), png)
    caption = (
        f"{len(chosen):,} of {len(scored):,} scored images, drawn at random by their ids and labels, never by scores; "
        f"labelled COVID-19: {int((chosen['covid'] == 1).sum())}. Predicted masks are drawn solid, true ones dashed."
    )
    return [Picture("sheet", caption, (file,))]


def _document(
    images: pd.DataFrame,
    split: str,
    said: Sequence[str],
    tables: dict[str, Table],
    drawn: Sequence[Picture],
    config: EvaluateConfig,
) -> Document:
    what = "External archive" if config.external else "Evaluation"
    of_the_paper = OF_THE_PAPER.format(covid=paper.COVID_IMAGES, others=paper.OTHER_IMAGES)
    return Document(
        f"{what}: {split} split, {len(images):,} images of {report.people(images):,} patients",
        report.CAUTION,
        [*said, of_the_paper],
        tables,
        drawn,
        "Numbers are cut, not rounded. metrics.json has every figure, tables/ every table as CSV and LaTeX.",
        frozenset(tables) - {*report.SECTIONS, "comparison", *trust.WHOLE},
        trust.ASIDE,
    )
