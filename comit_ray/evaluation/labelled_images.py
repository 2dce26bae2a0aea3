"""Joins labels, predictions and masks of any number of images in DuckDB, and brings only what metrics need to memory.

The table of images then has some tens of bytes a row: numbers, codes of patients and studies, and words as categories.
Ids, places, masks and all else stay in the database, from which pictures take the few rows that they show.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.checkpoint import frontal_check
from comit_ray.data.manifest import manifest
from comit_ray.errors import ManifestError, NotFoundError, Reason, Status
from comit_ray.evaluation.screen_metrics import LABELS, needs_columns, not_finite, without_prediction
from comit_ray.screening import mask_choice
from comit_ray.screening.screen_tables import (
    MASKS,
    recorded_owner,
    refuse_foreign,
    rows_of,
    stage_predictions,
)
from comit_ray.statistics.intervals import IntArray
from comit_ray.storage import storage
from comit_ray.tables import parquet, schema
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.staged_columns import StagedColumns
from comit_ray.tables.staging import LEAST_GIB, Staged, staging
from comit_ray.tables.vocabulary import SCORES, counted

_PREDICTED = (
    *("image_id", "status", "reason", "detail", "p_unhealthy", "p_covid", "p_other", "covid_flag", "unhealthy_flag"),
    *("operating_point", "calibration", "lung_area", "disease_area", "disease_in_lung", frontal_check.COLUMN),
    *("height", "width", "view", "model_id"),
)
_AREAS = ("lung_area", "disease_area", "disease_in_lung")
_WORDS = {
    **dict.fromkeys(("status", "reason", "operating_point", "calibration", "model_id"), "p"),
    **dict.fromkeys(("dataset", "site", "sex", "device"), "k"),
    "view": "pk",
}
"""Column of words -> its tables (`staged_columns.TABLES`), the first of which has precedence."""
_NUMBERS = {
    **dict.fromkeys(("covid", "unhealthy", "age"), "k"),
    **dict.fromkeys(("p_covid", "p_unhealthy", "covid_flag", "unhealthy_flag"), "p"),
    **dict.fromkeys(("lung_area", "disease_area", frontal_check.COLUMN), "p"),
}
_IDS = {"image_id": "k", "patient_id": "k", "detail": "p", "illness_day": "k"}
COMPARED = ("status", "model_id", "p_covid", "p_unhealthy", "covid_flag", "unhealthy_flag")
"""The columns of another screen that are compared."""
_CODES = ("patient_id", "study_id")
KEPT = "kept in the tables"
"""Stands in place of a mask that is not in memory."""
TASKS = ("lung", "disease")


class LabelledImages:
    """The images of a split: a narrow table in memory, and their rows in a database. See `ImageRows`.

    Args:
        tables: database with the tables `known` (labels), `predictions` and `masks`.
        frame: table with the columns of metrics.
        results: URI of the screen, whose masks are read; None if there are no masks.
    """

    def __init__(self, tables: Staged, frame: pd.DataFrame, results: str | None) -> None:
        self.frame = frame
        self.constants: Mapping[str, float | None] = {}
        """Columns with one value that all rows for pictures get."""
        self._tables, self._results = tables, results

    def first(self, images: pd.DataFrame, count: int, seed: int, *, masks: bool = True) -> pd.DataFrame:
        """See `ImageRows`."""
        self._tables.replace("pool", pa.table({"row": images.index.to_numpy(np.int64)}))
        drawn = self._tables.rows(
            "SELECT row FROM pool JOIN known USING (row) ORDER BY sha256(concat(?::VARCHAR, ':', image_id)) LIMIT ?",
            [str(seed), count],
        )
        return self.rows([int(row[0]) for row in drawn], masks=masks)

    def rows(self, rows: Sequence[int], *, masks: bool = True) -> pd.DataFrame:
        """Returns the images with these numbers, in their order, with all columns that pictures need."""
        self._tables.replace("wanted", pa.table({"row": pa.array(rows, pa.int64()), "spot": np.arange(len(rows))}))
        # In steps, because DuckDB would join all columns of all images.
        self._tables.run("CREATE OR REPLACE TABLE asked AS SELECT k.*, spot FROM known k JOIN wanted USING (row)")
        theirs = "SELECT * FROM predictions WHERE image_id IN (SELECT image_id FROM asked)"
        self._tables.run(f"CREATE OR REPLACE TABLE predicted AS {theirs}")
        found = self._tables.table(
            "SELECT k.* EXCLUDE (view, spot), p.* EXCLUDE (image_id, view), coalesce(p.view, k.view) AS view "
            "FROM asked k LEFT JOIN predicted p USING (image_id) ORDER BY k.spot"
        )
        wide: pd.DataFrame = found.to_pandas().set_index("row")
        mine = self._masks(found["image_id"], found["chunk"]) if masks else schema.MASKS.empty_table()
        index, wide = wide.index, wide.merge(mine.to_pandas(), on="image_id", how="left", validate="one_to_one")
        return wide.drop(columns="chunk").set_index(index).assign(**dict(self.constants))

    def first_of_queue(self, queue: pa.Table, count: int) -> pd.DataFrame:
        """Returns the first `count` scored images of a queue, with the column `rank` and all that pictures need.

        Args:
            queue: the columns image_id and rank.
            count: number of images.
        """
        self._tables.replace("queue", queue)
        ranks = self._tables.rows(
            "SELECT known.row, queue.rank FROM queue JOIN known USING (image_id) JOIN predictions p USING (image_id) "
            "WHERE p.status = ? ORDER BY queue.rank LIMIT ?",
            [str(Status.OK), count],
        )
        return self.rows([int(row) for row, _ in ranks]).assign(rank=[int(rank) for _, rank in ranks])

    def places(self, images: pd.DataFrame, image_ids: pa.ChunkedArray) -> IntArray:
        """See `ImageRows`."""
        self._tables.replace("wanted", pa.table({"image_id": image_ids, "spot": np.arange(len(image_ids))}))
        found = self._tables.table("SELECT spot, row FROM wanted JOIN known USING (image_id)")
        rows, spots = (found[name].to_numpy() for name in ("row", "spot"))
        index = images.index.to_numpy(np.int64)  # rising
        place = np.minimum(np.searchsorted(index, rows), max(len(index) - 1, 0))
        places = np.full(len(image_ids), -1, np.int64)
        if len(index):
            places[spots] = np.where(index[place] == rows, place, -1)
        return places

    def lungs(self, images: pd.DataFrame, image_ids: pa.ChunkedArray) -> Mapping[str, bytes]:
        """See `ImageRows`."""
        self._tables.replace("wanted", pa.table({"image_id": image_ids}))
        found = self._tables.table("SELECT image_id, chunk FROM wanted JOIN known USING (image_id)")
        mine = self._masks(found["image_id"], found["chunk"])
        pairs = zip(mine["image_id"].to_pylist(), mine["lung_png"].to_pylist(), strict=True)
        return {image_id: png for image_id, png in pairs if png is not None}

    def annotated(self, at_once: int = 2048) -> Iterator[pd.DataFrame]:
        """Yields the scored images that have an annotated and a predicted mask, in order, in tables of some rows."""
        where = " OR ".join(f"(k.{task}_mask IS NOT NULL AND m.{task})" for task in ("lung", "disease"))
        rows = self._tables.table(
            "SELECT k.row FROM known k JOIN masks m USING (image_id) JOIN predictions p USING (image_id) "  # noqa: S608 words of ours
            f"WHERE p.status = '{Status.OK}' AND ({where}) ORDER BY k.row"
        )["row"].to_pylist()
        for start in range(0, len(rows), at_once):
            yield self.rows(rows[start : start + at_once])

    def image_ids(self) -> pa.ChunkedArray:
        """Returns the ids of all images, in order."""
        return self._tables.table("SELECT image_id FROM known ORDER BY row")["image_id"]

    def _masks(self, image_ids: pa.ChunkedArray, chunks: pa.ChunkedArray) -> pa.Table:
        if self._results is None or not len(image_ids):
            return schema.MASKS.empty_table()
        try:
            return rows_of(self._results, MASKS, image_ids.combine_chunks(), set(chunks.unique().to_pylist()))
        except NotFoundError:  # a screen of scores alone; `_stage_masks` has asked
            return schema.MASKS.empty_table()


@contextmanager
def opened(
    uri: str,
    manifest_uri: str,
    split: str,
    memory_gib: float,
    *,
    bare: bool = False,
    whole_ids: bool = False,
    compared: bool = False,
) -> Iterator[LabelledImages]:
    """Opens the images of a split, one row each, scored or not; only the newest version of a changed file.

    The table has the values of `screen_metrics.join_tables` (`join_predictions` if `bare`), in the same order.

    Args:
        uri: URI of a screen's output, or of a bare predictions table.
        manifest_uri: URI of the manifest.
        split: name of the split; `all` for every image.
        memory_gib: memory of the database in GiB.
        bare: whether `uri` is a bare predictions table.
        whole_ids: whether the table also has the ids of images and patients, `detail` and `illness_day`, which take
            100 to 300 bytes a row.
        compared: whether the table has only the columns `COMPARED`, for a comparison with another screen;
            masks are not looked for.

    Raises:
        ManifestError: as for `screen_metrics.join_tables` and `join_predictions`.
        NotFoundError: there are no predictions, or no masks although the predictions measure them.
        StorageError: a table cannot be read.
    """
    with staging(memory_gib) as tables:
        results = None if bare or mask_choice.made_of_some(uri) else uri
        _stage_predictions(tables, uri, bare, areas=bare or results is not None)
        _stage_known(tables, manifest_uri, split)
        _stage_masks(tables, None if compared else results)
        lost, images = tables.rows(
            "SELECT count(*) FILTER (p.status IS NULL), count(*) FROM known LEFT JOIN predictions p USING (image_id)"
        )[0]
        without_prediction(int(lost), int(images), split, uri, manifest_uri)
        frame = _compared(tables) if compared else _frame(tables, whole_ids)
        yield LabelledImages(tables, frame, results)


def _stage_predictions(tables: Staged, uri: str, bare: bool, areas: bool) -> None:
    wrong: Counter[str] = Counter()
    there: set[str] = set()

    def check(_: str, table: pa.Table) -> None:
        there.update(table.column_names)
        for name in (f"p_{score}" for score in SCORES if f"p_{score}" in table.column_names):
            finite = pc.sum(pc.is_finite(table[name])).as_py() or 0
            wrong[name] += table.num_rows - table[name].null_count - finite

    fields = [schema.PREDICTIONS.field(name) for name in _PREDICTED]
    if bare:
        tables.add("predictions", parquet.parts(uri), fields, check)
        needs_columns(uri, there)
    else:
        stage_predictions(tables, "predictions", uri, fields, check)
    twice = tables.rows("SELECT count(*) - count(DISTINCT hash(image_id)) FROM predictions")[0][0]
    if twice and (twice := tables.rows("SELECT count(*) - count(DISTINCT image_id) FROM predictions")[0][0]):
        raise ManifestError(f"{uri}: expected one row for each image, got {counted(int(twice), 'duplicate row')}")
    strange = tables.rows("SELECT DISTINCT status FROM predictions WHERE status IS NOT NULL ORDER BY 1")
    for (status,) in strange:
        if status not in set(map(str, Status)):
            raise ManifestError(f"{uri}: expected a status of {', '.join(Status)}, got {status!r}")
    for name, count in wrong.items():
        not_finite(uri, name, count)
    if not areas:
        tables.run(f"UPDATE predictions SET {', '.join(f'{name} = NULL' for name in _AREAS)}")  # noqa: S608 our words


def _stage_known(tables: Staged, uri: str, split: str) -> None:
    """Stages the labels of the split as `known`, with the number of each row."""
    names = [*LABELS, "view", "excluded", "chunk", "split_group"]
    parts = manifest.part_uris(uri)
    manifest.check_whole(uri, [parquet.read_schema(part) for part in parts])
    tables.add("manifest", parts, [MANIFEST.field(name) for name in names])
    once = tables.rows("SELECT count(*) - count(DISTINCT hash(image_id)) FROM manifest")[0][0]
    if once:
        for (image_id,) in tables.rows("SELECT image_id FROM manifest GROUP BY image_id HAVING count(*) > 1 LIMIT 1"):
            raise ManifestError(f"expected every image once, {image_id} is there twice")
    for column, what in (("patient_id", "patients"), ("split_group", "groups of look-alikes")):
        leaking, images = tables.rows(
            f"SELECT count(*), sum(n) FROM (SELECT count(*) AS n FROM manifest WHERE {column} IS NOT NULL "  # noqa: S608
            f"GROUP BY {column} HAVING count(DISTINCT split) > 1)"
        )[0]
        if leaking:
            raise ManifestError(f"{uri}: {leaking} {what} with {images} images lie in more than one split")
    old = pa.array(list(manifest.read_marks(uri).superseded), pa.string())
    tables.add_batches("superseded", pa.table({"image_id": old}))
    mine = "" if split == "all" else f"AND split = '{split}'"
    tables.run(
        "CREATE TABLE chosen AS SELECT * EXCLUDE (excluded, split_group) FROM manifest "  # noqa: S608 words of ours
        f"WHERE coalesce(excluded, '') != '{Reason.SUPERSEDED}' "
        f"AND image_id NOT IN (SELECT image_id FROM superseded) {mine}"
    )
    tables.run("DROP TABLE manifest")
    tables.run("CREATE VIEW known AS SELECT rowid AS row, * FROM chosen")


def _stage_masks(tables: Staged, results: str | None) -> None:
    """Stages as `masks` which images have predicted lungs and disease; the masks themselves stay where they are."""
    there = pa.schema([("image_id", pa.string()), ("lung", pa.bool_()), ("disease", pa.bool_())])

    def pieces(uri: str) -> Iterator[pa.Table]:
        owner = recorded_owner(uri)
        for part in parquet.parts(storage.join(uri, MASKS)):
            for piece in parquet.read_pieces(part, ["image_id", "lung_png", "disease_png"]):
                refuse_foreign(part, piece, owner)
                valid = [pc.is_valid(piece[name]) for name in ("lung_png", "disease_png")]
                yield pa.Table.from_arrays([piece["image_id"], *valid], schema=there)

    try:
        tables.add_tables("masks", () if results is None else pieces(results), list(there))
    except NotFoundError:
        if tables.rows("SELECT count(lung_area) + count(disease_area) FROM predictions")[0][0]:
            raise
        tables.add_batches("masks", there.empty_table())


def _compared(tables: Staged) -> pd.DataFrame:
    """Makes the table of another screen, with the columns `COMPARED`."""
    columns = StagedColumns(tables)
    tables.limit(LEAST_GIB)
    made = {name: columns.words("p", name) if name in _WORDS else columns.numbers("p", name) for name in COMPARED}
    return pd.DataFrame(made, copy=False)


def _frame(tables: Staged, whole_ids: bool) -> pd.DataFrame:
    """Makes the narrow table, one column after the other."""
    columns = StagedColumns(tables)
    codes = {name: columns.codes(name) for name in _CODES if not (whole_ids and name in _IDS)}
    drawn = {f"{task}_png": _kept(columns.places("0", f"masks m USING (image_id) WHERE m.{task}")) for task in TASKS}
    tables.limit(LEAST_GIB)  # what it holds above that goes to its file, before the columns come into memory
    made = {name: columns.words(where, name) for name, where in _WORDS.items()}
    made |= {name: columns.numbers(table, name) for name, table in _NUMBERS.items()} | codes | drawn
    for task in TASKS:
        there_N = columns.values("k", f"{task}_mask IS NOT NULL").to_numpy(zero_copy_only=False)
        made[f"{task}_mask"] = _kept(np.where(there_N, 0, -1))
    if whole_ids:
        made |= {name: columns.values(table, name).to_pandas() for name, table in _IDS.items()}
    return pd.DataFrame(made, copy=False)


def _kept(codes_N: npt.NDArray[np.integer]) -> pd.Series:
    return pd.Series(pd.Categorical.from_codes(codes_N.astype(np.int8), pd.Index([KEPT])))
