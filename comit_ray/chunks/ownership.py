"""Keeps one run per output: run and model stand in each file's metadata, and a lease lets one driver commit.

A driver that begins to work takes a lease: the next number below OUTPUT/lease/, which storage gives to one alone. It
commits only while that file is its own and no higher number is there. So a driver that was stopped, and wakes up after
another one took over, writes nothing more.

What remains: between the look at the lease and the PUT (or rename) that follows lie microseconds. A process that is
stopped exactly there writes one file when it wakes up, and a store or share that shows new files late makes the moment
longer. Such a file names its run, model and run settings. The accounts compare them, and do the chunk again.
"""

import hashlib
import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from comit_ray.errors import NotFoundError, OvertakenError, StorageError
from comit_ray.storage import storage

DIRECTORY = "lease"
RUN_ID, MODEL_ID, SETTINGS, FENCE = (f"comit_ray.{name}" for name in ("run_id", "model_id", "run_settings", "fence"))
"""Keys of the Parquet metadata."""
SHA256 = "comit_ray.sha256."
"""How the keys begin under which a commit holds the SHA-256 of the files of its side tables."""
_OF_THE_MANIFEST = ("manifest", "training_hash", "rows")
"""Run settings that say what is asked, not how it is answered: a chunk's file name has the hash of its image ids."""
_TRIES = 100


@dataclass(frozen=True)
class Lease:
    """The right to commit, until another driver takes the next number."""

    number: int
    token: str
    """Tells this lease from one of the same number in an output that was removed and begun anew."""


@dataclass(frozen=True)
class Owner:
    """Whose the files of an output are.

    Attributes:
        run_id: of `run.json`.
        model_id: the checkpoint's; empty: no model decides what is written.
        settings: hash of the run settings, those of the manifest left out.
        lease: of the driver that writes; None: it writes nothing yet.
        kept: model_id and settings of earlier models whose rows still count.
    """

    run_id: str
    model_id: str
    settings: str
    lease: Lease | None = None
    kept: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Owner":
        """The owner that a record of `comit_ray.chunks.run_record.read` names."""
        question = record["question"]
        kept = frozenset((str(old["model_id"]), str(old["settings"])) for old in record.get("kept_models", []))
        return cls(str(record["run_id"]), str(question.get("model_id") or ""), settings_hash(question), kept=kept)

    @property
    def models(self) -> frozenset[str]:
        """The models whose rows count: its own, and earlier ones that were kept."""
        return frozenset({self.model_id} | {model_id for model_id, _ in self.kept})

    def metadata(self) -> dict[bytes, bytes]:
        """What each file of a chunk says in its Parquet metadata, but for the number of the lease."""
        said = {RUN_ID: self.run_id, MODEL_ID: self.model_id, SETTINGS: self.settings}
        return {key.encode(): value.encode() for key, value in said.items()}

    def difference(self, metadata: Mapping[bytes, bytes] | None) -> str | None:
        """Why a file with this metadata is another's, in words; None: it is this one's, or older than the metadata."""
        found = {key: (metadata or {}).get(key.encode(), b"").decode(errors="replace") for key in (RUN_ID, SETTINGS)}
        found[MODEL_ID] = (metadata or {}).get(MODEL_ID.encode(), b"").decode(errors="replace")
        if RUN_ID.encode() not in (metadata or {}):
            return None
        if found[RUN_ID] == self.run_id and (found[MODEL_ID], found[SETTINGS]) in self.kept:
            return None
        expected = {RUN_ID: self.run_id, MODEL_ID: self.model_id, SETTINGS: self.settings}
        differing = [
            f"{key.removeprefix('comit_ray.')} {found[key]!r}, expected {expected[key]!r}"
            for key in expected
            if found[key] != expected[key]
        ]
        return "; ".join(differing) or None


def settings_hash(question: Mapping[str, Any]) -> str:
    """First 16 hex digits over the run settings; what is absent, false or empty counts as not asked for."""
    asked = {key: value for key, value in question.items() if value and key not in _OF_THE_MANIFEST}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def stamped(table: pa.Table, owner: Owner | None, more: Mapping[str, str] | None = None) -> pa.Table:
    """The table with the owner, and with `more`, in its metadata."""
    metadata = dict(table.schema.metadata or {}) | ({} if owner is None else owner.metadata())
    metadata |= {key.encode(): value.encode() for key, value in (more or {}).items()}
    return table.replace_schema_metadata(metadata or None)


def take_lease(output: str, owner: Owner) -> Owner:
    """The owner with the next lease of the output: every earlier holder commits nothing more.

    Raises:
        StorageError: the directory of the leases cannot be listed or written, or a hundred others were quicker.
    """
    token = uuid.uuid4().hex
    said = {"token": token, "run_id": owner.run_id, "host": socket.gethostname(), "pid": os.getpid()}
    said["at"] = datetime.now(UTC).isoformat(timespec="seconds")
    number = newest_lease(output)
    for _ in range(_TRIES):
        number += 1
        if storage.create(lease_file(output, number), json.dumps(said).encode()):
            return replace(owner, lease=Lease(number, token))
    raise StorageError(f"{_TRIES} others took a lease of {output} at the same moment: run the same command again")


def check_lease(output: str, owner: Owner) -> None:
    """Refuse to write where the owner's lease is not the newest.

    Raises:
        OvertakenError: another driver took over, or the output was removed meanwhile.
        StorageError: the lease cannot be read.
    """
    if owner.lease is None:
        return
    try:
        token = json.loads(storage.read_bytes(lease_file(output, owner.lease.number)))["token"]
    except NotFoundError:
        raise OvertakenError(f"{output} was removed while this run went on: it writes no more") from None
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{lease_file(output, owner.lease.number)} is no lease of a run: {error!r}") from error
    if token != owner.lease.token:
        raise OvertakenError(f"{output} was begun anew by another run while this one went on: it writes no more")
    if storage.exists(lease_file(output, owner.lease.number + 1)):
        raise OvertakenError(
            f"another process works on {output} since (lease {owner.lease.number + 1}): this one writes no more; wait "
            "for the other to end"
        )


def lease_file(output: str, number: int) -> str:
    """URI of a lease."""
    return storage.join(output, DIRECTORY, f"{number:08d}.json")


def newest_lease(output: str) -> int:
    """Number of the newest lease; 0: none was ever taken."""
    try:
        names = [entry.path.removesuffix(".json") for entry in storage.list_files(storage.join(output, DIRECTORY))]
    except NotFoundError:
        return 0
    return max((int(name) for name in names if name.isdigit()), default=0)
