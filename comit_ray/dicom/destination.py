"""Sends objects to a directory, or to a PACS by STOW-RS; a QIDO-RS search confirms each object on the PACS."""

import json
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydicom.dataset import Dataset

from comit_ray.dicom.source import without_identity
from comit_ray.storage import storage, web

TOGETHER = 32
"""Number of UIDs in one search; they make a URL of about 1.5 kB."""
_UID, _FAILED, _REASON, _COMMENT = "00080018", "00081198", "00081197", "00000902"
_REASONS = {
    0x0110: "processing failure",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0xA700: "out of resources",
    0xA900: "the data set does not match the SOP class",
    0xC000: "cannot understand",
    0xC122: "transfer syntax not supported",
}
"""Failure reasons of STOW-RS in words (PS3.18, table I.2-2)."""


@dataclass(frozen=True)
class Made:
    """An object that is ready to be sent.

    Attributes:
        row: its row of `exports`, as far as it is known.
        header: header of the source. Its identity is removed from the server's answers.
        study: UID of the study.
        data: the file's bytes.
    """

    row: dict[str, Any]
    header: Dataset
    study: str
    data: bytes

    @property
    def uid(self) -> str:
        """The SOP instance UID."""
        return str(self.row["sop_instance_uid"])


class Destination(Protocol):
    """A place where objects are stored."""

    def put(self, made: Sequence[Made]) -> list[tuple[str, str | None]]:
        """Store the objects that are not there yet. Return status and answer for each object."""
        ...


class Pace:
    """Lets at most `rate` objects a second go out, over all threads that share it.

    Objects wait before they are sent, for as long as they take at this rate. Each chunk has a new `Pace`, and its first
    objects wait too. So many small chunks are not faster than few large ones.

    Args:
        rate: objects per second; None: no limit.
    """

    def __init__(self, rate: float | None) -> None:
        self._gap = 0.0 if rate is None else 1 / rate
        self._next = 0.0  # when the objects that were sent so far have had their time
        self._lock = threading.Lock()

    def wait(self, objects: int) -> None:
        """Wait until this many more objects may go out."""
        with self._lock:
            now = time.monotonic()
            self._next = max(now, self._next) + objects * self._gap
            rest = self._next - now
        if rest > 0:
            time.sleep(rest)


class Directory:
    """Writes objects to `OUTPUT/<format>/<SOP instance UID>.dcm`; writes an existing file again with the same bytes."""

    def __init__(self, uri: str, pace: Pace) -> None:
        self._uri, self._pace = uri, pace

    def put(self, made: Sequence[Made]) -> list[tuple[str, str | None]]:
        """As `Destination.put`.

        Raises:
            StorageError: a file cannot be written.
        """
        for one in made:
            self._pace.wait(1)
            storage.write_bytes(storage.join(self._uri, one.row["format"], f"{one.uid}.dcm"), one.data)
        return [("stored", None)] * len(made)


class Pacs:
    """Stores objects on a DICOMweb server."""

    def __init__(self, root: str, pace: Pace) -> None:
        self._root, self._pace = root, pace

    def put(self, made: Sequence[Made]) -> list[tuple[str, str | None]]:
        """As `Destination.put`: one request per study, then one per object if the server did not take all of them.

        Raises:
            StorageError: the server refuses the search, or does not answer.
        """
        there = self._held((one.uid for one in made), singly=False)
        words = dict.fromkeys(there, "was there")
        studies: dict[str, list[Made]] = {}
        for one in made:
            if one.uid not in there:
                studies.setdefault(one.study, []).append(one)
        for study, objects in studies.items():
            words |= self._send(study, objects)
        sent = [one for objects in studies.values() for one in objects]
        there |= self._held((one.uid for one in sent), singly=True)
        again = [one for one in sent if one.uid not in there and len(studies[one.study]) > 1]
        for one in again:  # one by one, so that each answer belongs to one object
            words |= self._send(one.study, [one])
        there |= self._held((one.uid for one in again), singly=True)
        return [
            ("stored" if one.uid in there else "refused", without_identity(words[one.uid], one.header)) for one in made
        ]

    def _send(self, study: str, objects: Sequence[Made]) -> dict[str, str]:
        self._pace.wait(len(objects))
        status, text = web.store(self._root, study, [one.data for one in objects])
        found = failures(text)
        other = text if status >= 300 and not found and not text.lstrip().startswith("{") else ""
        return {one.uid: " ".join(f"{status} {found.get(one.uid, other)}".split()) for one in objects}

    def _held(self, uids: Iterable[str], *, singly: bool) -> set[str]:
        """Return those of the UIDs that the server has.

        Some servers do not search for a list of UIDs. With `singly`, each UID that the list search did not find is
        searched for by itself. Before sending this is not needed: an object that is sent twice stays as it is.
        """
        asked = list(uids)
        found: set[str] = set()
        for at in range(0, len(asked), TOGETHER):
            part = asked[at : at + TOGETHER]
            found |= self._search(",".join(part)) & set(part)
            if singly and len(part) > 1:
                for uid in set(part) - found:
                    found |= self._search(uid) & {uid}
        return found

    def _search(self, uids: str) -> set[str]:
        answers = web.search(self._root, "instances", {"SOPInstanceUID": uids}, page=2 * TOGETHER)
        return {str(value) for answer in answers for value in answer.get(_UID, {}).get("Value", [])}


def failures(text: str) -> dict[str, str]:
    """Read the failures from a server's answer to STOW-RS: SOP instance UID -> reason; empty if there are none.

    Some servers send the FailedSOPSequence on success too, without items. So only its items count.
    """
    try:
        items = json.loads(text).get(_FAILED, {}).get("Value", [])
        return {str(item["00081155"]["Value"][0]): _why(item) for item in items}
    except (ValueError, AttributeError, LookupError, TypeError):
        return {}


def _why(item: dict[str, Any]) -> str:
    code = int(item.get(_REASON, {}).get("Value", [0])[0])
    comment = " ".join(str(value) for value in item.get(_COMMENT, {}).get("Value", []))
    return f"{_REASONS.get(code, 'failure reason')} 0x{code:04X} {comment}".strip()
