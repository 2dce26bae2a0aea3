"""Counts for the report of an archive without labels, in bounded memory.

DuckDB counts; this process holds at most one column of numbers, even for ten million images. It reads masks and paths
only for the few images that the report shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.checkpoint import frontal_check
from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.data.manifest import manifest
from comit_ray.errors import ManifestError, NotFoundError, Status
from comit_ray.evaluation.screen_metrics import LABELS
from comit_ray.screening.results_folder import QUEUE_FILE, UNREAD_FILE
from comit_ray.screening.screen_tables import MASKS, PREDICTIONS, rows_of, stage_newest
from comit_ray.storage import storage
from comit_ray.tables import schema
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.staging import Staged, staging

GROUPS = {
    "site": "site",
    "dataset": "dataset",
    "view": "view",
    "device": "device",
    "month": "strftime(acquired_on, '%Y-%m')",
}
"""Grouping -> its value in SQL."""
UNKNOWN = "not known"
FIRST_CASES = "2019-12"
"""Month of the first known cases of COVID-19 (WHO, timeline of the response). An image that is older cannot show it."""
_PREDICTED = (
    *("image_id", "status", "reason", "view", "p_covid", "p_unhealthy", "covid_flag", "unhealthy_flag"),
    *("calibration", frontal_check.COLUMN),
)
_KNOWN = ("image_id", "patient_id", "site", "dataset", "device", "acquired_on", "split", "chunk")
_PEOPLE = "count(DISTINCT patient_id) + count(*) FILTER (patient_id IS NULL)"
"""Patients; an image without one counts as one."""


@dataclass(frozen=True)
class Group:
    """Images with the same value of one grouping, such as one site.

    Attributes:
        name: the value.
        judged: number of images whose flag is true or false.
        patients: number of their patients; an image without a patient counts as one.
        flagged: number of images whose flag is true.
    """

    name: str
    judged: int
    patients: int
    flagged: int


@dataclass(frozen=True)
class Unread:
    """Unread images of one status and reason.

    Attributes:
        status: their status.
        why: the reason in words.
        images: their number.
        queued: how many of them are in the review queue.
    """

    status: str
    why: str
    images: int
    queued: int


@dataclass(frozen=True)
class QueueBlock:
    """Images of the queue that one reason, or another order, gave their place.

    Attributes:
        placed_by: as in the review queue.
        images: their number.
        first: their lowest rank.
        last: their highest rank; of several nights, other blocks may lie between.
    """

    placed_by: str
    images: int
    first: int
    last: int


@dataclass(frozen=True)
class ArchiveCounts:
    """An archive in numbers.

    Attributes:
        images: number of predictions; only the newest version of a changed file counts.
        patients: number of known patients.
        without_patient: number of images whose patient is not known.
        by_reason: (status, reason or "") -> images, the most frequent first.
        heads: score -> all images that have its flag, as one group; scores without a flag are left out.
        groups: grouping -> the groups of the first score, by name; empty if no score has a flag.
        scores: score -> its values, 0..1, in no particular order; scores that no image has are left out.
        frontal: one column, the result of the frontal check, 0..1; null for images without one.
        calibrated: whether scores are divided by a temperature.
        without_flag: number of scored images that have no flag that is true.
        queued: number of rows of the review queue; None if there is no queue.
        blocks: blocks of the queue, in its order; empty for a queue of an older version.
        unlisted: number of scored images that are neither in the queue nor in the list of unread images; None if
            one of these is missing.
        unread: rows of the table of unread images, in its order; None if there is no such table.
        first: path, scores, masks and `rank` of the first scored images of the queue.
    """

    images: int
    patients: int
    without_patient: int
    by_reason: Mapping[tuple[str, str], int]
    heads: Mapping[str, Group]
    groups: Mapping[str, Sequence[Group]]
    scores: Mapping[str, npt.NDArray[np.float64]]
    frontal: pd.DataFrame
    calibrated: bool
    without_flag: int
    queued: int | None
    blocks: Sequence[QueueBlock]
    unlisted: int | None
    unread: Sequence[Unread] | None
    first: pd.DataFrame

    def status(self, status: Status) -> int:
        """Number of images with this status."""
        return sum(count for (of, _), count in self.by_reason.items() if of == status)

    @property
    def flagged_before_covid(self) -> int:
        """Number of images that are flagged for COVID-19 and older than its first known cases: wrong flags."""
        if next(iter(self.heads), None) != "covid":
            return 0
        return sum(group.flagged for group in self.groups.get("month", ()) if group.name < FIRST_CASES)


def count(config: EvaluateConfig, results: str, heads: Sequence[str]) -> ArchiveCounts:
    """Counts the images of the wanted split, or all screened images.

    Args:
        config: options of the job.
        results: URI of the results.
        heads: names of scores; `groups` belongs to the first one that has a flag.

    Raises:
        ManifestError: no image of the results is in the manifest, or one has two rows.
        StorageError: a table cannot be read.
    """
    with staging(config.memory_gib) as tables:
        predicted = [schema.PREDICTIONS.field(name) for name in _PREDICTED]
        stage_newest(tables, results, predicted, config.manifest, [MANIFEST.field(name) for name in _KNOWN])
        _join(tables, config)
        known = {head: _groups(tables, "'all'", head)[0] for head in heads if _any(tables, f"{head}_flag")}
        by = {name: _groups(tables, value, next(iter(known))) for name, value in GROUPS.items()} if known else {}
        rows = tables.rows(
            "SELECT status, coalesce(reason, ''), count(*) AS n FROM images GROUP BY ALL ORDER BY n DESC, 1, 2"
        )
        scores = {head: tables.column("images", f"p_{head}").dropna().to_numpy(np.float64) for head in heads}
        images, patients, unknown = tables.rows(
            "SELECT count(*), count(DISTINCT patient_id), count(*) FILTER (patient_id IS NULL) FROM images"
        )[0]
        without_flag = tables.rows(
            f"SELECT count(*) FROM images WHERE status = '{Status.OK}' "  # noqa: S608 a word of ours
            "AND NOT coalesce(covid_flag, false) AND NOT coalesce(unhealthy_flag, false)"
        )[0][0]
        queued = _stage(tables, results, QUEUE_FILE, schema.REVIEW_QUEUE, ("rank", "image_id", "status", "placed_by"))
        unread = _unread(tables, results)
        return ArchiveCounts(
            images=int(images),
            patients=int(patients),
            without_patient=int(unknown),
            by_reason={(str(status), str(reason)): int(number) for status, reason, number in rows},
            heads=known,
            groups={name: groups for name, groups in by.items() if {group.name for group in groups} != {UNKNOWN}},
            scores={head: values for head, values in scores.items() if len(values)},
            frontal=tables.column("images", frontal_check.COLUMN).to_frame(),
            calibrated=bool(tables.rows("SELECT count(*) FROM images WHERE calibration = 'temperature'")[0][0]),
            without_flag=int(without_flag),
            queued=queued,
            blocks=[] if queued is None else _blocks(tables),
            unlisted=None if queued is None or unread is None else _unlisted(tables),
            unread=unread,
            first=pd.DataFrame() if queued is None else _first(tables, config, results),
        )


def _join(tables: Staged, config: EvaluateConfig) -> None:
    """Makes the table `images`: each prediction with its row of the manifest.

    Raises:
        ManifestError: there is no image, or an image has two rows.
    """
    twice = tables.rows("SELECT count(*) - count(DISTINCT hash(image_id)) FROM predictions")[0][0]
    if twice and (twice := tables.rows("SELECT count(*) - count(DISTINCT image_id) FROM predictions")[0][0]):
        raise ManifestError(
            f"{config.results}: expected one row per image, got {twice:,} rows of images that have another row: "
            "`comit-ray verify` says which files are not of this run"
        )
    split = "" if config.split in (None, "all") else f"WHERE split = '{config.split}'"
    tables.run(f"CREATE TABLE images AS SELECT * FROM predictions JOIN manifest USING (image_id) {split}")  # noqa: S608
    if not tables.rows("SELECT count(*) FROM images")[0][0]:
        raise ManifestError(
            f"expected images of {config.results} in {config.manifest}, found none (split {config.split or 'all'}): "
            "give the manifest that was screened, or --split all"
        )


def _any(tables: Staged, column: str) -> bool:
    return bool(tables.rows(f"SELECT count({column}) FROM images")[0][0])  # noqa: S608 a word of ours


def _groups(tables: Staged, value: str, head: str) -> list[Group]:
    """Images that have the flag, grouped by a value in SQL."""
    rows = tables.rows(
        f"SELECT coalesce(nullif({value}, 'unknown'), '{UNKNOWN}') AS name, count(*), {_PEOPLE}, "  # noqa: S608
        f"count(*) FILTER ({head}_flag) FROM images WHERE {head}_flag IS NOT NULL GROUP BY name ORDER BY name"
    )
    return [Group(str(name), int(judged), int(people), int(flagged)) for name, judged, people, flagged in rows]


def _stage(tables: Staged, results: str, file: str, of: pa.Schema, columns: Sequence[str]) -> int | None:
    """Stages columns of a table of the queue under the file's name. Returns its rows, or None if there is no file."""
    name = file.rpartition("/")[2].removesuffix(".parquet")
    try:
        return tables.add(name, [storage.join(results, file)], [of.field(column) for column in columns])
    except NotFoundError:
        return None


