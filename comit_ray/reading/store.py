"""Stores each verdict as a small Parquet file that never changes, so that several servers work without a database.

    RESULTS/reviews/READER-IMAGE-REVISION.parquet    IMAGE: 16 hex digits of the image_id's SHA-256

A file is created only if its name is free, in S3 as in a directory. So a reader's verdicts on an image are numbered
without gaps, and the highest number counts. If the page does not get an answer, it sends the verdict again with the
same `submission`, and the verdict is not stored twice.
"""

import hashlib
import os
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from comit_ray.config.config_base import Config
from comit_ray.errors import ConfigError, NotFoundError, StorageError
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.review_schema import REVIEWS

DIRECTORY = "reviews"
VERDICTS = ("abnormal", "normal", "cannot_tell", "broken", "withdrawn")
CATEGORIES = ("typical", "indeterminate", "atypical", "negative")
SUSPECTED = {"typical": True, "atypical": False, "negative": False}
"""Category -> whether COVID-19 is suspected. Indeterminate says neither."""
READER = re.compile(r"[a-z0-9][a-z0-9_]{0,31}")
"""Form of a reader's name, which is part of file names."""
_FILE = re.compile(r"([a-z0-9_]+)-([0-9a-f]{16})-(\d{4})\.parquet")
_LAST = 9999
READ_AT_ONCE = 16
"""Number of verdicts that are read at the same time. Object storage takes a while to answer each request."""

Severity = Annotated[int, Field(ge=0, le=3)]


class Verdict(Config):
    """A reader's judgement of one image, as the page sends it."""

    image_id: str
    """Id of the image, as in the queue."""
    submission: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{8,64}$")]
    """Id that the page makes for this verdict, and repeats if it sends the verdict again."""
    verdict: Literal["abnormal", "normal", "cannot_tell", "broken", "withdrawn"]
    """The judgement."""
    category: Literal["typical", "indeterminate", "atypical", "negative"] | None = None
    """COVID-19 pneumonia, by appearance."""
    findings: tuple[Annotated[str, Field(max_length=64)], ...] = ()
    """Codes of the findings."""
    zones: Annotated[tuple[Severity | None, ...], Field(min_length=6, max_length=6)] | None = None
    """Severity of each lung zone, 0 to 3; None for a zone without an answer."""
    confidence: Annotated[int, Field(ge=1, le=5)] | None = None
    """1 (guessing) to 5 (certain)."""
    comment: Annotated[str, Field(max_length=2000)] | None = None
    """Free text."""
    seconds: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Seconds that the image was visible."""
    shown_at: datetime | None = None
    """When the image was first shown for this verdict."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.verdict == "normal" and self.category not in (None, "negative"):
            raise ValueError(f"a normal radiograph is negative for COVID-19 pneumonia, got category {self.category}")
        return self


