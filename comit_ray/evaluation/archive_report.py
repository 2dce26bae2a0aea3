"""The report of an archive without labels: outcomes, flags, what to read first, what nobody has read.

Nothing is judged, for nothing is known to be right. It is made from the tables of a results folder and the manifest.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.errors import Status, StorageError
from comit_ray.evaluation import archive_counts, frontal_report, model_card
from comit_ray.evaluation.archive_counts import ArchiveCounts
from comit_ray.evaluation.first_page import percent
from comit_ray.evaluation.metrics_report import in_patients
from comit_ray.evaluation.pictures import random_sheet
from comit_ray.evaluation.pictures.picture import Picture
from comit_ray.evaluation.report import document
from comit_ray.evaluation.report.document import MAY_UNBLIND, Chapter, FirstPage, ReportDocument, Table
from comit_ray.evaluation.report.printing import ROUNDING, score, three_digits
from comit_ray.evaluation.shortcuts_report import ALARMS
from comit_ray.screening import drift, run_settings
from comit_ray.screening.results_folder import in_words, queue_head, wants_sample
from comit_ray.screening.screen_summary import SAMPLE, sample_command
from comit_ray.statistics.intervals import wilson
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.vocabulary import RANDOM_ORDER, block_words, counted, review_words

CAUTION = (
    "Not for diagnosis. Not flagged is not normal. The images have no labels: how many flags are right, and what was "
    "missed, is not known here. The share of flagged images is not the share of patients with COVID-19. A score is no "
    "probability. How good this model is, for whom it is not meant, and whether it recognises hospitals in place of "
    "disease, is in its report on labelled images: read that first."
)
UNCHECKED = (
    "No image was checked for a frontal chest: laterals, CT slices and other pictures have scores and flags too."
)
HEADS = {"covid": "COVID-19", "unhealthy": "unhealthy"}
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
WORDS = {"site": "site", "dataset": "source", "view": "view", "device": "device", "month": "month"}
"""What images are grouped by, in words."""
PATHS = "read_first_images"
"""Name of the table with the paths of the images to read first; folded, because a path may name a diagnosis."""
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
    counts = archive_counts.count(config, results, tuple(HEADS))
    thresholds = _thresholds(results)
    head = next(iter(counts.heads), None)
    drifted = drift.read(results)
    said = [] if drifted is None else drift.sentences(drifted)
    alarms = [text.partition("\n")[0].partition(": ")[2].rstrip(":") for text in said if text.startswith(ALARMS)]
    trusted = drifted is None or drifted.trusted is not False
    sheet = queue_sheet(config, _with_thresholds(counts.first, thresholds), counts.queued or 0, output)
    shares = {} if head is None else _flagged_by(counts, config.subgroup_minimum, trusted)
    chapters = [
        Chapter("accounts", "What became of the images", (), {"accounts": _accounts(counts)}),
        frontal_report.chapter(config.results, counts.frontal),
        Chapter("flagged", "Share flagged", _of_shares(head, config.subgroup_minimum, thresholds), shares),
        Chapter("scores", "Scores against the validation images", *_scores(config, counts)),
        Chapter("drift", "Does the archive look like the training data?", said or ["Not known: no drift.json."]),
        Chapter(
            "queue",
            "What to read first",
            _of_queue(config, counts),
            _first(results, counts, thresholds),
            [sheet] if sheet else [],
        ),
        *more,
        Chapter("unread", "What is not in the queue", _of_unread(counts), _unread(counts)),
    ]
    figures = {
        "images": counts.images,
        "by_status": {str(status): counts.status(status) for status in Status},
        "flagged": None if head is None else counts.heads[head].flagged,
        "in_queue": counts.queued,
        "unread": None if counts.unread is None else sum(group.images for group in counts.unread),
    }
    storage.write_bytes(storage.join(output, "metrics.json"), json.dumps(figures, indent=1).encode())
    page = ReportDocument(
        f"Archive without labels: {in_patients(counts.images, counts.patients, counts.without_patient)}",
        CAUTION if counts.frontal.notna().any(axis=None) else f"{CAUTION} {UNCHECKED}",
        chapters,
        f"{ROUNDING} Intervals are Wilson's at 95%. tables/ has every table as CSV and LaTeX.",
        alarms=ALARMS,
        folded=frozenset({PATHS}),
        first=FirstPage(_verdict(config, counts, alarms, trusted), _numbers(counts, trusted=trusted), sheet),
    )
    return document.write(page, output)


def _thresholds(results: str) -> dict[str, float]:
    """Score -> threshold of its flags; empty where no run.json has them."""
    try:
        return dict(run_settings.recorded_operating_point(results).thresholds)
    except StorageError:  # no run.json, or one without thresholds: flags are in the table, their threshold is not
        return {}


def _with_thresholds(images: pd.DataFrame, thresholds: Mapping[str, float]) -> pd.DataFrame:
    """The thresholds of the flags as columns, for captions."""
    return pd.DataFrame(images.assign(**{f"{name}_threshold": thresholds.get(name) for name in HEADS}))


def _accounts(counts: ArchiveCounts) -> Table:
    rows = [
        (status, in_words(reason) if reason else "has scores or masks", f"{images:,}")
        for (status, reason), images in counts.by_reason.items()
    ]
    return Table("What became of the images", ("status", "why", "images"), tuple(rows))


def _flagged_by(counts: ArchiveCounts, minimum: int, trusted: bool) -> dict[str, Table]:
    """The share flagged by group; of few patients, and where flags are not trusted, the count alone."""
    tables = {}
    for column, groups in counts.groups.items():
        rows = []
        for group in groups:
            told = "too few patients" if group.patients < minimum else "flags are not trusted"
            if trusted and group.patients >= minimum:
                told = _share(group.flagged, group.judged, counts.patients)
            rows.append((group.name, f"{group.judged:,}", f"{group.patients:,}", f"{group.flagged:,}", told))
        columns = (WORDS[column], "scored", "patients", "flagged", "share flagged")
        if counts.patients == 0:
            rows = [(name, scored, "not known", flagged, told) for name, scored, _, flagged, told in rows]
        tables[f"flagged_by_{column}"] = Table(f"Share flagged by {WORDS[column]}", columns, tuple(rows))
    return tables


def _share(count: int, of: int, patients: int) -> str:
    if not patients:  # several images of one may make an interval too narrow
        return f"{count / of:.0%}"
    interval = wilson(count, of)
    return percent(count / of, interval.low, interval.high)


def _of_shares(head: str | None, minimum: int, thresholds: Mapping[str, float]) -> list[str]:
    if head is None:
        return ["The model has no score: no image is flagged."]
    known = [f"{HEADS[name]} {three_digits(at)}" for name, at in thresholds.items() if name in HEADS]
    told = ", ".join(known) or "not known"
    return [
        f"Flagged here are images whose {HEADS[head]} score reaches its threshold.",
        f"Thresholds: {told}, of validation images or of the site. How specific they are on these images is not known.",
        "If shares differ, patients or devices differ, or the model does not work on a group.",
        f"No share is printed of fewer than {minimum} patients. Several images of one make intervals too narrow.",
    ]


def _scores(config: EvaluateConfig, counts: ArchiveCounts) -> tuple[list[str], dict[str, Table]]:
    """Quantiles of the scores beside those of the checkpoint's validation images."""
    known = (model_card.read(config.results).facts or {}).get("quantiles", {})
    rows = []
    for head, ours in counts.scores.items():
        theirs = np.asarray([] if counts.calibrated else known.get(head, []), np.float64)
        for at in QUANTILES:
            beside = score(float(np.quantile(theirs, at))) if len(theirs) else "not known"
            rows.append((HEADS[head], f"{1 - at:.0%}", score(float(np.quantile(ours, at))), beside))
    if not rows:
        return ["There are no scores."], {}
    columns = ("score", "highest share of the images", "score at least, here", "score at least, validation images")
    why = " Scores here are calibrated, those remembered are not." if counts.calibrated else ""
    return (
        [f"The same share of images has at least this score. Where the two columns differ, {drift.CAUSES}.{why}"],
        {"scores": Table("Scores here and on validation images", columns, tuple(rows))},
    )


