"""Lets one driver at a time work on an output: a second one is refused, and a dead one loses its place.

The holder has the newest lease under OUTPUT/lease/ (`comit_ray.chunks.ownership`). It writes a sign of life beside the
lease, `00000007.alive`, four times in `stale_seconds`, and `00000007.released` when it ends. A second driver watches
that sign. If the sign changes, the holder lives and the second driver ends with an error. The second driver takes the
next lease in two cases: the sign does not change for `stale_seconds` by its own clock, or the holder was a process of
this machine that no longer exists. A holder that was only suspended finds this out before its next commit, and writes
nothing more.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from comit_ray.chunks.ownership import DIRECTORY, Lease, lease_file, newest_lease
from comit_ray.errors import ConfigError, HeldError, NotFoundError, StorageError
from comit_ray.storage import storage

SECONDS = "COMIT_LEASE_SECONDS"
"""Environment variable: the number of seconds without a sign of life after which a holder counts as dead."""
STALE_S = 60.0
SIGNS = 4
"""Signs of life in that time; three of them may be late."""
_LOOK_S = 0.5


def stale_seconds() -> float:
    """Returns the seconds without a sign of life after which a holder counts as dead; by default `STALE_S`.

    Raises:
        ConfigError: the environment variable is not a number above 0.
    """
    text = os.environ.get(SECONDS, str(STALE_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ConfigError(f"expected seconds above 0 in {SECONDS}, got {text!r}")
    return seconds


@contextmanager
def hold(output: str) -> Iterator[Lease]:
    """Takes the lease of an output and holds it until the end of the block.

    Raises:
        HeldError: another driver works on the output; the message says which one, and since when.
        ConfigError: as for `stale_seconds`.
        StorageError: the leases cannot be listed, read or written.
    """
    stale = stale_seconds()
    lease = _take(output, stale)
    ended = threading.Event()
    thread = threading.Thread(target=_show, args=(output, lease, stale / SIGNS, ended), daemon=True, name="lease")
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        thread.join(stale)
        _release(output, lease)


def _take(output: str, stale: float) -> Lease:
    while True:
        number = newest_lease(output)
        if number and not storage.exists(_beside(output, number, "released")):
            _wait_for_its_death(output, number, stale)
        token = uuid.uuid4().hex
        said = {"token": token, "host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid())}
        said["at"] = datetime.now(UTC).isoformat(timespec="seconds")
        if storage.create(lease_file(output, number + 1), json.dumps(said).encode()):
            return Lease(number + 1, token)
        # Another driver was faster, and holds the lease now.


def _wait_for_its_death(output: str, number: int, stale: float) -> None:
    """Waits until the holder of a lease has ended, counts as dead, or has released the lease.

    Raises:
        HeldError: the holder lives.
    """
    try:
        holder = json.loads(storage.read_bytes(lease_file(output, number)))
    except NotFoundError:
        return  # the output was removed
    except ValueError as error:
        raise StorageError(f"{lease_file(output, number)} is not the lease of a run: {error!r}") from error
    if _is_dead_here(holder):
        return
    before, began = _sign(output, number), time.monotonic()
    who = f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('at')}"
    while time.monotonic() - began < stale:
        time.sleep(min(_LOOK_S, stale / SIGNS))
        if storage.exists(_beside(output, number, "released")) or newest_lease(output) != number:
            return
        if _sign(output, number) != before:
            raise HeldError(
                f"{output} is in use by {who} (lease {number}); this process changes nothing. Wait until the other "
                "process ends, or end it, and run the same command again"
            )
    print(f"{output} was held by {who}; it gave no sign of life for {stale:g} s and loses its lease", flush=True)


def _is_dead_here(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that no longer exists."""
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return False
    return bool(holder.get("born")) and _born(holder["pid"]) != holder["born"]


def _born(pid: int) -> str | None:
    """Returns text that tells a process from later ones with its number; None if it ended or there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        names = os.readlink(f"/proc/{pid}/ns/pid")  # two containers may have the same host name
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot} {names} {fields[19]}"


def _show(output: str, lease: Lease, every: float, ended: threading.Event) -> None:
    """Writes signs of life until the end; a sign that cannot be written is skipped."""
    number = 0
    while True:
        number += 1
        try:
            storage.write_bytes(_beside(output, lease.number, "alive"), f"{lease.token} {number}".encode())
        except StorageError as error:
            print(f"the sign of life under {output}/{DIRECTORY} could not be written: {error}", flush=True)
        if ended.wait(every):
            return


def _sign(output: str, number: int) -> bytes:
    try:
        return storage.read_bytes(_beside(output, number, "alive"))
    except NotFoundError:
        return b""


def _release(output: str, lease: Lease) -> None:
    """Releases the lease so that the next driver starts at once; without it, that driver waits for signs of life."""
    try:
        if storage.exists(lease_file(output, lease.number)):  # the output may have been removed meanwhile
            storage.write_bytes(_beside(output, lease.number, "released"), lease.token.encode())
            storage.delete(_beside(output, lease.number, "alive"))
    except StorageError as error:
        print(f"the lease of {output} could not be released: {error}", flush=True)


def _beside(output: str, number: int, what: str) -> str:
    """Returns the URI of a file beside a lease, with `what` as its suffix."""
    return lease_file(output, number).removesuffix("json") + what