class Reviews:
    """The verdicts of one screen, as far as this process has read them; safe for threads.

    Args:
        results: URI of the screen's output.

    Raises:
        StorageError: a stored verdict cannot be read.
    """

    def __init__(self, results: str) -> None:
        self.uri = storage.join(results, DIRECTORY)
        self._rows: dict[str, dict[str, Any]] = {}
        self._latest: dict[str, dict[str, dict[str, Any]]] = {}  # image_id -> reader -> the verdict that counts
        self._lock = threading.Lock()
        self.refresh()

    def refresh(self) -> int:
        """Read the verdicts that other servers stored since the last call, and return their number."""
        try:
            found = [entry.path for entry in storage.list_files(self.uri, ".parquet")]
        except NotFoundError:
            return 0
        new = [name for name in found if name not in self._rows and _FILE.fullmatch(name)]
        with ThreadPoolExecutor(READ_AT_ONCE) as pool:
            return len([*pool.map(self._remember, new)])

    def put(self, reader: str, verdict: Verdict, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Store a verdict. The method returns once the whole file is on the storage.

        Args:
            reader: name of the reader, in the form `READER`.
            verdict: the reader's judgement.
            facts: `role`, `blinded`, `model_id` and `run_id`.

        Returns:
            The stored row; the row of the first attempt if the same submission was stored before.

        Raises:
            StorageError: the verdict cannot be stored. The caller must not confirm it.
        """
        mine = self.of_image(reader, verdict.image_id)
        for row in mine:
            if row["submission"] == verdict.submission:
                return row
        revision = 1 + max((row["revision"] for row in mine), default=0)
        while revision <= _LAST:
            name = file_name(reader, verdict.image_id, revision)
            row = _row(reader, verdict, facts, revision, mine)
            if storage.create(storage.join(self.uri, name), _bytes(row)):
                _flush(storage.join(self.uri, name))
                self._keep(name, row)
                return row
            there = self._remember(name)  # stored by another server, or by this one before it was killed
            if there["submission"] == verdict.submission:
                return there
            mine.append(there)
            revision += 1
        raise StorageError(f"{reader} has {_LAST} verdicts on {verdict.image_id}: no more can be numbered")

    def of_image(self, reader: str, image_id: str) -> list[dict[str, Any]]:
        """Return all verdicts of a reader on an image, including withdrawn and replaced ones."""
        found: list[dict[str, Any]] = []
        with self._lock:
            while (row := self._rows.get(file_name(reader, image_id, len(found) + 1))) is not None:
                found.append(row)
        return found

    def current(self) -> dict[tuple[str, str], dict[str, Any]]:
        """(image_id, reader) -> current verdict. Withdrawn verdicts are left out."""
        with self._lock:
            images = [*self._latest]
        return {(image_id, reader): row for image_id in images for reader, row in self.on_image(image_id).items()}

    def on_image(self, image_id: str) -> dict[str, dict[str, Any]]:
        """Reader -> current verdict on this image. Withdrawn verdicts are left out."""
        with self._lock:
            latest = self._latest.get(image_id, {})
            return {reader: row for reader, row in latest.items() if row["verdict"] != "withdrawn"}

    def _remember(self, name: str) -> dict[str, Any]:
        return self._keep(name, _read(storage.join(self.uri, name)))

    def _keep(self, name: str, row: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            kept = self._rows.setdefault(name, row)
            of_image = self._latest.setdefault(kept["image_id"], {})
            there = of_image.get(kept["reader"])
            if there is None or kept["revision"] > there["revision"]:
                of_image[kept["reader"]] = kept
            return kept


def read_current(results: str) -> pd.DataFrame:
    """Read the current verdicts: one row per reader and image.

    The columns are those of `comit_ray.tables.review_schema.REVIEWS`.

    Raises:
        NotFoundError: there are no verdicts.
        StorageError: a verdict cannot be read.
    """
    rows = sorted(Reviews(results).current().values(), key=lambda row: (row["image_id"], row["reader"]))
    if not rows:
        raise NotFoundError(f"no verdict in {storage.join(results, DIRECTORY)}: read some images with `review` first")
    return pd.DataFrame(rows, columns=REVIEWS.names)


def check_reader(name: str) -> str:
    """Return the name if it has the form of a reader's name.

    Raises:
        ConfigError: it does not.
    """
    if not READER.fullmatch(name):
        raise ConfigError(
            f"expected a reader's name of 1 to 32 lower-case letters, digits and _ (a pseudonym will do), got {name!r}"
        )
    return name


def file_name(reader: str, image_id: str, revision: int) -> str:
    """Return the file name of one verdict."""
    return f"{reader}-{hashlib.sha256(image_id.encode()).hexdigest()[:16]}-{revision:04d}.parquet"


def _row(
    reader: str, verdict: Verdict, facts: Mapping[str, Any], revision: int, earlier: list[dict[str, Any]]
) -> dict[str, Any]:
    said = verdict.model_dump()
    abnormal = {"abnormal": True, "normal": False}.get(verdict.verdict)
    suspected = SUSPECTED.get(verdict.category or "")
    now = datetime.now(UTC)
    # The clocks of servers differ, but a reader's verdicts must keep their order.
    read_at = max([now, *(row["read_at"] + timedelta(milliseconds=1) for row in earlier)])
    row = said | {name: facts[name] for name in ("role", "blinded", "model_id", "run_id")}
    row |= {"reader": reader, "revision": revision, "abnormal": abnormal, "covid": suspected, "read_at": read_at}
    row |= {"findings": [*verdict.findings], "zones": None if verdict.zones is None else [*verdict.zones]}
    row["comment"] = (verdict.comment or "").strip() or None
    whole: dict[str, Any] = pa.Table.from_pylist([row], schema=REVIEWS).to_pylist()[0]
    return whole


def _bytes(row: dict[str, Any]) -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([row], schema=REVIEWS), buffer, compression="none", write_statistics=False)
    data: bytes = buffer.getvalue().to_pybytes()
    return data


def _read(uri: str) -> dict[str, Any]:
    rows = parquet.read_part(uri).to_pylist()
    if len(rows) != 1 or not {"image_id", "reader", "revision", "submission", "verdict"} <= rows[0].keys():
        raise StorageError(f"{uri}: expected one verdict of the reading room, got {len(rows)} rows of another form")
    return dict(rows[0])


def _flush(uri: str) -> None:
    """Flush a local file to the disk, so that it survives a power cut before it is confirmed; S3 needs no flush."""
    if storage.is_s3(uri):
        return
    for path in (uri, os.path.dirname(uri)):
        try:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise StorageError(f"cannot flush {path} to its disk: {error}") from error