def _of_queue(config: EvaluateConfig, counts: ArchiveCounts) -> list[str]:
    if counts.queued is None:
        return ["There is no review queue in the results."]
    results = storage.normalise(str(config.results))
    sample = [f"A random sample, because flags are not trusted: {sample_command(results, config.manifest)}"]
    return [
        *(sample if wants_sample(results) else []),
        f"{counts.queued:,} images are in the queue (queue.csv). Its paths may name a diagnosis.",
        f"A radiologist reads with `comit-ray review --results {results}`, which shows no path.",
        "It has blocks. Each block has an order of its own: do not compare scores or ranks of two blocks.",
        "Images of one study stay together.",
    ]


def _first(results: str, counts: ArchiveCounts, thresholds: Mapping[str, float]) -> dict[str, Table]:
    if not counts.queued:
        return {}
    head = queue_head(results, READ_FIRST)[0].to_pylist()
    covid = "covid" in counts.scores or "unhealthy" not in counts.scores
    blocks = [row["placed_by"] for row in head]
    rows = [
        (
            "" if block is None or block == before else block_words(block, covid),
            f"{row['rank']}",
            "; ".join(review_words(row["reasons"], row["p_covid"] is not None or row["score"] is None)),
            "" if row["score"] is None else score(row["score"], 3),
            _times(row["score"], thresholds.get("unhealthy" if row["p_covid"] is None else "covid")),
        )
        for row, block, before in zip(head, blocks, [None, *blocks[:-1]], strict=True)
    ]
    columns = ("block", "rank", "why", "score", "times its threshold")
    ids = tuple((f"{row['rank']}", str(row["image_id"])) for row in head)
    parts = tuple(
        (block_words(part.placed_by, covid), f"{part.images:,}", _ranks(part.first, part.last, part.images))
        for part in counts.blocks
    )
    return {
        **({"queue_blocks": Table("Blocks of the queue", ("block", "images", "ranks"), parts)} if parts else {}),
        "read_first": Table("The head of the queue", columns, tuple(rows)),
        PATHS: Table(f"Which images these are. {MAY_UNBLIND}", ("rank", "image"), ids),
    }


