"""Makes and checks the personal links of readers; only the SHA-256 of a link's token is stored, beside the results.

    RESULTS/readers/NAME-XXXXXXXX.json    {"reader", "sha256", "made_at", "ends_at"}; remove the file to revoke the link

A token opens only the results that it was made for: the server of another screen does not have its hash. Every server
of the same results accepts the token, also after a restart.
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
"""Number of wrong tokens that one address may send in a minute. After that it has to wait."""
LOOK_AGAIN = 2.0
"""Seconds after which the server reads the stored links again. A revoked link stops working within this time."""


def invite(results: str, reader: str, days: int) -> str:
    """Make a new token for a reader. The caller shows it once; only its hash is stored.

    Args:
        results: URI of the screen's output.
        reader: name of the reader.
        days: number of days that the token is valid.

    Returns:
        The token, about 43 characters that are safe in a URL.

    Raises:
        ConfigError: the text is not a valid reader's name.
        StorageError: the hash cannot be stored.
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
    """The valid tokens of one screen.

    Args:
        results: URI of the screen's output.
    """

    def __init__(self, results: str) -> None:
        self._uri = storage.join(results, DIRECTORY)
        self._readers: dict[str, tuple[str, datetime]] = {}
        self._looked = -math.inf
        self._lock = threading.Lock()

    def reader(self, token: str) -> str | None:
        """Find the reader of a token among the links read in the last `LOOK_AGAIN` seconds.

        Returns:
            The reader's name, or None if the token is unknown or has expired.

        Raises:
            StorageError: the stored links cannot be read.
        """
        with self._lock:
            if time.monotonic() - self._looked >= LOOK_AGAIN:
                self._look()
            return self._known(token)

    def look_for(self, token: str) -> str | None:
        """As `reader`, but read the stored links first, because the link may have been made a moment ago."""
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
    """Counts wrong tokens by address, so that nobody can try many tokens one after another.

    Args:
        most: number of wrong tokens that an address may send in `seconds`.
        seconds: length of the period that is counted.
    """

    def __init__(self, most: int = WRONG_A_MINUTE, seconds: float = 60.0) -> None:
        self._most, self._seconds = most, seconds
        self._wrong: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def wait(self, address: str) -> float:
        """Return the seconds until the address may try again; 0 if it may try now."""
        with self._lock:
            times = self._recent(address)
            return times[0] + self._seconds - time.monotonic() if len(times) >= self._most else 0.0

    def wrong(self, address: str) -> None:
        """Count a wrong token from this address."""
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
    """Return the name of the cookie that holds a reader's token.

    A browser sends a cookie to all ports of a host, so each screen's cookie has its own name.
    """
    return f"comit_reader_{_hash(storage.normalise(results))[:8]}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(uri: str) -> dict[str, tuple[str, datetime]]:
    """Read the stored links: SHA-256 of a token -> its reader, and when it expires."""
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
                f"{storage.join(uri, file)}: expected a reader's link, got {error!r}: remove it and invite again"
            ) from error
    return found
