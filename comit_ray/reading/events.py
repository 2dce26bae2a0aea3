"""The event log of a reading room: who saw which image, who gave which verdict, in which version.

    RESULTS/events/DAY/TIME-SERVER-NUMBER.json    one event, put whole; never changed, never removed here

No image data, and of a person nothing but the reader's name. EU AI Act, articles 12 and 26: keep it for six months.
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
        facts: of the screen, in every event: `model_id`, `run_id`.
    """

    def __init__(self, results: str, facts: dict[str, str]) -> None:
        self._uri = storage.join(results, DIRECTORY)
        self._facts = facts | {"code": sources_hash()}
        self._server = uuid.uuid4().hex[:12]
        self._numbers = itertools.count()

    def write(self, kind: str, reader: str | None = None, **more: Any) -> None:
        """Put one event; it returns once it is stored.

        Args:
            kind: one of `KINDS`.
            reader: who; None where nobody has been told apart yet.
            more: `image_id`, `revision` and the like.

        Raises:
            StorageError: it cannot be written; what it was about to record must not happen then.
        """
        assert kind in KINDS, kind
        now = datetime.now(UTC)
        event = {"at": now.isoformat(timespec="milliseconds"), "event": kind, "reader": reader, "server": self._server}
        name = f"{now:%Y%m%d}/{now:%H%M%S%f}-{self._server}-{next(self._numbers):06d}.json"
        line = json.dumps(event | more | self._facts, sort_keys=True) + "\n"
        storage.write_bytes(storage.join(self._uri, name), line.encode())


def read(results: str) -> list[dict[str, Any]]:
    """All events of a screen, the earliest first.

    Raises:
        NotFoundError: there are none.
        StorageError: one cannot be read.
    """
    uri = storage.join(results, DIRECTORY)
    found = [
        json.loads(storage.read_bytes(storage.join(uri, entry.path))) for entry in storage.list_files(uri, ".json")
    ]
    return sorted(found, key=lambda event: (event["at"], event["server"]))