def _ranks(first: int, last: int, images: int) -> str:
    """The ranks of a block; other images may lie between, such as those of later nights."""
    if images == 1:
        return f"{first:,}"
    return f"{first:,} to {last:,}" if last - first + 1 == images else f"between {first:,} and {last:,}"


def _times(value: float | None, threshold: float | None) -> str:
    """The score against the threshold that decides the flag; nothing where one of them is not known."""
    return "" if value is None or not threshold else score(value / threshold, 2)


def _of_unread(counts: ArchiveCounts) -> list[str]:
    if counts.unread is None:
        return ["The results have no list of unread images: `comit-ray requeue` writes it."]
    images = sum(group.images for group in counts.unread)
    both = sum(group.queued for group in counts.unread)
    queued = f"; {both:,} of them in the queue all the same" if both else ""
    said = [f"{images:,} images failed, were excluded, or are beyond the capacity{queued}: unread.csv lists them."]
    if counts.unlisted:
        said.append(f"{counts.unlisted:,} more were scored, have no reason to be read, and are in no list.")
    return said


def _unread(counts: ArchiveCounts) -> dict[str, Table]:
    rows = [(group.status, group.why, f"{group.images:,}", f"{group.queued:,}") for group in counts.unread or ()]
    columns = ("status", "why", "images", "of them in the queue")
    return {"unread": Table("Images without a place in the queue", columns, tuple(rows))} if rows else {}


def _in_no_queue(counts: ArchiveCounts) -> int:
    return sum(group.images - group.queued for group in counts.unread or ())