def _blocks(tables: Staged) -> list[QueueBlock]:
    rows = tables.rows(
        "SELECT placed_by, count(*), min(rank), max(rank) FROM queue WHERE placed_by IS NOT NULL GROUP BY placed_by "
        "ORDER BY min(rank)"
    )
    return [QueueBlock(str(name), int(images), int(first), int(last)) for name, images, first, last in rows]


def _unlisted(tables: Staged) -> int:
    """Scored images without a reason to be read: no list has them."""
    return int(
        tables.rows(
            f"SELECT count(*) FROM images WHERE status = '{Status.OK}' "  # noqa: S608 a word of ours
            "AND image_id NOT IN (SELECT image_id FROM queue) AND image_id NOT IN (SELECT image_id FROM unread)"
        )[0][0]
    )


def _unread(tables: Staged, results: str) -> list[Unread] | None:
    if _stage(tables, results, UNREAD_FILE, schema.UNREAD, ("image_id", "status", "why", "queue_rank")) is None:
        return None
    rows = tables.rows(
        "SELECT status, why, count(*), count(queue_rank) FROM unread GROUP BY status, why ORDER BY min(rowid)"
    )
    return [Unread(str(one), str(why), int(images), int(queued)) for one, why, images, queued in rows]


def _first(tables: Staged, config: EvaluateConfig, results: str) -> pd.DataFrame:
    """The first scored images of the queue, in its order, with the columns that their pictures need."""
    rows = tables.rows(
        "SELECT q.rank, q.image_id, i.chunk FROM queue q JOIN images i USING (image_id) WHERE q.status = ? "
        "ORDER BY q.rank LIMIT ?",
        [str(Status.OK), config.sheet_images],
    )
    ranks = pd.DataFrame([row[:2] for row in rows], columns=["rank", "image_id"])
    ids, chunks = pa.array(ranks["image_id"], pa.string()), {str(row[2]) for row in rows}
    if not rows:
        return ranks
    labels = [
        part.filter(pc.is_in(part["image_id"], ids))
        for part in (manifest.read_columns(uri, LABELS) for uri in manifest.part_uris(config.manifest))
    ]
    found = ranks.merge(pa.concat_tables(labels).to_pandas(), on="image_id", how="left", validate="one_to_one")
    found = found.merge(rows_of(results, PREDICTIONS, ids, chunks).to_pandas(), on="image_id", validate="one_to_one")
    try:
        masks = rows_of(results, MASKS, ids, chunks)
    except NotFoundError:
        if found[["lung_area", "disease_area"]].notna().any(axis=None):
            raise
        masks = schema.MASKS.empty_table()
    return found.merge(masks.to_pandas(), on="image_id", how="left", validate="one_to_one")
