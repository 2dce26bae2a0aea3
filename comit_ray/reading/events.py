"""The event log of a reading room: who saw which image, and who gave which verdict, in which revision.

    RESULTS/events/DAY/TIME-SERVER-NUMBER.json    one event; each file is written once, and never changed or removed

The log holds no image data, and of persons only readers' names. Keep it for at least six months if the EU AI Act
applies to you (articles 12 and 26).
"""

import itertools
import json
import uuid
from datetime import UTC, datetime
from typing import Any

from comit_ray.chunks.run_record import sources_hash
from comit_ray.storage import storage

DIRECTORY = "events"
KINDS = ("server_started", "invited", "entered", "refused", "image_sent", "image_shown", "verdict", "paused", "resumed")


class EventLog:
    """Writes the events of one server.

    Args:
        results: URI of the screen's output.
        facts: facts of the screen that every event repeats: `model_id` and `run_id`.
    """

    def __init__(self, results: str, facts: dict[str, str]) -> None:
        self._uri = storage.join(results, DIRECTORY)
        self._facts = facts | {"code": sources_hash()}
        self._server = uuid.uuid4().hex[:12]
        self._numbers = itertools.count()

    def write(self, kind: str, reader: str | None = None, **more: Any) -> None:
        """Write one event. The method returns once the event is stored.

        Args:
            kind: one of `KINDS`.
            reader: name of the reader; None if no reader is known yet.
            more: further facts, such as `image_id` and `revision`.

        Raises:
            StorageError: the event cannot be stored. The caller must then not do what the event records.
        """
        assert kind in KINDS, kind
        now = datetime.now(UTC)
        event = {"at": now.isoformat(timespec="milliseconds"), "event": kind, "reader": reader, "server": self._server}
        name = f"{now:%Y%m%d}/{now:%H%M%S%f}-{self._server}-{next(self._numbers):06d}.json"
        line = json.dumps(event | more | self._facts, sort_keys=True) + "\n"
        storage.write_bytes(storage.join(self._uri, name), line.encode())


def read(results: str) -> list[dict[str, Any]]:
    """Read all events of a screen, the earliest first.

    Raises:
        NotFoundError: there are no events.
        StorageError: an event cannot be read.
    """
    uri = storage.join(results, DIRECTORY)
    found = [
        json.loads(storage.read_bytes(storage.join(uri, entry.path))) for entry in storage.list_files(uri, ".json")
    ]
    return sorted(found, key=lambda event: (event["at"], event["server"]))