def _verdict(config: EvaluateConfig, counts: ArchiveCounts, alarms: Sequence[str], trusted: bool) -> list[str]:
    verdict = []
    if alarms:
        follows = (
            "The thresholds were chosen at this site, so that its flags count here."
            if trusted
            else "ITS FLAGS ARE NOT TRUSTED: do not report their share as disease, and set no image aside by them."
        )
        verdict.append(f"WARNING: {alarms[0]}. {follows}")
    flagged = [f"{group.flagged:,} {FLAGGED[name]}" for name, group in counts.heads.items()]
    flags = ", ".join([*flagged, f"{counts.without_flag:,} have no flag"]) if flagged else "none can be flagged"
    scored = counts.status(Status.OK)
    if old := counts.flagged_before_covid:
        flags += f". {old:,} of the flags for COVID-19 are wrong: their images are older than the disease"
    verdict.append(f"Of {counts.images:,} images {scored:,} were scored: {flags}. Not flagged is not normal.")
    queued = counts.queued
    left = "" if counts.unlisted is None else f"; {_in_no_queue(counts) + counts.unlisted:,} images are not in it"
    if queued is None:
        first = "There is no queue"
    elif wants_sample(storage.normalise(str(config.results))):
        first = (
            f"Next: a radiologist reads a random sample of {min(SAMPLE, scored):,} scored images (the chapter on the "
            f"queue has the command). The queue of {queued:,} images is ordered by these flags"
        )
    else:
        sample = any(part.placed_by == RANDOM_ORDER for part in counts.blocks)
        first = f"Next: a radiologist reads the {queued:,} images of the queue{', a random sample' if sample else ''}"
    verdict.append(f"{first}{left}. Without labels nothing says how many flags are right.")
    return verdict


FLAGGED = {"covid": "flagged for COVID-19", "unhealthy": "flagged as unhealthy"}


def _numbers(counts: ArchiveCounts, trusted: bool) -> list[tuple[str, str]]:
    rows = [("Images scored", f"{counts.status(Status.OK):,} of {counts.images:,}")]
    for name, group in counts.heads.items():
        told = f"{group.flagged:,} of {group.judged:,}"
        told += f", {_share(group.flagged, group.judged, counts.patients)}" if trusted else "; not trusted"
        rows.append((f"Flagged: {HEADS[name]} (right or wrong)", told))
    failed, excluded = counts.status(Status.FAILED), counts.status(Status.EXCLUDED)
    rows.append(("Failed, or excluded", f"{failed:,} failed, {excluded:,} excluded"))
    if counts.queued is not None:
        rows.append(("In the queue", counted(counts.queued, "image")))
    if counts.unlisted is not None:
        rows.append(("Not in the queue", f"{_in_no_queue(counts) + counts.unlisted:,} images"))
    return rows


def queue_sheet(config: EvaluateConfig, images: pd.DataFrame, queued: int, output: str) -> Picture | None:
    """The head of the queue as a sheet, in its order; None where nothing of it has a score.

    Args:
        config: of the job, for the number of images and the bounds on them.
        images: rows of scored images of the queue, with their `rank`, places, scores and masks, in order.
        queued: images in the queue.
        output: URI of the report.

    Raises:
        StorageError: the picture cannot be written.
    """
    chosen = images.head(config.sheet_images)
    if chosen.empty:
        return None
    labelled = bool(chosen[["covid", "unhealthy"]].notna().any(axis=None))
    title = f"Head of the review queue{', with labels' if labelled else ''}"
    caption = (
        f"The first {len(chosen):,} scored images of {queued:,} in the review queue. Below each: its rank, the view, "
        f"the score against its threshold{', and the label' if labelled else ''}. Who is to read these images without "
        "knowing the flags should not look here before."
    )
    if config.results is not None and wants_sample(storage.normalise(config.results)):
        title += ", ordered by flags that are not trusted"
    return random_sheet.written(
        *(output, "queue", caption, chosen, title, config.decode, config.masks.lungs),
        lines=random_sheet.said if labelled else random_sheet.decisions,
        numbers=[f"rank {rank:,}" for rank in chosen["rank"]],
    )
