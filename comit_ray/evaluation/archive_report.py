"""The report of an archive without labels: outcomes, flags, what to read first, what nobody has read.

Nothing is judged, for nothing is known to be right. It is made from the tables of a results folder and the manifest.
"""

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.errors import ManifestError, NotFoundError, Status, StorageError
from comit_ray.evaluation import frontal_report, model_card
from comit_ray.evaluation.first_page import percent
from comit_ray.evaluation.metrics_report import people
from comit_ray.evaluation.pictures import random_sheet
from comit_ray.evaluation.pictures.picture import DIRECTORY, Picture
from comit_ray.evaluation.report import document
from comit_ray.evaluation.report.document import Chapter, FirstPage, ReportDocument, Table
from comit_ray.evaluation.report.printing import ROUNDING, score
from comit_ray.evaluation.screen_metrics import LABELS, read_masks
from comit_ray.evaluation.shortcuts_report import ALARMS
from comit_ray.screening import drift, run_settings
from comit_ray.screening.results_folder import QUEUE_FILE, UNREAD_FILE, in_words
from comit_ray.screening.screen_tables import read_predictions
from comit_ray.statistics.intervals import wilson
from comit_ray.storage import storage
from comit_ray.tables import parquet

CAUTION = (
    "Not for diagnosis. Not flagged is not normal. The images have no labels: how many flags are right, and what was "
    "missed, is not known here."
)
HEADS = {"covid": "COVID-19", "unhealthy": "unhealthy"}
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
GROUPS = {"site": "site", "dataset": "source", "view": "view", "device": "device", "month": "month"}
READ_FIRST = 12
"""Images of the queue that the report shows."""


def unlabelled(manifest_uri: str) -> bool:
    """Whether no image of the manifest is labelled for COVID-19 or as healthy or not.

    Raises:
        StorageError: it cannot be read.
    """
    labels = parquet.read_table(manifest_uri, ["covid", "unhealthy"])
    return all(labels[name].null_count == labels.num_rows for name in ("covid", "unhealthy"))


def write(config: EvaluateConfig, more: Sequence[Chapter] = ()) -> str:
    """Write report.md, report.html, metrics.json, tables/ and figures/ below `config.output`; the Markdown.

    Args:
        config: of the job, with `results`.
        more: chapters of others, such as the reading room's, before the unread images.

    Raises:
        ManifestError: no image of the results is in the manifest.
        StorageError: a table cannot be read, or the report not be written.
    """
    assert config.results is not None, "a report of an archive is made from a results folder"
    results, output = storage.normalise(config.results), storage.normalise(config.output)
    images = _images(config, results)
    head = next((name for name in HEADS if images[f"{name}_flag"].notna().any()), None)
    drifted = drift.read(results)
    said = [] if drifted is None else drift.sentences(drifted)
    queue, unread = _table(results, QUEUE_FILE), _table(results, UNREAD_FILE)
    sheet = None if queue is None else queue_sheet(config, images, queue, output)
    shares = {} if head is None else _flagged_by(images, head, config.subgroup_minimum)
    chapters = [
        Chapter("accounts", "What became of the images", (), {"accounts": _accounts(images)}),
        frontal_report.chapter(config.results, images),
        Chapter("flagged", "Share flagged", _of_shares(head, config.subgroup_minimum), shares),
        Chapter("scores", "Scores against the validation images", *_scores(config, images)),
        Chapter("drift", "Does the archive look like the training data?", said or ["Not known: no drift.json."]),
        Chapter("queue", "What to read first", _of_queue(queue), _first(queue), [sheet] if sheet else []),
        *more,
        Chapter("unread", "What nobody has read", _of_unread(unread), _unread(unread)),
    ]
    counts = {
        "images": len(images),
        "by_status": {str(status): int((images["status"] == status).sum()) for status in Status},
        "flagged": None if head is None else int(_flagged(images, head).sum()),
        "in_queue": None if queue is None else len(queue),
        "unread": None if unread is None else len(unread),
    }
    storage.write_bytes(storage.join(output, "metrics.json"), json.dumps(counts, indent=1).encode())
    page = ReportDocument(
        f"Archive without labels: {len(images):,} images of {people(images):,} patients",
        CAUTION,
        chapters,
        f"{ROUNDING} Intervals are Wilson's at 95%. tables/ has every table as CSV and LaTeX.",
        alarms=ALARMS,
        first=FirstPage(_verdict(images, head, said, queue, unread), _numbers(images, head, queue, unread), sheet),
    )
    return document.write(page, output)


