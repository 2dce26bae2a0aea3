"""Reader links: each has a token, and only the token's SHA-256 is stored beside the results.

    RESULTS/readers/NAME-XXXXXXXX.json    {"reader", "sha256", "made_at", "ends_at"}; remove it to revoke the link

A token belongs to the results it was made for: another screen's server does not have its hash. Every server of the
same results knows it, and knows it again after a restart.
"""

import hashlib
import json
import math
import secrets
import threading
import time
from collections import deque
from datetime import UTC, datetime, timedelta

from comit_ray.errors import NotFoundError, StorageError
from comit_ray.reading.store import check_reader
from comit_ray.storage import storage

DIRECTORY = "readers"
WRONG_A_MINUTE = 10
"""Wrong tokens from one address in a minute, after which it has to wait."""
LOOK_AGAIN = 2.0
"""Seconds after which a token that was removed from the storage is refused."""


def invite(results: str, reader: str, days: int) -> str:
    """A new token of a reader; it is told once, and kept nowhere.

    Raises:
        ConfigError: it is no name of a reader.
        StorageError: its hash cannot be stored.
    """
    check_reader(reader)
    token = secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    record = {
        "reader": reader,
        "sha256": _hash(token),
        "made_at": now.isoformat(timespec="seconds"),
        "ends_at": (now + timedelta(days=days)).isoformat(timespec="seconds"),
    }
    uri = storage.join(results, DIRECTORY, f"{reader}-{record['sha256'][:8]}.json")
    storage.write_bytes(uri, json.dumps(record, indent=1).encode())
    return token


class Tokens:
    """The tokens of one screen.

    Args:
        results: URI of the screen's output.
    """

    def __init__(self, results: str) -> None:
        self._uri = storage.join(results, DIRECTORY)
        self._readers: dict[str, tuple[str, datetime]] = {}
        self._looked = -math.inf
        self._lock = threading.Lock()

    def reader(self, token: str) -> str | None:
        """Whose token it is, as far as that is known without asking the storage; None: not known, or past its end.

        Raises:
            StorageError: the tokens cannot be read.
        """
        with self._lock:
            if time.monotonic() - self._looked >= LOOK_AGAIN:
                self._look()
            return self._known(token)

    def look_for(self, token: str) -> str | None:
        """The same, after a look at the storage: a link may have been made a moment ago."""
        with self._lock:
            self._look()
            return self._known(token)

    def _look(self) -> None:
        self._readers = _read(self._uri)
        self._looked = time.monotonic()

    def _known(self, token: str) -> str | None:
        known = self._readers.get(_hash(token))
        return known[0] if known is not None and datetime.now(UTC) < known[1] else None


class RateLimit:
    """Counts wrong tokens by address, so that they cannot be tried one after another.

    Args:
        most: wrong ones an address may send in `seconds`.
        seconds: that are looked back on.
    """

    def __init__(self, most: int = WRONG_A_MINUTE, seconds: float = 60.0) -> None:
        self._most, self._seconds = most, seconds
        self._wrong: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def wait(self, address: str) -> float:
        """Seconds until the address may try again; 0: now."""
        with self._lock:
            times = self._recent(address)
            return times[0] + self._seconds - time.monotonic() if len(times) >= self._most else 0.0

    def wrong(self, address: str) -> None:
        """The address sent a wrong token."""
        with self._lock:
            self._recent(address).append(time.monotonic())
            for other in [one for one, times in self._wrong.items() if not times]:
                del self._wrong[other]

    def _recent(self, address: str) -> deque[float]:
        times = self._wrong.setdefault(address, deque())
        while times and times[0] <= time.monotonic() - self._seconds:
            times.popleft()
        return times


def cookie_name(results: str) -> str:
    """Of the cookie that holds a reader's token: cookies do not tell ports apart, and screens must not share one."""
    return f"comit_reader_{_hash(storage.normalise(results))[:8]}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(uri: str) -> dict[str, tuple[str, datetime]]:
    """SHA-256 of a token -> its reader, and when it ends."""
    try:
        files = [entry.path for entry in storage.list_files(uri, ".json")]
    except NotFoundError:
        return {}
    found = {}
    for file in files:
        try:
            record = json.loads(storage.read_bytes(storage.join(uri, file)))
            found[str(record["sha256"])] = (str(record["reader"]), datetime.fromisoformat(record["ends_at"]))
        except NotFoundError:  # revoked between the listing and now
            continue
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"{storage.join(uri, file)} is no reader's link ({error!r}): remove it, and invite again"
            ) from error
    return found
