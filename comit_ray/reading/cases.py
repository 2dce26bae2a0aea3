"""Loads the images of the review queue as a reader sees them, and puts them in reading order.

A reader must not recognise the random negatives: knowing them, one would read them differently, and their sample would
lose its value. So they are spread over the reading order. The model's result is hidden for them and for as many others.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from comit_ray.chunks import run_record
from comit_ray.data.images.load import PLACE_COLUMNS, Place
from comit_ray.errors import ConfigError, NotFoundError, Status
from comit_ray.reading.reader_deal import number
from comit_ray.screening.results_folder import QUEUE_FILE
from comit_ray.screening.screen_tables import PREDICTIONS
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.vocabulary import ReviewReason

_MANIFEST = ("image_id", *PLACE_COLUMNS, "patient_id", "study_id", "view", "acquired_on", "age", "sex", "site")
_PREDICTIONS = ("image_id", "covid_flag", "unhealthy_flag", "disease_in_lung", "zone_disease", "run_id")


@dataclass(frozen=True)
class Known:
    """One image of the archive: in the queue, or another radiograph of one of its patients.

    Attributes:
        row: the columns of the manifest that the page needs.
        place: where the file lies.
    """

    row: dict[str, Any]
    place: Place


@dataclass(frozen=True)
class Case:
    """One image of the queue.

    Attributes:
        image_id: id of the image, as in all tables.
        key: what goes to one reader as a whole: the patient, or else the study, or else the image.
        queued: the image's row of the queue.
        predicted: columns of its row of the predictions that the queue does not have.
        known: its row of the manifest.
        part: file name of the chunk that holds its rows.
        hidden: whether the page hides the model's result.
        beside: image_ids of the patient's other radiographs, the latest first.
    """

    image_id: str
    key: str
    queued: dict[str, Any]
    predicted: dict[str, Any]
    known: Known
    part: str | None
    hidden: bool
    beside: tuple[str, ...] = ()

    @property
    def reasons(self) -> list[str]:
        """Reasons why the image is in the queue; empty if they are hidden."""
        return [] if self.hidden else [str(reason) for reason in self.queued["reasons"]]

    @property
    def block(self) -> str | None:
        """The block of the queue (`placed_by`); None if it is hidden, or not known as in older queues."""
        return None if self.hidden else self.queued.get("placed_by")


@dataclass(frozen=True)
class Screen:
    """The cases of one screen's queue.

    Attributes:
        results: URI of the screen's output.
        model_id: id of the model that scored the images.
        run_id: id of the screen's run.
        cases: image_id -> case, in reading order.
        others: image_id -> radiographs of the same patients that are not in the queue.
    """

    results: str
    model_id: str
    run_id: str
    cases: dict[str, Case]
    others: dict[str, Known] = field(default_factory=dict)

    def known(self, image_id: str) -> Known | None:
        """Return the image if it is in the queue or belongs to a patient of the queue; otherwise None."""
        case = self.cases.get(image_id)
        return case.known if case is not None else self.others.get(image_id)


def load(results: str, manifest: str | None = None, blind: bool = False) -> Screen:
    """Load the queue of `results` with everything that the page shows of it.

    Args:
        results: URI of a screen's output.
        manifest: URI of its manifest; None: the one that run.json names.
        blind: hide the model's result for every image, and order the images by a hash.

    Raises:
        ConfigError: the manifest is not known, or lacks images of the queue.
        NotFoundError: there is no queue, or it is empty.
        StorageError: a table cannot be read.
    """
    results = storage.normalise(results)
    record = run_record.read(results)
    queue = parquet.read_part(storage.join(results, QUEUE_FILE)).to_pylist()
    if not queue:
        raise NotFoundError(f"the review queue of {results} is empty: there is nothing to read")
    wanted = {row["image_id"] for row in queue}
    known, others = _manifest(manifest_of(results, manifest, record), wanted)
    predicted, parts = _predictions(results, wanted)
    lacking = sorted(wanted - known.keys() | wanted - predicted.keys())
    if lacking:
        raise ConfigError(
            f"{len(lacking)} of {len(wanted)} images of the queue, such as {lacking[0]}, are not in the manifest or "
            "not in the predictions: give the --manifest that was screened"
        )
    beside = _beside([*known.values(), *others.values()])
    hidden = wanted if blind else _hidden(queue)
    cases = [
        Case(
            image_id=row["image_id"],
            key=_key(known[row["image_id"]].row),
            queued=row,
            predicted=predicted[row["image_id"]],
            known=known[row["image_id"]],
            part=parts.get(row["image_id"]),
            hidden=row["image_id"] in hidden,
            beside=tuple(one for one in beside.get(_patient(known[row["image_id"]]), ()) if one != row["image_id"]),
        )
        for row in queue
    ]
    ordered = sorted(cases, key=_by_hash if blind else _strewn(len(cases)))
    model_id, run_id = queue[0]["model_id"], str(record["run_id"])
    return Screen(results, model_id, run_id, {case.image_id: case for case in ordered}, others)


def manifest_of(results: str, given: str | None, record: dict[str, Any] | None = None) -> str:
    """Return the URI of the manifest that was screened.

    Args:
        results: URI of a screen's output.
        given: URI that the user gave; None: use the one in run.json.
        record: content of run.json, if it was read already.

    Raises:
        ConfigError: no URI was given, and run.json names no manifest that exists.
    """
    if given is not None:
        return given
    settings = (run_record.read(results) if record is None else record).get("settings") or {}
    named = settings.get("manifest")
    if not isinstance(named, str) or not storage.exists(named):
        raise ConfigError(f"the manifest that {results} was screened with is not at {named}: give --manifest URI")
    return named


def _manifest(uri: str, wanted: set[str]) -> tuple[dict[str, Known], dict[str, Known]]:
    """The wanted images, and the other images of their patients.

    The manifest is read part by part, because it may be large.
    """
    parts = parquet.parts(uri)
    patients: set[str] = set()
    for table in _columns(parts, ("image_id", "patient_id")):
        found = table[table["image_id"].isin(wanted)]["patient_id"]
        patients |= set(found.dropna())
    known: dict[str, Known] = {}
    others: dict[str, Known] = {}
    for table in _columns(parts, _MANIFEST):
        mine = table["image_id"].isin(wanted)
        for row in table[mine | table["patient_id"].isin(patients)].to_dict("records"):
            plain = {str(name): None if _null(value) else value for name, value in row.items()}
            if plain["member_offset"] is not None:
                plain["member_offset"] = int(plain["member_offset"])
            target = known if plain["image_id"] in wanted else others
            target[str(plain["image_id"])] = Known(plain, Place.of(plain))
    return known, others


def _predictions(results: str, wanted: set[str]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    found: dict[str, dict[str, Any]] = {}
    parts: dict[str, str] = {}
    for uri in parquet.parts(storage.join(results, PREDICTIONS)):
        table = parquet.read_part(uri, list(_PREDICTIONS))
        for row in table.to_pylist():
            if row["image_id"] in wanted:
                found[row["image_id"]] = row
                parts[row["image_id"]] = uri.rpartition("/")[2]
    return found, parts


def _columns(parts: Iterable[str], names: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    for uri in parts:
        table = parquet.read_part(uri).to_pandas()
        yield table.reindex(columns=list(names))  # older manifests lack some columns


def _beside(images: Iterable[Known]) -> dict[str, list[str]]:
    """Patient -> image_ids, the latest first; images without a date come last."""
    found: dict[str, list[tuple[str, str]]] = {}
    for one in images:
        if one.row["patient_id"] is not None:
            found.setdefault(one.row["patient_id"], []).append((str(one.row["acquired_on"] or ""), one.row["image_id"]))
    return {patient: [image_id for _, image_id in sorted(rows, reverse=True)] for patient, rows in found.items()}


def _hidden(queue: list[dict[str, Any]]) -> set[str]:
    """The random negatives, and as many other scored images. So a hidden result does not show which kind it is."""
    random = {row["image_id"] for row in queue if _is_random(row)}
    others = [row["image_id"] for row in queue if row["image_id"] not in random and row["status"] == Status.OK]
    return random | set(sorted(others, key=lambda image_id: number(image_id, "hidden"))[: len(random)])


def _is_random(row: dict[str, Any]) -> bool:
    return [str(reason) for reason in row["reasons"]] == [str(ReviewReason.RANDOM_NEGATIVE)]


def _strewn(count: int) -> Any:
    """Return a sort key: images by rank, with the random negatives at random places between them."""

    def place(case: Case) -> tuple[float, str]:
        at = number(case.image_id, "place") if _is_random(case.queued) else case.queued["rank"] / count
        return at, case.image_id

    return place


def _by_hash(case: Case) -> tuple[float, str]:
    """Sort key that keeps the images of one patient together."""
    return number(case.key, "order"), case.image_id


def _key(row: dict[str, Any]) -> str:
    return str(row["patient_id"] or row["study_id"] or row["image_id"])


def _patient(known: Known) -> str:
    return str(known.row["patient_id"])


def _null(value: Any) -> bool:
    return not isinstance(value, list | tuple) and bool(pd.isna(value))