def _images(config: EvaluateConfig, results: str) -> pd.DataFrame:
    """Predictions with the manifest's columns and masks; images of the asked split, or all that were screened."""
    table = read_predictions(results)
    labels = parquet.read_table(config.manifest, [*LABELS, "acquired_on"])
    labels = labels.filter(pc.is_in(labels["image_id"], table["image_id"].combine_chunks()))
    if config.split not in (None, "all"):
        labels = labels.filter(pc.equal(labels["split"], config.split))
    if not labels.num_rows:
        raise ManifestError(
            f"expected images of {config.results} in {config.manifest}, there is none (split {config.split or 'all'}): "
            "give the manifest that was screened, or --split all"
        )
    months = pc.strftime(labels["acquired_on"].cast("timestamp[s]"), format="%Y-%m").to_pylist()
    known = labels.drop_columns(["acquired_on"]).to_pandas().assign(month=months)
    joined = known.merge(table.to_pandas(), on="image_id", how="left", validate="one_to_one")
    joined = joined.merge(read_masks(results, table).to_pandas(), on="image_id", how="left", validate="one_to_one")
    try:
        thresholds = run_settings.recorded_operating_point(results).thresholds
    except StorageError:  # no run.json, or one without thresholds: flags are in the table, their threshold is not
        thresholds = {}
    known_thresholds: pd.DataFrame = joined.assign(**{f"{name}_threshold": thresholds.get(name) for name in HEADS})
    return known_thresholds


def _table(results: str, file: str) -> pd.DataFrame | None:
    """A table of the queue; None where an older version screened, or there is none."""
    try:
        table: pd.DataFrame = parquet.read_part(storage.join(results, file)).to_pandas()
    except NotFoundError:
        return None
    return table


def _flagged(images: pd.DataFrame, head: str) -> pd.Series:
    return images[f"{head}_flag"].fillna(False).astype(bool)


def _accounts(images: pd.DataFrame) -> Table:
    counts = Counter(zip(images["status"], images["reason"].fillna(""), strict=True))
    rows = [
        (str(status), in_words(str(reason)) if reason else "has scores or masks", f"{count:,}")
        for (status, reason), count in counts.most_common()
    ]
    return Table("What became of the images", ("status", "why", "images"), tuple(rows))


def _flagged_by(images: pd.DataFrame, head: str, minimum: int) -> dict[str, Table]:
    """The share flagged by site, source, view, device and month; of few patients the count alone."""
    judged = images[images[f"{head}_flag"].notna()]
    tables = {}
    for column, word in GROUPS.items():
        names = judged[column].fillna("not known").replace("unknown", "not known")
        if set(names) == {"not known"}:
            continue
        rows = []
        for name, group in judged.groupby(names):
            flagged, patients = int(_flagged(group, head).sum()), people(group)
            told = "too few patients" if patients < minimum else _share(flagged, len(group))
            rows.append((str(name), f"{len(group):,}", f"{patients:,}", f"{flagged:,}", told))
        columns = (word, "scored", "patients", "flagged", "share flagged")
        tables[f"flagged_by_{column}"] = Table(f"Share flagged by {word}", columns, tuple(rows))
    return tables


def _share(count: int, of: int) -> str:
    interval = wilson(count, of)
    return percent(count / of, interval.low, interval.high)


def _of_shares(head: str | None, minimum: int) -> list[str]:
    if head is None:
        return ["The model has no score: no image is flagged."]
    return [
        f"Flagged are images whose {HEADS[head]} score reaches its threshold.",
        "A share that differs can be another case mix, or another device.",
        f"It is not printed of fewer than {minimum} patients. Several images of a patient make intervals too narrow.",
    ]


def _scores(config: EvaluateConfig, images: pd.DataFrame) -> tuple[list[str], dict[str, Table]]:
    """Quantiles of the scores beside those of the checkpoint's validation images."""
    known = (model_card.read(config.results).facts or {}).get("quantiles", {})
    calibrated = (images["calibration"] == "temperature").any()
    rows = []
    for head, word in HEADS.items():
        ours = images[f"p_{head}"].dropna().to_numpy(np.float64)
        theirs = np.asarray([] if calibrated else known.get(head, []), np.float64)
        if len(ours):
            for at in QUANTILES:
                beside = score(float(np.quantile(theirs, at))) if len(theirs) else "not known"
                rows.append((word, f"{1 - at:.0%}", score(float(np.quantile(ours, at))), beside))
    if not rows:
        return ["There are no scores."], {}
    columns = ("score", "of the images at least", "here", "validation images")
    why = " Scores here are calibrated, those remembered are not." if calibrated else ""
    return (
        [f"The same share of images has at least this score. A difference is another case mix, or drift.{why}"],
        {"scores": Table("Scores here and on validation images", columns, tuple(rows))},
    )


