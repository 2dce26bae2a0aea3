"""Keeps one run per output: each file's metadata names run and model, and a lease lets one driver commit.

A driver that starts to work takes a lease: the next number under OUTPUT/lease/, which the storage gives to one driver
only. It commits only while that file is its own and no higher number exists. So a driver that was suspended, and wakes
up after another one took over, writes nothing more.

One gap remains. Between the check of the lease and the write that follows lie microseconds. A process that is suspended
exactly there writes one file when it wakes up. A store or share that shows new files late makes this gap longer. Such a
file names its run, model and run settings. The accounts compare them, and process the chunk again.
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
"""Prefix of the keys under which a main table's file holds the SHA-256 of the side tables' files."""
_OF_THE_MANIFEST = ("manifest", "training_hash", "rows")
"""Run settings that say which images are asked for, not how they are processed. They are left out of the hash, because
a chunk's file name already holds the hash of its image ids."""
_TRIES = 100


@dataclass(frozen=True)
class Lease:
    """The right of one driver to commit, until another driver takes the next number."""

    number: int
    token: str
    """Distinguishes this lease from one of the same number in an output that was removed and started again."""


@dataclass(frozen=True)
class Owner:
    """The run that the files of an output belong to.

    Attributes:
        run_id: id of the run, from `run.json`.
        model_id: id of the model; empty if no model decides what is written.
        settings: hash of the run settings, without those of the manifest.
        lease: lease of the driver that writes; None if it writes nothing yet.
        kept: (model_id, settings) of earlier models whose rows still count.
    """

    run_id: str
    model_id: str
    settings: str
    lease: Lease | None = None
    kept: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Owner":
        """Returns the owner that a record of `comit_ray.chunks.run_record.read` names."""
        question = record["question"]
        kept = frozenset((str(old["model_id"]), str(old["settings"])) for old in record.get("kept_models", []))
        return cls(str(record["run_id"]), str(question.get("model_id") or ""), settings_hash(question), kept=kept)

    @property
    def models(self) -> frozenset[str]:
        """Ids of the models whose rows count: the current model, and earlier ones that were kept."""
        return frozenset({self.model_id} | {model_id for model_id, _ in self.kept})

    def metadata(self) -> dict[bytes, bytes]:
        """Returns the Parquet metadata of each file of a chunk, without the number of the lease."""
        said = {RUN_ID: self.run_id, MODEL_ID: self.model_id, SETTINGS: self.settings}
        return {key.encode(): value.encode() for key, value in said.items()}

    def difference(self, metadata: Mapping[bytes, bytes] | None) -> str | None:
        """Says why a file with this metadata belongs to another run.

        Returns:
            None if the file belongs to this owner, or is older than this metadata.
        """
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
    """Returns the first 16 hex digits of a hash of the run settings; absent, false and empty values are left out."""
    asked = {key: value for key, value in question.items() if value and key not in _OF_THE_MANIFEST}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def stamped(table: pa.Table, owner: Owner | None, more: Mapping[str, str] | None = None) -> pa.Table:
    """Returns the table with the owner's metadata, and with the pairs of `more`."""
    metadata = dict(table.schema.metadata or {}) | ({} if owner is None else owner.metadata())
    metadata |= {key.encode(): value.encode() for key, value in (more or {}).items()}
    return table.replace_schema_metadata(metadata or None)


def take_lease(output: str, owner: Owner) -> Owner:
    """Takes the next lease of the output, after which no earlier holder commits, and returns the owner with it.

    Raises:
        StorageError: the directory of the leases cannot be listed or written, or a hundred other drivers were faster.
    """
    token = uuid.uuid4().hex
    said = {"token": token, "run_id": owner.run_id, "host": socket.gethostname(), "pid": os.getpid()}
    said["at"] = datetime.now(UTC).isoformat(timespec="seconds")
    number = newest_lease(output)
    for _ in range(_TRIES):
        number += 1
        if storage.create(lease_file(output, number), json.dumps(said).encode()):
            return replace(owner, lease=Lease(number, token))
    raise StorageError(f"{_TRIES} other processes took a lease of {output} at once: run the same command again")


def check_lease(output: str, owner: Owner) -> None:
    """Refuses to write if the owner's lease is not the newest; an owner without a lease is not checked.

    Raises:
        OvertakenError: another driver took over, or the output was removed meanwhile.
        StorageError: the lease cannot be read.
    """
    if owner.lease is None:
        return
    try:
        token = json.loads(storage.read_bytes(lease_file(output, owner.lease.number)))["token"]
    except NotFoundError:
        raise OvertakenError(f"{output} was removed during this run: this process writes nothing more") from None
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{lease_file(output, owner.lease.number)} is not the lease of a run: {error!r}") from error
    if token != owner.lease.token:
        raise OvertakenError(f"another run started {output} again during this run: this process writes nothing more")
    if storage.exists(lease_file(output, owner.lease.number + 1)):
        raise OvertakenError(
            f"another process has taken over {output} (lease {owner.lease.number + 1}): this process writes nothing "
            "more; wait for the other one to end"
        )


def lease_file(output: str, number: int) -> str:
    """Returns the URI of the lease with this number."""
    return storage.join(output, DIRECTORY, f"{number:08d}.json")


def newest_lease(output: str) -> int:
    """Returns the number of the newest lease; 0 if none was ever taken."""
    try:
        names = [entry.path.removesuffix(".json") for entry in storage.list_files(storage.join(output, DIRECTORY))]
    except NotFoundError:
        return 0
    return max((int(name) for name in names if name.isdigit()), default=0)