def _of_queue(queue: pd.DataFrame | None) -> list[str]:
    if queue is None:
        return ["There is no review queue in the results."]
    return [f"{len(queue):,} images are in the queue (queue.csv), most urgent first."]


def _first(queue: pd.DataFrame | None) -> dict[str, Table]:
    if queue is None or queue.empty:
        return {}
    rows = [
        (
            f"{row['rank']}",
            str(row["image_id"]),
            "; ".join(in_words(reason) for reason in row["reasons"]),
            "" if pd.isna(row["score"]) else score(row["score"], 3),
        )
        for row in queue.sort_values("rank").head(READ_FIRST).to_dict("records")
    ]
    return {"read_first": Table("The head of the queue", ("rank", "image", "why", "score"), tuple(rows))}


def _of_unread(unread: pd.DataFrame | None) -> list[str]:
    if unread is None:
        return ["The results have no list of unread images: `comit-ray requeue` writes it."]
    return [f"{len(unread):,} images have no score, or no place in the queue. unread.csv has the path of each."]


def _unread(unread: pd.DataFrame | None) -> dict[str, Table]:
    if unread is None or unread.empty:
        return {}
    rows = [
        (str(status), str(why), f"{len(group):,}", f"{int(group['queue_rank'].notna().sum()):,}", group["path"].iloc[0])
        for (status, why), group in unread.groupby(["status", "why"], sort=False)
    ]
    columns = ("status", "why", "images", "of them in the queue", "for example")
    return {"unread": Table("Images that nobody has read", columns, tuple(rows))}


def _verdict(
    images: pd.DataFrame,
    head: str | None,
    said: Sequence[str],
    queue: pd.DataFrame | None,
    unread: pd.DataFrame | None,
) -> list[str]:
    scored = int((images["status"] == Status.OK).sum())
    alarms = [text.split(": ")[1] for text in said if text.startswith(ALARMS)]
    verdict = [f"WARNING: {alarms[0]}: what the flags are worth here is not known."] if alarms else []
    flags = "none can be flagged" if head is None else f"{int(_flagged(images, head).sum()):,} of these are flagged"
    verdict.append(f"Of {len(images):,} images {scored:,} were scored, and {flags}; not flagged is not normal.")
    first = "There is no queue" if queue is None else f"Read the {len(queue):,} images of the queue first"
    left = "" if unread is None else f"; {int(unread['queue_rank'].isna().sum()):,} images are in no queue and unread"
    verdict.append(f"{first}{left}: without labels nothing says how many flags are right.")
    return verdict


def _numbers(
    images: pd.DataFrame, head: str | None, queue: pd.DataFrame | None, unread: pd.DataFrame | None
) -> list[tuple[str, str]]:
    scored = images["status"] == Status.OK
    rows = [("Images scored", f"{int(scored.sum()):,} of {len(images):,}")]
    for name, word in HEADS.items():
        judged = images[images[f"{name}_flag"].notna()]
        if len(judged):
            count = int(_flagged(judged, name).sum())
            rows.append((f"Flagged: {word}", f"{count:,} of {len(judged):,}, {_share(count, len(judged))}"))
    failed, excluded = (int((images["status"] == status).sum()) for status in (Status.FAILED, Status.EXCLUDED))
    rows.append(("Failed, or excluded", f"{failed:,} failed, {excluded:,} excluded"))
    if queue is not None:
        rows.append(("In the queue", f"{len(queue):,} images"))
    if unread is not None:
        rows.append(("In no queue, and unread", f"{int(unread['queue_rank'].isna().sum()):,} images"))
    return rows


def queue_sheet(config: EvaluateConfig, images: pd.DataFrame, queue: pd.DataFrame, output: str) -> Picture | None:
    """The head of the queue as a sheet, in its order; None where nothing of it has a score.

    Args:
        config: of the job, for the number of images and the bounds on them.
        images: rows with predictions, places and masks.
        queue: the review queue.
        output: URI of the report.

    Raises:
        StorageError: the picture cannot be written.
    """
    ranked = images.merge(queue[["image_id", "rank"]], on="image_id").sort_values("rank")
    chosen = ranked[ranked["status"] == Status.OK].head(config.sheet_images)
    if chosen.empty:
        return None
    png = random_sheet.draw(chosen, "Head of the review queue", config.decode, config.masks.lungs)
    file = f"{DIRECTORY}/queue.png"
    storage.write_bytes(storage.join(output, file), png)
    ranks = f"{int(chosen['rank'].iloc[0])} to {int(chosen['rank'].iloc[-1])}"
    caption = (
        f"The first {len(chosen):,} scored images of {len(queue):,} in the review queue, in order (ranks {ranks}). "
        "Below each: the decision, the score against its threshold, the label, the view and the image's id."
    )
    return Picture("queue", caption, (file,))
